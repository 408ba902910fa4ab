"""Examining: a job is what is missing of the evidence of a few pictures; doing it writes a shard of each
experiment.

A job is plain data, and what it writes depends on it, its pictures and the checks beside its shards alone:
whatever process does it writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from wordsight._utils.progress import subtasks
from wordsight.errors import FileError, MediaError, located
from wordsight.media.images import read_picture
from wordsight.media.picture_files import PictureFile, label
from wordsight.models.finite import check_finite
from wordsight.models.vlm import VLM
from wordsight.redundancy.ablation import ablate_global, ablate_global_frozen
from wordsight.redundancy.build import cluster_sizes
from wordsight.redundancy.criteria import Condition
from wordsight.redundancy.evidence_files import (
    EvidenceChecks,
    EvidenceManifest,
    EvidencePicture,
    Shard,
    TokensBelow,
    columns_of,
    noise_in,
    read_checks,
)
from wordsight.redundancy.experiments import (
    TOKENS,
    AblationPlan,
    Found,
    Noise,
    experiments,
    measure_experiments,
    signal_of,
    signals_of,
    sources,
)
from wordsight.redundancy.measured_with import on_threads


@dataclass(frozen=True)
class EvidenceJob:
    """The shards of one number that are to be written, of the experiments in `missing`: of which tokens, None
    for all.
    """

    root: Path
    manifest: EvidenceManifest
    number: int
    pictures: tuple[PictureFile, ...]
    missing: Mapping[str, TokensBelow | None]

    def shard(self, experiment: str) -> Shard:
        return Shard(self.root, self.manifest, experiment, self.number)


def examine(vlm: VLM, job: EvidenceJob) -> int:
    """Do a job; the number of tokens that were examined.

    Raises FileError if a picture is another one than before, and ModelError if what is measured is no number.
    """
    names = experiments(len(job.manifest["questions"]))
    there = {name: shard for name in names if (shard := job.shard(name)).path.is_file()}
    signals = {name: _signal_columns(there[name]) for name in there if name not in job.missing}
    pictures, skipped, parts = list[EvidencePicture](), dict[str, str](), list[Found]()
    checks = read_checks(job.root, job.manifest)
    for position, picture in enumerate(subtasks(job.pictures, len(job.pictures))):
        try:
            known = (shard.record["pictures"][position]["sha256"] for shard in there.values())
            image, digest = open_unchanged(picture, known)
        except MediaError as error:
            skipped[label(picture)] = str(error)
            pictures.append({"name": picture.name, "sha256": None, "tokens": 0})
            continue
        found = {name: columns[position] for name, columns in signals.items() if columns[position]}
        with on_threads(job.manifest["measured_with"]["threads"]), located(f"the tokens of {label(picture)}"):
            parts.append(_measured(vlm, job, image, found, checks))
        pictures.append({"name": picture.name, "sha256": digest, "tokens": len(parts[-1][TOKENS]["cell"])})
    for name, only in job.missing.items():
        columns = _joined(job, name, parts)
        job.shard(name).write(pictures, skipped, columns, only=only)
    return sum(picture["tokens"] for picture in pictures)


def open_unchanged(picture: PictureFile, digests: Iterable[str | None] = ()) -> tuple[Image, str]:
    """A picture and the digest of its file. Raises MediaError if it cannot be read, and FileError if the
    evidence of it has another digest.
    """
    content = picture.read()
    digest = sha256(content).hexdigest()
    if any(each not in (None, digest) for each in digests):
        raise FileError(
            f"{label(picture)} is another picture than when its evidence was begun: put the former one back, "
            "or collect the evidence again in another folder"
        )
    return read_picture(BytesIO(content), label(picture)), digest


def _signal_columns(shard: Shard) -> list[dict[str, Tensor]]:
    """What a shard has of one number per token, of each of its pictures; nothing of those it skipped."""
    names = [name for name, (shape, _) in columns_of(shard.experiment).items() if not shape]
    columns = {name: torch.split(shard.column(name), shard.tokens) for name in names}
    return [
        {name: column[position] for name, column in columns.items()} if count else {}
        for position, count in enumerate(shard.tokens)
    ]


def _measured(
    vlm: VLM, job: EvidenceJob, image: Image, known: Found, checks: Mapping[str, EvidenceChecks]
) -> Found:
    """The columns of a picture that are missing."""
    questions = job.manifest["questions"]
    noise = noise_in(checks)

    def picked(name: str, found: Found) -> Tensor | None:
        return _picked(job.missing.get(name), {**known, **found}, len(questions), noise)

    is_approximate = "global" in checks and checks["global"]["approximate"]
    ablations = AblationPlan(picked, ablate_global_frozen if is_approximate else ablate_global)
    found = measure_experiments(vlm, image, questions, job.missing, ablations)
    for name, columns in found.items():
        rows = picked(name, found)
        done = columns if rows is None else {column: columns[column][rows] for column in columns}
        check_finite(name, done)
    return {**found, TOKENS: _with_clusters(job.manifest, {**known, **found}, noise)}


def _picked(only: TokensBelow | None, found: Found, questions: int, noise: Noise) -> Tensor | None:
    """The tokens (N,) that an experiment is to be done for, None for all."""
    if only is None or any(name not in found for name, _ in sources(only["signal"], questions)):
        return None
    return signal_of(only["signal"], found, questions, noise) < only["threshold"]


def _with_clusters(manifest: EvidenceManifest, found: Found, noise: Noise) -> dict[str, Tensor]:
    """The tokens of a picture with the sizes of their clusters, and the embeddings that are kept."""
    sizes = cluster_sizes(found[TOKENS]["embeds"], manifest["clusters"])
    kept, survivors = torch.ones(len(sizes), dtype=torch.bool), manifest["survivors"]
    if survivors is not None:
        kept = sizes <= min(survivors["largest"], len(sizes))
        condition = survivors["condition"] and Condition.from_json(survivors["condition"])
        if condition and found.keys() >= {*condition.needs(manifest["questions"])}:
            kept &= condition.holds(signals_of(found, len(manifest["questions"]), noise))
    embeds = found[TOKENS]["embeds"][kept]
    return {"embeds": embeds, "cell": found[TOKENS]["cell"], "cluster_size": sizes, "kept": kept}


def _joined(job: EvidenceJob, name: str, parts: Sequence[Found]) -> dict[str, Tensor]:
    """The columns of an experiment of all pictures of a job."""
    spec = columns_of(name)
    if not parts:
        return {column: torch.zeros(0, *shape, dtype=dtype) for column, (shape, dtype) in spec.items()}
    return {column: torch.cat([part[name][column] for part in parts]) for column in spec}
