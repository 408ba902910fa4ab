"""Evidence: what every visual token of many pictures says and does, collected once and kept on disk."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, TypeVar

import torch
from torch import Tensor
from typing_extensions import NotRequired, TypedDict

from wordsight._utils.artifacts import (
    Artifact,
    differences,
    read_metadata,
    read_tensors,
    tensors_digest,
    write_tensors,
)
from wordsight._utils.drafts import sweep
from wordsight._utils.files import replacing
from wordsight._utils.progress import subtask, subtasks, track
from wordsight.algorithms.divergence import MEASURES
from wordsight.errors import FileError, MediaError
from wordsight.media.images import read_picture
from wordsight.media.inputs import Media, MediaInput
from wordsight.models.fingerprints import Parts, differing
from wordsight.models.finite import check_finite
from wordsight.models.vlm import VLM
from wordsight.redundancy import ablation, probe
from wordsight.redundancy.criteria import TOKEN_SIGNALS
from wordsight.redundancy.measured_with import MeasuredWith, measured_with, on_threads

SHARD = 4  # pictures in a file: what a killed run has to do again
WORDS = 5  # words kept of every token
FORMAT = 3
MANIFEST = "manifest.json"
SIGNALS = (
    *TOKEN_SIGNALS,
    *(f"{scope}/{measure}" for scope in ("regional", "global") for measure in MEASURES),
)
INDICES = ("image", "cell", "words")  # the columns of whole numbers
SHAPES = {  # of a row of every column but `embeds`, whose width is the model's
    **dict.fromkeys(("embeds", "image", *SIGNALS), ()),
    "cell": (4,),
    "words": (WORDS,),
    "word_probabilities": (WORDS,),
}
T = TypeVar("T")


class EvidencePicture(TypedDict):
    """A picture whose tokens are examined."""

    name: str
    sha256: Annotated[str | None, "of the file; null if it could not be read so far"]


class EvidenceOrigin(TypedDict):
    """What all files of evidence in a folder have in common."""

    format: int
    model: str
    fingerprint: Annotated[str, "of the model's weights"]
    parts: NotRequired[Annotated[Parts | None, "digests of the rest of the model; null if unknown"]]
    questions: Annotated[list[str], "that every token is asked"]
    measured_with: MeasuredWith


class EvidenceManifest(EvidenceOrigin):
    """What the evidence in a folder is of."""

    pictures: list[EvidencePicture]


class ExaminedPicture(EvidencePicture):
    """A picture whose tokens were examined, or that was skipped."""

    tokens: Annotated[int, "0 if it could not be read"]


class EvidenceShard(EvidenceOrigin):
    """What one file of evidence is of."""

    pictures: list[ExaminedPicture]
    skipped: Annotated[dict[str, str], "the pictures that could not be read, and why"]
    columns_sha256: Annotated[str, "of the columns in the file"]


MANIFESTS = Artifact(
    name="the manifest of evidence",
    record=EvidenceManifest,
    format=FORMAT,
    remedy="collect the evidence again in another folder",
)
SHARDS = Artifact(
    name="a file of evidence",
    record=EvidenceShard,
    format=FORMAT,
    remedy="delete it and run the same command again",
)


@dataclass(frozen=True)
class Evidence:
    """One row per visual token of all pictures.

    embeds (T, D); image (T,) index into `pictures`; cell (T, 4); words and word_probabilities (T, 5), the
    answers to the first question; signals (T,) each, see `measure_tokens`. Of `skipped` pictures, which could
    not be read, there are reasons instead of rows.
    """

    embeds: Tensor
    image: Tensor
    cell: Tensor
    words: Tensor
    word_probabilities: Tensor
    signals: dict[str, Tensor]
    pictures: tuple[str, ...]
    manifest: EvidenceManifest
    skipped: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.embeds)

    @property
    def says_nothing(self) -> Tensor:
        """(T,) which tokens say nothing to the first question."""
        return probe.says_nothing(self.signals["blind_divergence"])

    @classmethod
    def load(cls, folder: str | Path) -> Evidence:
        """The evidence in a folder. Raises FileError if there is none, or a file of it is missing, damaged or
        of other evidence.
        """
        root = Path(folder)
        manifest = _read_manifest(root)
        shards = [_read_shard(root, manifest, number) for number in range(len(_shards(manifest["pictures"])))]
        if len({columns["embeds"].shape[1] for _, columns in shards}) > 1:
            raise FileError(f"files in {root} have tokens of several widths: {MANIFESTS.remedy}")
        columns = {key: torch.cat([columns[key] for _, columns in shards]) for key in shards[0][1]}
        signals = {key: columns.pop(key) for key in SIGNALS}
        manifest["pictures"] = [
            {"name": picture["name"], "sha256": picture["sha256"]}
            for record, _ in shards
            for picture in record["pictures"]
        ]
        names = tuple(picture["name"] for picture in manifest["pictures"])
        skipped = {path: reason for record, _ in shards for path, reason in record["skipped"].items()}
        return cls(**columns, signals=signals, pictures=names, manifest=manifest, skipped=skipped)


def measure_tokens(
    vlm: VLM, media: Media | Sequence[Media] | MediaInput, questions: Sequence[str] = probe.QUESTIONS
) -> dict[str, Tensor]:
    """All experiments on every visual token of a prompt but its line breaks: the columns of Evidence, without
    `image`. For Evidence, a prompt is one picture.

    Signals, high where a token says or changes something: "confidence", "certainty" and "blind_divergence" of
    the probe with the first question; "questions" and "questions_divergence", the highest confidence and
    blind divergence over all questions; "regional/MEASURE" and "global/MEASURE", the divergences of leaving
    out.
    """
    whole = [vlm.encode(media, questions[0])]
    whole += [vlm.encode(media, question, visual=whole[0].visual) for question in questions[1:]]
    is_content = ~whole[0].visual.is_break
    content = whole[0].visual.take(is_content.nonzero()[:, 0])
    prompts = [replace(prompt, visual=content) for prompt in whole]
    with subtask(0, 3):
        probes = [probe.probe_tokens(vlm, prompt) for prompt in subtasks(prompts, len(prompts))]
    with subtask(1, 3):
        alone = ablation.ablate_regional(vlm, prompts[0])
    with subtask(2, 3):
        among = ablation.ablate_global(vlm, whole[0])
    first = probes[0]
    columns = {
        "embeds": content.embeds.float(),
        "cell": content.cell,
        "words": first.tokens[:, :WORDS].contiguous(),
        "word_probabilities": first.probabilities[:, :WORDS].contiguous(),
        "confidence": first.confidence,
        "certainty": first.certainty,
        "blind_divergence": first.blind_divergence,
        "questions": torch.stack([each.confidence for each in probes]).amax(0),
        "questions_divergence": torch.stack([each.blind_divergence for each in probes]).amax(0),
    }
    for name, measure in MEASURES.items():
        columns[f"regional/{name}"] = alone.divergence(measure).float()
        columns[f"global/{name}"] = among.divergence(measure)[is_content].float()
    return {name: column.cpu() for name, column in columns.items()}


def collect_evidence(
    vlm: VLM,
    pictures: Sequence[Path],
    folder: str | Path,
    *,
    questions: Sequence[str] = probe.QUESTIONS,
    map: Callable[..., Iterable[Any]] = map,
) -> Evidence:
    """Examine every token of the pictures, one file for every few of them, and load the result.

    A run that was stopped goes on where it was, on as many threads as it was begun on, since the last digits
    depend on their number. A picture that cannot be read is skipped and named, and tried again by the next
    run. `map` may be any parallel map (function, jobs): each job writes its own file.

    Raises FileError if the folder holds evidence of something else, or a picture is replaced meanwhile, and
    ModelError if what is measured is no number.
    """
    root = Path(folder)
    now: EvidenceManifest = {
        "format": FORMAT,
        "model": vlm.name,
        "fingerprint": vlm.fingerprint,
        "parts": vlm.parts,
        "questions": list(questions),
        "measured_with": measured_with(vlm),
        "pictures": [{"name": path.name, "sha256": _digest_if_readable(path)} for path in pictures],
    }
    manifest = _claim(root, now)
    jobs = [job for job in enumerate(_shards(list(pictures))) if not _is_done(root, manifest, job)]
    threads = manifest["measured_with"]["threads"]
    before = {"options": {}, "pass_bytes": vlm.pass_bytes, **manifest["measured_with"]}  # or of before these
    begun = differences(before, {**now["measured_with"], "threads": threads})
    if jobs and begun:
        raise FileError(
            f"the evidence in {root} was begun otherwise ({begun}): finish it as it was begun, or choose "
            "another folder"
        )
    with on_threads(threads):  # and not only in every job: jobs may share what they would change
        work = map(partial(_write_shard, vlm, root, manifest), jobs)
        for _ in track(work, "examining pictures", len(jobs)):
            pass
    return Evidence.load(root)


def read_picture_file(path: Path) -> tuple[bytes, str]:
    """What is in the file of a picture, and the digest of that. Raises MediaError if it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise MediaError(
            f"cannot read {path}: {error.strerror}; expected the path of an image file"
        ) from error
    return content, hashlib.sha256(content).hexdigest()


