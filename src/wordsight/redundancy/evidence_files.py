"""Evidence files: a manifest of what the evidence in a folder is of, and a folder of shards per experiment.

A shard holds the columns of one experiment, of so many pictures that follow one another. It says itself which
pictures these are, so that nothing has to be known of all pictures before the first is examined.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import torch
from safetensors import safe_open
from torch import Tensor
from typing_extensions import NotRequired, TypedDict

from wordsight._utils.artifacts import Artifact, differences, read_metadata, tensors_digest, write_tensors
from wordsight._utils.files import replacing
from wordsight._utils.numbers import counted
from wordsight._utils.records import json_text
from wordsight.algorithms.clustering import Scale
from wordsight.algorithms.divergence import MEASURES
from wordsight.errors import FileError
from wordsight.models.fingerprints import Parts, differing
from wordsight.redundancy.criteria import ConditionRecord
from wordsight.redundancy.experiments import ABLATIONS, TOKENS, WORDS, Noise, TokenSignal, experiments
from wordsight.redundancy.measured_with import MeasuredWith

FORMAT = 4
MANIFEST, CHECKS = "manifest.json", "checks.json"
ORIGIN = ("model", "fingerprint", "questions")  # and the parts of the model, if they are known
Kind = tuple[tuple[int, ...], torch.dtype | None]
OF_TOKENS: dict[str, Kind] = {
    "embeds": ((0,), None),
    "cell": ((4,), torch.long),
    "cluster_size": ((), torch.int32),
    "kept": ((), torch.bool),
}
OF_PROBE: dict[str, Kind] = {
    "words": ((WORDS,), torch.long),
    "word_probabilities": ((WORDS,), None),
    "confidence": ((), None),
    "certainty": ((), None),
    "blind_divergence": ((), None),
}


class PictureClusters(TypedDict):
    """How the tokens of a picture are clustered, whose clusters' sizes are kept with them."""

    image_clusters: int
    neighbors: int
    scale: Scale


class Survivors(TypedDict):
    """The tokens whose embeddings are kept: those that can still be a prototype."""

    largest: Annotated[int, "tokens in a cluster of their picture"]
    condition: Annotated[ConditionRecord | None, "that holds for them; null if it may for any token"]


class EvidenceOrigin(TypedDict):
    """What all files of evidence in a folder have in common."""

    format: int
    model: str
    fingerprint: Annotated[str, "of the model's weights"]
    parts: NotRequired[Annotated[Parts | None, "digests of the rest of the model; null if unknown"]]
    questions: Annotated[list[str], "that every token is asked"]
    measured_with: MeasuredWith


class EvidenceManifest(EvidenceOrigin):
    """What the evidence in a folder is of, and how it is laid out."""

    pictures: int
    names_sha256: Annotated[str, "of the names of all pictures"]
    shard_pictures: Annotated[int, "pictures in a shard, but the last"]
    clusters: PictureClusters
    survivors: Annotated[Survivors | None, "null if all embeddings are kept"]


class EvidencePicture(TypedDict):
    """A picture whose tokens were examined, or that was skipped."""

    name: str
    sha256: Annotated[str | None, "of the file; null if it could not be read so far"]
    tokens: Annotated[int, "0 if it could not be read"]


class TokensBelow(TypedDict):
    """The tokens that were measured: those whose signal lies below a threshold."""

    signal: TokenSignal
    threshold: float


class EvidenceChecks(EvidenceOrigin):
    """How far an experiment can be believed, by a few tokens of the first picture."""

    experiment: str
    names_sha256: Annotated[str, "of the names of all pictures"]
    approximate: Annotated[bool, "whether most tokens stay as they were read in the whole picture"]
    noise: Annotated[dict[str, float], "nats by column; what is below counts as no change"]
    rank_correlation: Annotated[float | None, "with the exact computation; null where it is exact"]


