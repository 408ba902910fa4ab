"""Codebook: redundant prototypes, directions of embedding space that say nothing to the language model.

"Beyond Intermediate States: Explaining Visual Redundancy through Language",
https://arxiv.org/abs/2503.20540.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from typing_extensions import NotRequired, TypedDict

from wordsight import demo
from wordsight._utils.files import check_folder, replacing
from wordsight._utils.records import checked, read_json, renamed
from wordsight.algorithms.clustering import Scale
from wordsight.algorithms.selection import greedy_dominating_set
from wordsight.errors import FileError, UsageError
from wordsight.redundancy.criteria import ConditionRecord

if TYPE_CHECKING:
    from wordsight.models.vlm import VLM

FORMAT = 2
EARLIER = {  # what parts of a config of format 1 called their fields
    "condition": {"says": "signal"},
    "thresholds": {"says": "signal"},
    "clustering": {"neighbours": "neighbors"},
}
FILES = ("codebook.safetensors", "config.json")
ROUNDING = 1e-12  # of a cosine in double precision


class ClusteringRecord(TypedDict):
    """How redundant tokens became prototypes."""

    image_clusters: Annotated[int, "of the tokens of a picture"]
    largest: Annotated[int, "tokens of a picture's cluster whose tokens may become prototypes"]
    clusters: Annotated[int, "of the redundant tokens of all pictures"]
    images: Annotated[int, "pictures that a cluster is in at least one more of"]
    neighbors: Annotated[int, "nearest tokens that a density is of"]
    scale: Annotated[Scale, "of distances"]


class Counts(TypedDict, total=False):
    """How many there were at every step of building a book."""

    pictures: int
    tokens: int
    redundant: int
    redundant_in_small_clusters: int
    prototypes: int


class Compacted(TypedDict):
    """The book that a compact one was made of."""

    similarity: Annotated[float, "the cosine from which one prototype repeats another"]
    prototypes: int
    digest: str


class CodebookConfig(TypedDict):
    """What a codebook says of itself: which model it is for, and what it was made of."""

    format: int
    model: str
    fingerprint: Annotated[str | None, "of the model's weights; null where only their width is known"]
    questions: NotRequired[Annotated[list[str], "that every token was asked"]]
    condition: NotRequired[Annotated[ConditionRecord | str, "as given; a sentence if there was none"]]
    thresholds: NotRequired[Annotated[ConditionRecord, "the condition with absolute values for quantiles"]]
    clustering: NotRequired[ClusteringRecord]
    pictures_sha256: NotRequired[Annotated[str, "of the names and digests of the pictures"]]
    counts: NotRequired[Counts]
    versions: NotRequired[Annotated[dict[str, str], "of the packages that built it"]]
    imported_from: NotRequired[Annotated[str, "the file that the paper's authors released"]]
    compacted: NotRequired[Annotated[list[Compacted], "the larger books, the first one first"]]


class CodebookInfo(CodebookConfig):
    """What `wordsight codebook info` tells: the config and the shape."""

    prototypes: int
    width: int


@dataclass(frozen=True)
class Codebook:
    """Prototypes (M, D) and the record of where they come from.

    >>> book = Codebook.from_pretrained("demo")
    >>> book.redundancy(tokens.embeds)               # (N,) in [-1, 1], high = says nothing
    """

    prototypes: Tensor
    config: CodebookConfig

    @property
    def digest(self) -> str:
        """What tells this book from others, whatever folder it lies in."""
        return hashlib.sha256(self.prototypes.float().cpu().numpy().tobytes()).hexdigest()[:16]

    @property
    def info(self) -> CodebookInfo:
        """The config with the shape of the prototypes."""
        count, width = self.prototypes.shape
        return {"prototypes": count, "width": width, **self.config}

    def similarity(self, embeds: Tensor) -> Tensor:
        """(N, M) float32 cosine of every token (N, D) with every prototype."""
        if embeds.shape[-1] != self.prototypes.shape[-1]:
            raise UsageError(
                f"codebook is for D={self.prototypes.shape[-1]} ({self.config['model']}), this model has "
                f"D={embeds.shape[-1]}; build one with `wordsight codebook build`"
            )
        unit = torch.nn.functional.normalize
        return unit(embeds.float(), dim=-1) @ unit(self.prototypes.float().to(embeds.device), dim=-1).T

    def redundancy(self, embeds: Tensor) -> Tensor:
        """(N,) the highest cosine with a prototype, in [-1, 1]: high means that the token says nothing."""
        return self.similarity(embeds).amax(-1)

    def repetition(self) -> Tensor:
        """(M, M) double: the cosine of every prototype with every other, -inf with itself."""
        unit = torch.nn.functional.normalize(self.prototypes.double(), dim=-1)
        return (unit @ unit.T).clamp(-1, 1).fill_diagonal_(-torch.inf)

    def compact(self, similarity: float = 0.98) -> Codebook:
        """The book without prototypes that repeat another.

        Each that goes has a cosine of `similarity` or more with one that stays, and no two that stay have.
        The one that most others repeat stays first, whatever order they are in. None is averaged, so no
        token's redundancy rises; it falls by sqrt(2 - 2 * similarity) at most, the distance of two unit
        vectors at that cosine. That is said of the highest cosine, not of the pruner's softmax rules.
        """
        if not 0 < similarity <= 1:
            raise UsageError(f"similarity must be a cosine in (0, 1], got {similarity}")
        near = (self.repetition() >= similarity - ROUNDING).fill_diagonal_(True)
        # The place in the order of the vectors themselves, so that equals are not told apart by index.
        place = torch.unique(self.prototypes, dim=0, return_inverse=True)[1]
        stay = greedy_dominating_set(near, place)
        larger: Compacted = {
            "similarity": similarity,
            "prototypes": len(self.prototypes),
            "digest": self.digest,
        }
        config: CodebookConfig = {
            **self.config,
            "counts": {**self.config.get("counts", Counts()), "prototypes": len(stay)},
            "compacted": [*self.config.get("compacted", []), larger],
        }
        return Codebook(self.prototypes[stay], config)

    def check(self, vlm: VLM) -> None:
        """Raises UsageError if the book was built for another model; imported books only know their width."""
        self.similarity(vlm.pad_embedding[None])
        known = self.config["fingerprint"]
        if known is not None and known != vlm.fingerprint:
            raise UsageError(
                f"codebook was built for {self.config['model']} (fingerprint {known}), this is {vlm.name} "
                f"({vlm.fingerprint}): prototypes mean nothing in another model; build one with "
                "`wordsight codebook build`"
            )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write codebook.safetensors and config.json into the folder, both or neither.

        Raises FileError if the folder holds anything else: a book takes the place of a book only.
        """
        root = Path(folder)
        check_destination(root)
        with replacing(root) as draft:
            draft.mkdir()
            # Not save_file: what it raises where there is no room is no OSError.
            (draft / "codebook.safetensors").write_bytes(save({"prototypes": self.prototypes.contiguous()}))
            (draft / "config.json").write_text(json.dumps(self.config, indent=1) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Codebook:
        """Load a book; "demo" is the embedded model's. Raises FileError if it is not one or is damaged."""
        root = demo.CODEBOOK if folder == "demo" else Path(folder)
        if root.is_file():
            raise FileError(
                f"{root} is a file; expected a folder with codebook.safetensors and config.json; "
                "a released .pt book is converted by `wordsight codebook import`"
            )
        try:
            return cls(_read_prototypes(root / "codebook.safetensors"), _read_config(root / "config.json"))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise FileError(
                f"no codebook in {root}: expected config.json and codebook.safetensors that can be read "
                f"({error})"
            ) from error


def _read_prototypes(path: Path) -> Tensor:
    prototypes = load_file(path)["prototypes"]
    if prototypes.ndim != 2:
        raise ValueError(f"prototypes have the shape {tuple(prototypes.shape)}, expected (M, D)")
    if not prototypes.isfinite().all():
        raise ValueError("some prototypes are NaN or infinite")
    return prototypes


def _read_config(path: Path) -> CodebookConfig:
    """A config, that of format 1 with its fields called as in this version."""
    config = read_json(path, "the config of a codebook")
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no config")
    if config.get("format") not in (1, FORMAT):
        raise ValueError(
            f"{path} has format {config.get('format')}, this version reads 1 and {FORMAT}; install the "
            "version that wrote it"
        )
    parts = {
        name: renamed(config[name], names)
        for name, names in EARLIER.items()
        if isinstance(config.get(name), dict)  # the condition of a random book is a sentence
    }
    return checked(CodebookConfig, config | parts | {"format": FORMAT}, path)


def check_destination(folder: Path, apart: Iterable[str | Path] = ()) -> None:
    """Raises FileError if a book cannot be saved there: a book takes the place of a book only."""
    check_folder(folder, FILES, apart)


def import_released(file: str | Path, model: str) -> Codebook:
    """A codebook the paper's authors released: one tensor (M, D) in a .pt file, read with weights_only."""
    try:
        prototypes = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler meets in a damaged file
        raise FileError(
            f"cannot read {file}: expected a .pt file that holds one tensor and nothing else "
            f"({type(error).__name__})"
        ) from error
    if not isinstance(prototypes, Tensor) or prototypes.ndim != 2 or not prototypes.is_floating_point():
        raise FileError(f"{file} does not hold prototypes: expected one float tensor (M, D)")
    config: CodebookConfig = {
        "format": FORMAT,
        "model": model,
        "fingerprint": None,
        "imported_from": Path(file).name,
        "counts": {"prototypes": len(prototypes)},
    }
    return Codebook(prototypes.detach().clone(), config)