def check_unchanged(path: Path, digest: str, expected: EvidencePicture) -> None:
    """Raises FileError if a picture is no longer the one that evidence is of."""
    if expected["sha256"] not in (None, digest):
        raise FileError(
            f"{path} is another picture than when its evidence was begun: put the former one back, or "
            "collect the evidence again in another folder"
        )


def _digest_if_readable(path: Path) -> str | None:
    try:
        return read_picture_file(path)[1]
    except MediaError:
        return None


def _write_shard(vlm: VLM, root: Path, manifest: EvidenceManifest, job: tuple[int, list[Path]]) -> None:
    number, paths = job
    known = _shards(manifest["pictures"])[number]
    pictures: list[ExaminedPicture] = []
    parts: list[dict[str, Tensor]] = []
    skipped: dict[str, str] = {}
    for path, expected in zip(paths, known, strict=True):
        digest = None
        try:
            content, digest = read_picture_file(path)
            check_unchanged(path, digest, expected)
            picture = read_picture(BytesIO(content), str(path))
        except MediaError as error:
            skipped[str(path)] = str(error)
            pictures.append({"name": path.name, "sha256": digest, "tokens": 0})
            continue
        with on_threads(manifest["measured_with"]["threads"]):  # a job may run in another process
            columns = measure_tokens(vlm, picture, manifest["questions"])
        check_finite(f"the tokens of {path}", columns)
        tokens = len(columns["embeds"])
        parts.append(columns | {"image": torch.full((tokens,), number * SHARD + len(pictures))})
        pictures.append({"name": path.name, "sha256": digest, "tokens": tokens})
    parts = parts or [_no_rows(vlm)]
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    record: EvidenceShard = {
        **manifest,
        "pictures": pictures,
        "skipped": skipped,
        "columns_sha256": tensors_digest(columns),
    }
    with replacing(root / _shard_name(number)) as draft:
        write_tensors(draft, columns, SHARDS.text(record))