class EvidenceShard(EvidenceOrigin):
    """What one file of evidence is of."""

    experiment: str
    number: Annotated[int, "of the shard, from 0"]
    pictures: list[EvidencePicture]
    skipped: Annotated[dict[str, str], "the pictures that could not be read, and why"]
    only: Annotated[TokensBelow | None, "what is NaN for the other tokens; null if all were measured"]
    columns_sha256: Annotated[dict[str, str], "of every column in the file"]


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


CHECKED = Artifact(
    name="the checks of an experiment",
    record=EvidenceChecks,
    format=FORMAT,
    remedy="delete it and run the same command again",
)


@dataclass(frozen=True)
class Shard:
    """A file of evidence, of which only what is asked for is read, and checked."""

    root: Path
    manifest: EvidenceManifest
    experiment: str
    number: int

    @property
    def path(self) -> Path:
        return self.root / self.experiment / f"{self.number:06d}.safetensors"

    @cached_property
    def record(self) -> EvidenceShard:
        """What it is of. Raises FileError if it is missing, damaged, or not what the manifest says."""
        if not self.path.is_file():
            raise FileError(
                f"evidence in {self.root} is unfinished, {self.experiment}/{self.path.name} is missing: run "
                "the same command again"
            )
        record = read_metadata(self.path, SHARDS)
        expected = {
            "experiment": self.experiment,
            "number": self.number,
            "pictures": len(span(self.manifest, self.number)),
        }
        _check_origin(self.path, {**record, "pictures": len(record["pictures"])}, self.manifest, expected)
        return record

    @cached_property
    def tokens(self) -> list[int]:
        """Of each of its pictures."""
        return [picture["tokens"] for picture in self.record["pictures"]]

    def column(self, name: str) -> Tensor:
        """A column, one row for every token; of "embeds" one for every token that is `kept`."""
        try:
            with safe_open(self.path, "pt") as file:
                column: Tensor = file.get_tensor(name).clone()
        except Exception as error:  # safetensors and torch raise whatever they meet in a damaged file
            raise SHARDS.unusable(self.path, str(error)) from error
        if tensors_digest({name: column}) != self.record["columns_sha256"].get(name):
            raise SHARDS.unusable(self.path, f"{name} is not what was written, so it is damaged or edited")
        rows = int(self.column("kept").sum()) if name == "embeds" else sum(self.tokens)
        shape, dtype = columns_of(self.experiment)[name]
        is_typed = column.is_floating_point() if dtype is None else column.dtype == dtype
        is_shaped = column.shape == (rows, *shape) or (name == "embeds" and column.shape[:-1] == (rows,))
        if not (is_typed and is_shaped):
            raise SHARDS.unusable(
                self.path, f"{name} has the shape {tuple(column.shape)} and holds {column.dtype}"
            )
        if not (column.isfinite() | (column.isnan() if self.record["only"] else False)).all():
            raise SHARDS.unusable(self.path, f"{name} is NaN or infinite")
        return column

    def rows(self, name: str, rows: Tensor | slice) -> Tensor:
        """A column at these rows. Raises FileError if embeddings were not kept for all of them."""
        column = self.column(name)
        if name != "embeds":
            return column[rows]
        kept = self.column("kept")
        if not kept[rows].all():
            raise FileError(
                f"the evidence in {self.root} keeps the embeddings of survivors only, and others are needed: "
                "collect it again in another folder, with all embeddings"
            )
        return column[(kept.cumsum(0) - 1)[rows]]

    def write(
        self,
        pictures: list[EvidencePicture],
        skipped: dict[str, str],
        columns: Mapping[str, Tensor],
        *,
        only: TokensBelow | None = None,
    ) -> None:
        """Write the columns of these pictures, in the place of what is there."""
        record: EvidenceShard = {
            **origin_of(self.manifest),
            "experiment": self.experiment,
            "number": self.number,
            "pictures": pictures,
            "skipped": skipped,
            "only": only,
            "columns_sha256": {name: tensors_digest({name: column}) for name, column in columns.items()},
        }
        with replacing(self.path) as draft:
            write_tensors(draft, columns, SHARDS.text(record))


