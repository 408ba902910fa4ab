"""Evidence: what every visual token of many pictures says and does, read from disk as far as it is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from wordsight.errors import FileError
from wordsight.redundancy import probe
from wordsight.redundancy.evidence_files import (
    MANIFEST,
    MANIFESTS,
    SHARDS,
    EvidenceChecks,
    EvidenceOrigin,
    EvidencePicture,
    PictureClusters,
    Shard,
    digest_of_names,
    noise_in,
    read_checks,
    read_manifest,
    shards_of,
)
from wordsight.redundancy.experiments import SIGNALS, TOKENS, Noise, experiments, probes, signal_of, sources

Rows = Tensor | slice


class Column(Protocol):
    """One row per token: a tensor, or on disk and read by column[:] or column[rows]."""

    def __getitem__(self, rows: Any, /) -> Tensor: ...


@dataclass(frozen=True)
class Evidence:
    """One row per visual token of all pictures.

    embeds (T, D) in the model's dtype; image (T,) index into `pictures`; cell (T, 4); words and
    word_probabilities (T, 5), the answers to the first question; signals (T,) each, see `measure_tokens`. Of
    `skipped` pictures, which could not be read, there are reasons instead of rows.

    Evidence that was loaded is read when it is asked for: `embeds[:]` reads all, `embeds[rows]` those of a
    few tokens, and a signal is read once. cluster_sizes (T,) are of the token's cluster in its picture, if
    `clusters` are known; `checks` are of the experiments that diverge.
    """

    embeds: Column
    image: Tensor
    cell: Column
    words: Column
    word_probabilities: Column
    signals: Mapping[str, Tensor]
    pictures: tuple[str, ...]
    manifest: EvidenceOrigin
    sha256: tuple[str | None, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    cluster_sizes: Column | None = None
    clusters: PictureClusters | None = None
    checks: Mapping[str, EvidenceChecks] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image)

    @cached_property
    def tokens(self) -> Tensor:
        """(P,) how many tokens there are of every picture."""
        return self.image.bincount(minlength=len(self.pictures))

    @property
    def examined(self) -> int:
        """The number of pictures that there are tokens of."""
        return int(self.tokens.count_nonzero())

    @property
    def is_approximate(self) -> bool:
        """Whether its global divergence is, see `ablate_global_frozen`."""
        return "global" in self.checks and self.checks["global"]["approximate"]

    @property
    def says_nothing(self) -> Tensor:
        """(T,) which tokens say nothing to the first question."""
        return probe.says_nothing(self.signals["blind_divergence"])

    @classmethod
    def load(cls, folder: str | Path, needs: Sequence[str] | None = None) -> Evidence:
        """The evidence in a folder, of the experiments that are there, or of those in `needs`, as
        `Condition.needs` has them; a picture that was skipped in one of them is left out.

        Raises FileError if there is none, or a file of it is missing, damaged or of other evidence; columns
        are checked when they are read.
        """
        root = Path(folder)
        manifest = read_manifest(root)
        known = experiments(len(manifest["questions"]))
        read = [name for name in known if (root / name).is_dir()] if needs is None else needs
        store = _Store(root, {name: shards_of(root, manifest, name) for name in {TOKENS, *read}})
        pictures = store.pictures
        if digest_of_names(picture["name"] for picture in pictures) != manifest["names_sha256"]:
            raise FileError(
                f"the files in {root} are of other pictures than {MANIFEST} says: {MANIFESTS.remedy}, or "
                f"{SHARDS.remedy}"
            )
        first, checks = probes(1)[0], read_checks(root, manifest)
        return cls(
            embeds=store.column(TOKENS, "embeds"),
            image=torch.repeat_interleave(torch.tensor([picture["tokens"] for picture in pictures])),
            cell=store.column(TOKENS, "cell"),
            words=store.column(first, "words"),
            word_probabilities=store.column(first, "word_probabilities"),
            signals=_Signals(store, len(manifest["questions"]), noise_in(checks)),
            pictures=tuple(picture["name"] for picture in pictures),
            manifest=manifest,
            sha256=tuple(picture["sha256"] for picture in pictures),
            skipped=store.skipped,
            cluster_sizes=store.column(TOKENS, "cluster_size"),
            clusters=manifest["clusters"],
            checks=checks,
        )


@dataclass(frozen=True)
class _Store:
    """The shards of several experiments with the same pictures."""

    root: Path
    shards: Mapping[str, Sequence[Shard]]

    @cached_property
    def pictures(self) -> list[EvidencePicture]:
        """All pictures, with no tokens of those that an experiment skipped. Raises FileError if the
        experiments are of different pictures.
        """
        return [
            self._joined(records)
            for number in range(len(self.shards[TOKENS]))
            for records in zip(
                *(shards[number].record["pictures"] for shards in self.shards.values()), strict=True
            )
        ]

    def _joined(self, records: Sequence[EvidencePicture]) -> EvidencePicture:
        """What all experiments say of one picture."""
        examined = [each for each in records if each["tokens"]] or records[:1]
        names = {each["name"] for each in records}
        if len(names) > 1 or any(each != examined[0] for each in examined):
            raise FileError(
                f"the experiments in {self.root} are of different pictures, {records[0]['name']} first: "
                f"{MANIFESTS.remedy}"
            )
        return examined[0] if all(each["tokens"] for each in records) else {**examined[0], "tokens": 0}

    @property
    def skipped(self) -> dict[str, str]:
        return {
            path: reason
            for shards in self.shards.values()
            for shard in shards
            for path, reason in shard.record["skipped"].items()
        }

    @cached_property
    def tokens(self) -> list[list[int]]:
        """Of every picture of every shard, 0 of those that an experiment skipped."""
        counts = iter([picture["tokens"] for picture in self.pictures])
        return [[next(counts) for _ in shard.tokens] for shard in self.shards[TOKENS]]

    @cached_property
    def starts(self) -> Tensor:
        """(S + 1,) the first row of every shard, and the number of all rows."""
        return torch.tensor([0, *map(sum, self.tokens)]).cumsum(0)

    def column(self, experiment: str, name: str) -> _StoredColumn:
        return _StoredColumn(self, experiment, name)

    def read(self, experiment: str, name: str, number: int, rows: Rows) -> Tensor:
        """Rows of a column of a shard, counted without the pictures that another experiment skipped."""
        shard = self.shards[experiment][number]
        if shard.tokens != self.tokens[number]:
            is_left = torch.tensor([count > 0 for count in self.tokens[number]])
            rows = is_left.repeat_interleave(torch.tensor(shard.tokens)).nonzero()[:, 0][rows]
        return shard.rows(name, rows)


@dataclass(frozen=True)
class _StoredColumn:
    """A column of all shards, of which a shard at a time is read."""

    store: _Store
    experiment: str
    name: str

    def __getitem__(self, rows: Any) -> Tensor:
        if self.experiment not in self.store.shards:
            raise FileError(
                f"the evidence in {self.store.root} has no {self.experiment}: collect it for a condition "
                "that reads it, into the same folder"
            )
        found: Tensor | None = None
        total, pieces = self._pieces(rows)
        for number, places, own in pieces:
            part = self.store.read(self.experiment, self.name, number, own)
            found = part.new_empty(total, *part.shape[1:]) if found is None else found
            if part.shape[1:] != found.shape[1:]:
                raise FileError(
                    f"files in {self.store.root} have tokens of several widths: {MANIFESTS.remedy}"
                )
            found[places] = part
        assert found is not None, "there is a shard"
        return found

    def _pieces(self, rows: Any) -> tuple[int, Iterator[tuple[int, Rows, Rows]]]:
        """How many rows there are, and by shard their places among them and in the shard."""
        starts = self.store.starts.tolist()
        last = len(starts) - 2  # read even if no row is: it says of what kind no row would be
        if isinstance(rows, slice) and rows == slice(None):
            spans = enumerate(pairwise(starts))
            return starts[-1], (
                (number, slice(start, end), slice(None))
                for number, (start, end) in spans
                if start < end or (number == last and not starts[-1])
            )
        is_index = isinstance(rows, Tensor) and rows.dtype == torch.long
        index = rows if is_index else torch.arange(starts[-1])[rows]
        numbers = torch.searchsorted(self.store.starts, index, right=True) - 1
        by_shard = torch.split(numbers.argsort(stable=True), numbers.bincount(minlength=last + 1).tolist())
        return len(index), (
            (number, places, index[places] - starts[number])
            for number, places in enumerate(by_shard)
            if len(places) or (number == last and not len(index))
        )


class _Signals(Mapping[str, Tensor]):
    """Those signals whose experiments are there, each read once."""

    def __init__(self, store: _Store, questions: int, noise: Noise) -> None:
        self._store, self._questions, self._noise = store, questions, noise
        self._known = dict[str, Tensor]()

    def __getitem__(self, name: str) -> Tensor:
        if name not in SIGNALS:
            raise KeyError(name)
        if name not in self._known:
            found = {
                experiment: {column: self._store.column(experiment, column)[:]}
                for experiment, column in sources(name, self._questions)
            }
            self._known[name] = signal_of(name, found, self._questions, self._noise)
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __iter__(self) -> Iterator[str]:
        for name in SIGNALS:
            if all(experiment in self._store.shards for experiment, _ in sources(name, self._questions)):
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)