def _no_rows(vlm: VLM) -> dict[str, Tensor]:
    """The columns of a shard all of whose pictures were skipped."""
    width = len(vlm.pad_embedding)
    return {
        "embeds": torch.zeros(0, width),
        "cell": torch.zeros(0, 4, dtype=torch.long),
        "words": torch.zeros(0, WORDS, dtype=torch.long),
        "word_probabilities": torch.zeros(0, WORDS),
        "image": torch.zeros(0, dtype=torch.long),
        **{name: torch.zeros(0) for name in SIGNALS},
    }


def _is_done(root: Path, manifest: EvidenceManifest, job: tuple[int, list[Path]]) -> bool:
    """Whether the shard of a job is there and skipped no picture that can be read now. Raises FileError if it
    is damaged or of other evidence.
    """
    number, paths = job
    if not (root / _shard_name(number)).exists():
        return False
    pictures = _read_record(root, manifest, number)["pictures"]
    return not any(
        _can_be_read(path) for path, picture in zip(paths, pictures, strict=True) if not picture["tokens"]
    )


def _can_be_read(path: Path) -> bool:
    try:
        read_picture(BytesIO(read_picture_file(path)[0]), str(path))
    except MediaError:
        return False
    return True


def _read_record(root: Path, manifest: EvidenceManifest, number: int) -> EvidenceShard:
    """What a shard is of. Raises FileError if that is not what the manifest says."""
    path = root / _shard_name(number)
    record = read_metadata(path, SHARDS)
    expected = {**manifest, "pictures": _shards(manifest["pictures"])[number]}
    if different := _difference(record, expected, also=("measured_with",)):
        raise FileError(
            f"{path} is of another run than {MANIFEST} beside it (what differs: {different}): "
            f"{MANIFESTS.remedy}, or {SHARDS.remedy}"
        )
    return record