def _check_origin(
    path: Path, record: Mapping[str, Any], manifest: EvidenceManifest, expected: Mapping[str, Any]
) -> None:
    """Raises FileError if a file is not of the manifest's run, or not what is expected."""
    common = {name: manifest.get(name) for name in (*ORIGIN, "measured_with")}
    found = [differences(record, {**common, **expected}), differing(record, manifest)]
    if different := "; ".join(filter(None, found)):
        raise FileError(
            f"{path} is of another run than {MANIFEST} beside it (what differs: {different}): "
            f"{MANIFESTS.remedy}, or {SHARDS.remedy}"
        )


def origin_of(manifest: EvidenceManifest) -> EvidenceOrigin:
    """What a shard says of the model, as the manifest does."""
    return {
        "format": FORMAT,
        "model": manifest["model"],
        "fingerprint": manifest["fingerprint"],
        "parts": manifest.get("parts"),
        "questions": manifest["questions"],
        "measured_with": manifest["measured_with"],
    }


def columns_of(experiment: str) -> Mapping[str, Kind]:
    """The columns of an experiment: the shape of a row, of an embedding whatever it is, and the dtype, None
    for any floating-point one.
    """
    if experiment in ABLATIONS:
        return dict.fromkeys(MEASURES, ((), None))
    return OF_TOKENS if experiment == TOKENS else OF_PROBE


def manifest_differences(there: EvidenceManifest, now: EvidenceManifest) -> str:
    """What tells the evidence of one run from that of another, "" if it is of the same one."""
    found = [differences(there, {name: now[name] for name in ORIGIN}), differing(there, now)]  # type: ignore[literal-required]  # they are its fields
    if any(there[name] != now[name] for name in ("pictures", "names_sha256")):
        found.append(f"the names of {counted(there['pictures'], 'picture')}, now {now['pictures']}")
    return "; ".join(filter(None, found))


def shards_of(root: Path, manifest: EvidenceManifest, experiment: str) -> list[Shard]:
    """All shards of an experiment, whether they are there or not."""
    count = -(-manifest["pictures"] // manifest["shard_pictures"])
    return [Shard(root, manifest, experiment, number) for number in range(count)]


def digest_of_names(names: Iterable[str]) -> str:
    """Of the names of all pictures, in their order."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(json_text(name).encode())
    return digest.hexdigest()


def read_manifest(root: Path) -> EvidenceManifest:
    """The manifest in a folder. Raises FileError if there is none, or it is damaged or of another version."""
    if not os.path.isfile(root / MANIFEST):  # which knows no names that are too long
        raise FileError(f"no evidence in {root}: {MANIFEST} is missing; expected a folder with evidence")
    return MANIFESTS.read(root / MANIFEST)


def read_checks(root: Path, manifest: EvidenceManifest) -> dict[str, EvidenceChecks]:
    """The checks in a folder, by experiment. Raises FileError if they are damaged, or of another run."""
    found = {}
    for name in experiments(len(manifest["questions"])):
        path = root / name / CHECKS
        if path.is_file():
            found[name] = CHECKED.read(path)
            expected = {"experiment": name, "names_sha256": manifest["names_sha256"]}
            _check_origin(path, found[name], manifest, expected)
    return found


def noise_in(checks: Mapping[str, EvidenceChecks]) -> Noise:
    """The noise, by experiment."""
    return {name: check["noise"] for name, check in checks.items()}


def approximation(rank_correlation: float | None) -> str:
    """What an approximate global divergence is, in words."""
    rho = "unknown" if rank_correlation is None else f"{rank_correlation:.2f}"
    return f"approximate, with a rank correlation with the exact one of {rho} on the first picture"


def span(manifest: EvidenceManifest, number: int) -> range:
    """The pictures of a shard."""
    size = manifest["shard_pictures"]
    return range(manifest["pictures"])[number * size : (number + 1) * size]
