"""Collecting evidence: which files are missing, and writing them, here or on any number of machines.

A job is one shard of every experiment that is missing. It is plain data, so that any map, and any number of
processes that share the jobs, write the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

from typing_extensions import TypedDict

from wordsight._utils.artifacts import differences
from wordsight._utils.drafts import sweep
from wordsight._utils.files import write_first
from wordsight._utils.notes import tell
from wordsight._utils.numbers import counted
from wordsight._utils.progress import track
from wordsight.errors import FileError, MediaError, UsageError
from wordsight.media.picture_files import PictureFile, open_picture, picture_file
from wordsight.models.vlm import VLM
from wordsight.redundancy import probe
from wordsight.redundancy.ablation import frozen_correlation
from wordsight.redundancy.build import Clustering
from wordsight.redundancy.criteria import Condition
from wordsight.redundancy.evidence import Evidence
from wordsight.redundancy.evidence_files import (
    CHECKED,
    CHECKS,
    FORMAT,
    MANIFEST,
    MANIFESTS,
    SHARDS,
    EvidenceChecks,
    EvidenceManifest,
    Shard,
    Survivors,
    TokensBelow,
    approximation,
    digest_of_names,
    manifest_differences,
    origin_of,
    read_checks,
    read_manifest,
    shards_of,
    span,
)
from wordsight.redundancy.examining import EvidenceJob, examine
from wordsight.redundancy.experiments import ABLATIONS, TOKENS, AskedPicture, experiments
from wordsight.redundancy.measured_with import measured_with, on_threads
from wordsight.redundancy.noise import noise_floors

PART_FORMAT = 1
SHARD_BYTES, SHARD_PICTURES = 64 * 2**20, 64  # the most that a killed run has to do again
FEWEST_SHARDS = 256  # of a run, if it has so many pictures: a killed one has less to do again
FirstPicture = Callable[[], AskedPicture | None]


class EvidencePart(TypedDict):
    """What `wordsight codebook build --part` has examined."""

    format: int
    part: Annotated[int, "counted from 0"]
    parts: int
    tokens: Annotated[int, "that were examined now, without those found in the folder"]


@dataclass(frozen=True, kw_only=True)
class EvidencePlan:
    """What evidence is collected.

    questions           that every token is asked alone.
    condition           measures only what it reads; None measures everything of every token.
    clustering          the sizes of its clusters inside a picture are kept with the tokens.
    only_survivors      keeps the embeddings of those tokens only that can still be prototypes by the
                        condition and the clustering.
    approximate_global  leaves neighborhoods out of the whole picture by `ablate_global_frozen`, for a
                        fraction of the work; how it ranks the tokens of the first picture is compared.

    None in place of the last two takes what is in the folder, and is False where there is nothing.
    """

    questions: Sequence[str] = probe.QUESTIONS
    condition: Condition | None = None
    clustering: Clustering = field(default_factory=Clustering)
    only_survivors: bool | None = False
    approximate_global: bool | None = False

    @property
    def needs(self) -> tuple[str, ...]:
        """The experiments to be done."""
        return self.condition.needs(self.questions) if self.condition else experiments(len(self.questions))

    @property
    def only(self) -> TokensBelow | None:
        """The tokens to be left out at all, those for which the cheap half of the condition holds; None for
        all, as where a threshold is a quantile.
        """
        condition = self.condition
        if condition is None or not condition.is_absolute or condition.divergence is None:
            return None
        if isinstance(condition.confidence, (int, float)):
            return {"signal": condition.signal, "threshold": float(condition.confidence)}
        return None

    @property
    def survivors(self) -> Survivors | None:
        """The tokens whose embeddings are kept; None for all."""
        if not self.only_survivors:
            return None
        decides = self.condition is not None and self.condition.is_absolute
        condition = self.condition.as_json() if self.condition and decides else None
        return {"largest": self.clustering.largest, "condition": condition}


def collect_evidence(
    vlm: VLM,
    pictures: Iterable[Path | PictureFile],
    folder: str | Path,
    plan: EvidencePlan | None = None,
    *,
    map: Callable[..., Iterable[Any]] = map,
) -> Evidence:
    """Examine every token of the pictures as far as the plan needs it and the folder lacks it, and load that.

    A run that was stopped goes on where it was, on as many threads as it was begun on, since the last digits
    depend on their number. A picture that cannot be read is skipped and named, and tried again by the next
    run. `map` may be any parallel map (function, jobs): each job writes its own files.

    Raises FileError if the folder holds evidence of something else, or a picture is replaced meanwhile, and
    ModelError if what is measured is no number.
    """
    plan = plan or EvidencePlan()
    run_jobs(vlm, evidence_jobs(vlm, pictures, folder, plan), map)
    return Evidence.load(folder, plan.needs)


def collect_part(
    vlm: VLM,
    pictures: Iterable[Path | PictureFile],
    folder: str | Path,
    plan: EvidencePlan | None = None,
    *,
    part: tuple[int, int],
) -> EvidencePart:
    """Examine only part i of n, where `part` is (i, n) and i counts from 0: every n-th shard. The parts write
    into one folder, or into one each, for `merge_evidence`.
    """
    tokens = run_jobs(vlm, evidence_jobs(vlm, pictures, folder, plan or EvidencePlan(), part))
    return {"format": PART_FORMAT, "part": part[0], "parts": part[1], "tokens": tokens}


def evidence_jobs(
    vlm: VLM,
    pictures: Iterable[Path | PictureFile],
    folder: str | Path,
    plan: EvidencePlan,
    part: tuple[int, int] = (0, 1),
) -> list[EvidenceJob]:
    """What is missing in the folder of part i of n, given as (i, n); the folder has a manifest and checks
    then. Raises MediaError if there is no picture, and FileError if the folder holds evidence of something
    else, or that was begun otherwise.
    """
    if not 0 <= part[0] < part[1]:
        raise UsageError(f"expected a part of fewer than {part[1]}, counted from 0; got {part[0]}")
    files, root = [picture_file(picture) for picture in pictures], Path(folder)
    if not files:
        raise MediaError("expected pictures to examine, got none")
    first = cache(partial(_first_asked, vlm, files, plan.questions))
    manifest = _claim(root, vlm, files, plan, first)
    jobs = []
    for number in range(part[0], len(shards_of(root, manifest, TOKENS)), part[1]):
        job = EvidenceJob(root, manifest, number, tuple(files[i] for i in span(manifest, number)), {})
        if missing := _missing(job, plan):
            jobs.append(replace(job, missing=missing))
    _check_begun_alike(jobs, root, manifest, vlm, plan)
    names = [name for name in plan.needs if any(name in job.missing for job in jobs)]
    if jobs:
        _tell_begun(jobs, names)
        _write_checks(first, jobs[0], names, approximate=bool(plan.approximate_global))
    return jobs


def _tell_begun(jobs: Sequence[EvidenceJob], names: Sequence[str]) -> None:
    """Say what there is already, if there is anything, and what the jobs add to it."""
    root, manifest = jobs[0].root, jobs[0].manifest
    there = [shard for shard in shards_of(root, manifest, TOKENS) if shard.path.is_file()]
    if there:
        done = sum(len(span(manifest, shard.number)) for shard in there)
        more = counted(sum(len(job.pictures) for job in jobs), "picture")
        tell(
            f"{root} has evidence of {done} of {counted(manifest['pictures'], 'picture')}; to be added: "
            f"{', '.join(names)} of {more}"
        )


def run_jobs(vlm: VLM, jobs: Sequence[EvidenceJob], map: Callable[..., Iterable[Any]] = map) -> int:
    """Do the jobs, and tell after the first picture for how long the others will take at most; the number of
    tokens that were examined.
    """
    if not jobs:
        return 0
    examined, start = 0, time.monotonic()
    with on_threads(jobs[0].manifest["measured_with"]["threads"]):  # jobs may share what they would change
        work = map(partial(examine, vlm), jobs)
        for number, tokens in enumerate(track(work, "examining pictures", len(jobs)), 1):
            if tokens and not examined and isinstance(work, Iterator):  # else all is done already
                _tell_duration(tokens, time.monotonic() - start, jobs[:number], jobs[number:])
            examined += tokens
    return examined


def _tell_duration(
    tokens: int, seconds: float, done: Sequence[EvidenceJob], left: Sequence[EvidenceJob]
) -> None:
    count, more = (sum(len(job.pictures) for job in jobs) for jobs in (done, left))
    if more:
        longest = _duration(more * seconds / count)
        tell(f"{tokens / seconds:.0f} tokens a second: at most {longest} for {counted(more, 'more picture')}")


def _write_checks(first: FirstPicture, job: EvidenceJob, names: Sequence[str], *, approximate: bool) -> None:
    """Find out by the first picture that can be read how far those of the experiments can be believed that
    have no checks yet, and tell it.
    """
    lacking = [name for name in names if name != TOKENS and not (job.root / name / CHECKS).is_file()]
    asked = first() if lacking else None
    if asked is None:
        return
    measured, correlation = job.manifest["measured_with"], None
    with on_threads(measured["threads"]):
        floors = noise_floors(asked, lacking)
        if approximate and "global" in lacking:
            correlation = frozen_correlation(asked.vlm, asked.whole)
    for name in lacking:
        is_global = name == "global"
        checks: EvidenceChecks = {
            **origin_of(job.manifest),
            "experiment": name,
            "names_sha256": job.manifest["names_sha256"],
            "approximate": approximate and is_global,
            "noise": floors[name],
            "rank_correlation": correlation if is_global else None,
        }
        write_first(job.root / name / CHECKS, CHECKED.text(checks))
    _tell_checks(floors, measured["dtype"].removeprefix("torch."), correlation)


def _tell_checks(floors: Mapping[str, Mapping[str, float]], dtype: str, correlation: float | None) -> None:
    shown = [
        f"{name} {floor:.1g}"
        for name, columns in floors.items()
        for column, floor in columns.items()
        if column != "released_divergence"
    ]
    tell(f"rounding in {dtype} moves words by up to (nats): {', '.join(shown)}; less counts as no change")
    if correlation is not None:
        tell(f"rank correlation of the approximate global divergence with the exact one: {correlation:.2f}")


def _missing(job: EvidenceJob, plan: EvidencePlan) -> dict[str, TokensBelow | None]:
    """The experiments that a job has to do, and of which tokens: what the plan needs and is not there, or is
    not of all these tokens, or skipped a picture that can be read now.
    """
    missing = {}
    for name in plan.needs:
        shard, only = job.shard(name), plan.only if name in ABLATIONS else None
        if not shard.path.is_file():
            missing[name] = only
            continue
        _check_names(shard, job.pictures)
        there = shard.record["only"]
        skipped = [picture for picture, tokens in zip(job.pictures, shard.tokens, strict=True) if not tokens]
        if (both := _either(there, only)) != there or any(map(_is_readable, skipped)):
            missing[name] = both
    return missing


def _either(some: TokensBelow | None, others: TokensBelow | None) -> TokensBelow | None:
    """The tokens that are among these or those."""
    if some is None or others is None or some["signal"] != others["signal"]:
        return None
    return max(some, others, key=lambda each: each["threshold"])


def _check_names(shard: Shard, pictures: Sequence[PictureFile]) -> None:
    pairs = zip(shard.record["pictures"], pictures, strict=True)
    if other := [picture.name for there, picture in pairs if there["name"] != picture.name]:
        raise FileError(
            f"{shard.path} is of another run (what differs: {counted(len(other), 'picture')}, {other[0]} "
            f"first): {MANIFESTS.remedy}, or {SHARDS.remedy}"
        )


def _is_readable(picture: PictureFile) -> bool:
    try:
        open_picture(picture)
    except MediaError:
        return False
    return True


def _first_asked(vlm: VLM, pictures: Iterable[PictureFile], questions: Sequence[str]) -> AskedPicture | None:
    """The first picture that can be read."""
    for picture in pictures:
        with suppress(MediaError):
            return AskedPicture(vlm, open_picture(picture), questions)
    return None


def _claim(
    root: Path, vlm: VLM, files: Sequence[PictureFile], plan: EvidencePlan, first: FirstPicture
) -> EvidenceManifest:
    """The manifest that is in the folder, or a new one. Raises FileError if it is of something else."""
    for folder in (root, *(root / name for name in experiments(len(plan.questions)))):
        sweep(folder)
    is_there = (root / MANIFEST).exists()
    manifest: EvidenceManifest = {
        "format": FORMAT,
        "model": vlm.name,
        "fingerprint": vlm.fingerprint,
        "parts": vlm.parts,
        "questions": list(plan.questions),
        "measured_with": measured_with(vlm),
        "pictures": len(files),
        "names_sha256": digest_of_names(picture.name for picture in files),
        "shard_pictures": 0 if is_there else _shard_pictures(len(files), first),
        "clusters": plan.clustering.of_a_picture,
        "survivors": plan.survivors,
    }
    if not is_there:
        write_first(root / MANIFEST, MANIFESTS.text(manifest))
    there = read_manifest(root)
    if different := manifest_differences(there, manifest):
        raise FileError(
            f"{root} holds evidence of another run (what differs: {different}); "
            "expected the same run to go on: choose another folder, or delete this one"
        )
    return there


def _shard_pictures(pictures: int, first: FirstPicture) -> int:
    """How many of so many pictures make a shard: no more than are in SHARD_BYTES, were all as the first."""
    most = max(1, min(SHARD_PICTURES, pictures // FEWEST_SHARDS))
    asked = first() if most > 1 else None
    if asked is None:
        return most
    return max(1, min(most, SHARD_BYTES // max(1, asked.content.embeds.nbytes)))


def _check_begun_alike(
    jobs: Sequence[EvidenceJob], root: Path, manifest: EvidenceManifest, vlm: VLM, plan: EvidencePlan
) -> None:
    """Raises FileError if what is missing would be measured, or embeddings be kept, otherwise than before; or
    if what is there of the whole picture is approximate and should not be, or the other way round.
    """
    begun = ""
    if jobs:
        # The threads are those of before; what a pass may take is another machine's, and changes last digits.
        free = ("threads", "pass_bytes")
        now = {name: value for name, value in measured_with(vlm).items() if name not in free}
        begun = differences({"options": {}, **manifest["measured_with"]}, now)
    is_done = all(TOKENS not in job.missing for job in jobs)
    begun = begun or _kept_otherwise(manifest, plan, is_done) or _ablated_otherwise(root, manifest, plan)
    if begun:
        raise FileError(
            f"the evidence in {root} was begun otherwise ({begun}): finish it as it was begun, or choose "
            "another folder"
        )


def _kept_otherwise(manifest: EvidenceManifest, plan: EvidencePlan, is_done: bool) -> str:
    """How the embeddings that are kept differ from those that the plan asks for; "" if they are enough where
    all tokens are there.
    """
    has, wants = manifest["survivors"], plan.survivors
    if plan.only_survivors is None or has == wants:
        return ""
    if has is None and is_done:
        tell("the evidence keeps the embeddings of all tokens already, and not of survivors only")
        return ""
    if not (has and wants):
        was, now = ("survivors", "all") if has else ("all", "survivors")
        return f"--keep-embeddings (only_survivors) was {was}, is {now}"
    is_more = has["largest"] >= wants["largest"] and has["condition"] in (None, wants["condition"])
    return "" if is_done and is_more else differences(manifest, {"survivors": wants})


def _ablated_otherwise(root: Path, manifest: EvidenceManifest, plan: EvidencePlan) -> str:
    """How the global divergence that is there differs from the one that the plan asks for."""
    checks = read_checks(root, manifest).get("global")
    if checks is None or "global" not in plan.needs or checks["approximate"] == plan.approximate_global:
        return ""
    if plan.approximate_global is not None:
        kinds = ("exact", "approximate")
        was, now = kinds[checks["approximate"]], kinds[plan.approximate_global]
        return f"--global (approximate_global) was {was}, is {now}"
    if checks["approximate"]:
        tell(f"the global divergence in {root} is {approximation(checks['rank_correlation'])}")
    return ""


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "hour"), (60, "minute")):
        if seconds >= 2 * size:
            return counted(round(seconds / size), unit)
    return counted(max(1, round(seconds)), "second")