def _read_shard(
    root: Path, manifest: EvidenceManifest, number: int
) -> tuple[EvidenceShard, dict[str, Tensor]]:
    path = root / _shard_name(number)
    if not path.is_file():
        raise FileError(
            f"evidence in {root} is unfinished, {path.name} is missing: run the same command again"
        )
    record, columns = _read_record(root, manifest, number), read_tensors(path, SHARDS)
    if tensors_digest(columns) != record["columns_sha256"]:
        raise SHARDS.unusable(path, "its columns are not what was written, so it is damaged or edited")
    numbered = enumerate(record["pictures"], number * SHARD)
    tokens = {image: picture["tokens"] for image, picture in numbered if picture["tokens"]}
    if wrong := _wrong(columns, tokens):
        raise SHARDS.unusable(path, wrong)
    return record, columns


def _wrong(columns: Mapping[str, Tensor], tokens: Mapping[int, int]) -> str:
    """What is wrong with the columns of images of so many tokens, "" if nothing is."""
    if columns.keys() != SHAPES.keys():
        return "its columns are not those of evidence"
    rows, shapes = sum(tokens.values()), {**SHAPES, "embeds": tuple(columns["embeds"].shape[-1:])}
    for name, column in columns.items():
        is_typed = column.dtype == torch.long if name in INDICES else column.is_floating_point()
        if column.shape != (rows, *shapes[name]) or not is_typed:
            return f"{name} has the shape {tuple(column.shape)} and holds {column.dtype}"
        if not column.isfinite().all():
            return f"{name} is NaN or infinite"
    images = dict(Counter(columns["image"].tolist()))
    return "" if images == tokens else "its tokens are of other pictures"


def _shards(pictures: list[T]) -> list[list[T]]:
    return [pictures[start : start + SHARD] for start in range(0, len(pictures), SHARD)]


def _shard_name(number: int) -> str:
    return f"{number:06d}.safetensors"


def _claim(root: Path, manifest: EvidenceManifest) -> EvidenceManifest:
    """The manifest that is in the folder, or this one, which is written if there is none or it knows more.

    Raises FileError if there is one of something else.
    """
    sweep(root)
    there = _read_manifest(root) if (root / MANIFEST).exists() else manifest
    if different := _difference(there, manifest):
        raise FileError(
            f"{root} holds evidence of another run (what differs: {different}); "
            "expected the same run to go on: choose another folder, or delete this one"
        )
    pairs = zip(there["pictures"], manifest["pictures"], strict=True)
    merged = [now if old["sha256"] is None else old for old, now in pairs]
    if merged != there["pictures"] or not (root / MANIFEST).exists():
        there = {**there, "pictures": merged}
        with replacing(root / MANIFEST) as draft:
            draft.write_text(MANIFESTS.text(there), "utf-8")
    return there


def _difference(there: Mapping[str, Any], now: Mapping[str, Any], also: Sequence[str] = ()) -> str:
    """What tells the evidence of one run from that of another, "" if it is of the same one; a picture that
    was not read may be any of its name.
    """
    names = ("model", "fingerprint", "questions", *also)
    found = [differences(there, {name: now[name] for name in names}), differing(there, now)]
    pairs = zip_longest(there["pictures"], now["pictures"])
    if other := [new or old for old, new in pairs if not _may_be_same(old, new)]:
        found.append(f"{len(other)} pictures, {other[0]['name']} first")
    return "; ".join(filter(None, found))


def _may_be_same(old: EvidencePicture | None, new: EvidencePicture | None) -> bool:
    if old is None or new is None or old["name"] != new["name"]:
        return False
    return None in (old["sha256"], new["sha256"]) or old["sha256"] == new["sha256"]


def _read_manifest(root: Path) -> EvidenceManifest:
    if not os.path.isfile(root / MANIFEST):  # which knows no names that are too long
        raise FileError(f"no evidence in {root}: {MANIFEST} is missing; expected a folder with evidence")
    return MANIFESTS.read(root / MANIFEST)
