"""Codebook: redundant prototypes, directions of embedding space that say nothing to the language model.

"Beyond Intermediate States: Explaining Visual Redundancy through Language",
https://arxiv.org/abs/2503.20540.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wordsight import demo
from wordsight._utils.artifacts import read_tensors, tensors_digest, write_folder
from wordsight._utils.files import check_folder
from wordsight._utils.notes import note
from wordsight.algorithms.selection import BLOCK, greedy_dominating_set
from wordsight.errors import FileError, ModelNote, UsageError
from wordsight.media.picture_files import PictureFile
from wordsight.models import photos
from wordsight.models.fingerprints import differing
from wordsight.redundancy.codebook_card import CARD, check_license, model_card
from wordsight.redundancy.codebook_config import (
    CONFIGS,
    FORMAT,
    CodebookConfig,
    CodebookInfo,
    Compacted,
    Counts,
    PatchesRecord,
    without_folders,
)
from wordsight.redundancy.hub import check_repository, download, on_hub, upload
from wordsight.redundancy.origins import SIDE, Origins, find_origins

if TYPE_CHECKING:
    from wordsight.models.vlm import VLM

FILES = ("codebook.safetensors", "config.json")
ROUNDING = 1e-12  # of a cosine in double precision
SHORTEST = 1e-12  # length of a vector that has a direction, as torch.nn.functional.normalize sees it
BUILT_IN_BOOKS: dict[str, Callable[[], Path]] = {"demo": lambda: demo.CODEBOOK, photos.NAME: photos.codebook}


@dataclass(frozen=True)
class Codebook:
    """Prototypes (M, D) and the record of where they come from; if it was asked for, what each of them was.

    >>> book = Codebook.from_pretrained("demo")
    >>> book.redundancy(tokens.embeds)               # (N,) in [-1, 1], high = says nothing
    """

    prototypes: Tensor
    config: CodebookConfig
    origins: Origins | None = None

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
        self._check_width(embeds, "build one with `wordsight codebook build`")
        unit = torch.nn.functional.normalize
        return unit(embeds.float(), dim=-1) @ unit(self.prototypes.float().to(embeds.device), dim=-1).T

    def redundancy(self, embeds: Tensor) -> Tensor:
        """(N,) the highest cosine with a prototype, in [-1, 1]: high means that the token says nothing."""
        blocks = torch.split(embeds, BLOCK)
        return torch.cat([self.similarity(rows).amax(-1) for rows in blocks])

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
        config.pop("calibrated", None)  # that was of the larger book
        return Codebook(self.prototypes[stay], config, self.origins and self.origins.take(stay))

    def with_origins(self, vlm: VLM, pictures: Sequence[Path | PictureFile]) -> Codebook:
        """The book with a patch of SIDE x SIDE pixels for every prototype, and the words that it said: of the
        token that is most like it in these pictures, which were the book's or are your own.

        Whoever has the book sees the patches: think of what the pictures show. Those that cannot be read are
        left out. Raises UsageError if the book is of another model, ModelError if it is not known where in a
        picture the model's tokens are, and MediaError if none of the pictures can be read.
        """
        self.check(vlm)
        origins, cosine, read = find_origins(vlm, self.prototypes, pictures)
        patches: PatchesRecord = {
            "pictures": read,
            "side": SIDE,
            "least_cosine": float(cosine.min()),
        }
        return replace(self, config={**self.config, "patches": patches}, origins=origins)

    def without_origins(self) -> Codebook:
        """The book without what shows or tells of pictures, as it is before `with_origins`."""
        config = self.config.copy()
        config.pop("patches", None)
        return Codebook(self.prototypes, config)

    def check(self, vlm: VLM) -> None:
        """Raises UsageError if the book was built for other visual tokens; imported books only know their
        width. If only the rest of the model is another, as after tuning, that is a note.
        """
        model = shlex.quote(vlm.name)
        remedy = f"build one with `wordsight codebook build PICTURES --out BOOK --model {model}`"
        if self.config["model"] != vlm.name and (own := own_book(vlm.name)):
            remedy = f"codebook={own} is its own"
        self._check_width(vlm.pad_embedding, remedy)
        if self.config["fingerprint"] is not None:
            check_made_for(vlm, self.config, "codebook was built", "prototypes", remedy)

    def _check_width(self, embeds: Tensor, remedy: str) -> None:
        """Raises UsageError if these (..., D) are of another width than the prototypes."""
        if (width := embeds.shape[-1]) != self.prototypes.shape[-1]:
            raise UsageError(
                f"codebook is for D={self.prototypes.shape[-1]} ({self.config['model']}), this model has "
                f"D={width}; {remedy}"
            )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write codebook.safetensors and config.json into the folder, both or neither.

        Raises FileError if the folder holds anything else: a book takes the place of a book only.
        """
        root = Path(folder)
        check_destination(root)
        if wrong := _wrong_prototypes(self.prototypes):
            raise UsageError(
                f"cannot save the codebook to {root}: {wrong}; is the model's checkpoint damaged?"
            )
        tensors = {"prototypes": self.prototypes, **(self.origins.tensors() if self.origins else {})}
        config = {**self.config, "format": FORMAT, "prototypes_sha256": tensors_digest(tensors)}
        write_folder(root, FILES, tensors, CONFIGS.text(config))

    def push_to_hub(
        self, repo_id: str, *, license: str | None = None, private: bool = False, revision: str | None = None
    ) -> str:
        """Upload both files and a model card made of them to a repository of the hub, which is made if there
        is none, as is the branch `revision`; returns the address of the commit.

        `license` is that of the pictures, as the hub calls it. Folders of this machine are left out: of a
        model in one, only its own name goes with the book. Raises UsageError or FileError in one sentence.
        """
        check_repository(repo_id)
        check_license(license)
        with TemporaryDirectory() as folder:
            book = replace(self, config=without_folders(self.config))
            book.save_pretrained(root := Path(folder) / "book")
            (root / CARD).write_text(model_card(book.info, repo_id, license), "utf-8")
            return upload(repo_id, [root / name for name in (*FILES, CARD)], private, revision)

    @classmethod
    def from_pretrained(cls, folder: str | Path, revision: str | None = None) -> Codebook:
        """Load a book from a folder, or from the hub: "user/name", if there is no such folder, or
        "hf://user/name@revision"; "demo" and "demo-photos" are those of these models. Where the hub cannot be
        reached, what is in its cache counts. Raises FileError if there is no book, it is damaged or cannot be
        had.
        """
        root = book_folder(folder, revision)
        if os.path.isfile(root):  # which knows no names that are too long
            raise FileError(
                f"{root} is a file; expected a folder with codebook.safetensors and config.json; "
                "a released .pt book is converted by `wordsight codebook import`"
            )
        if missing := [name for name in FILES if not os.path.isfile(root / name)]:
            raise FileError(
                f"no codebook in {folder}: {missing[0]} is missing; expected a folder that `wordsight "
                "codebook build` or `import` wrote, user/name of one on the hub, demo or demo-photos"
            )
        config = CONFIGS.read(root / FILES[1])
        tensors = read_tensors(root / FILES[0], CONFIGS)
        digest = config.pop("prototypes_sha256", "")
        if digest not in (None, tensors_digest(tensors)):
            raise CONFIGS.unusable(root / FILES[0], "its prototypes are not those of config.json")
        if "prototypes" not in tensors:
            raise CONFIGS.unusable(root / FILES[0], "there are no prototypes in it")
        if wrong := _wrong_prototypes(tensors["prototypes"]):
            raise CONFIGS.unusable(root / FILES[0], wrong)
        origins = Origins.of(tensors)
        if origins and (wrong := origins.wrong(len(tensors["prototypes"]))):
            raise CONFIGS.unusable(root / FILES[0], wrong)
        return cls(tensors["prototypes"], config, origins)


def _wrong_prototypes(prototypes: Tensor) -> str:
    """Why these are no prototypes, "" if they are: (M, D) floats, each with a direction."""
    if prototypes.ndim != 2 or not prototypes.numel():
        return f"prototypes have the shape {tuple(prototypes.shape)}, expected (M, D)"
    if not prototypes.is_floating_point():
        return f"prototypes are {prototypes.dtype}, expected floating-point numbers"
    lengths = prototypes.float().norm(dim=-1)
    if wrong := (~((lengths > SHORTEST) & lengths.isfinite())).nonzero()[:, 0].tolist():
        return (
            f"prototype {wrong[0]} has the length {lengths[wrong[0]]:g}, and so no direction; expected one "
            "above 0 and finite"
        )
    return ""


def check_made_for(vlm: VLM, config: Mapping[str, Any], made: str, content: str, remedy: str) -> None:
    """Raises UsageError if what a config is of was made for other visual tokens. If only the rest of the
    model is another, as after tuning, that is a note.
    """
    known = config["fingerprint"]
    if not vlm.has_token_space(known):
        raise UsageError(
            f"{made} for {config['model']} (fingerprint {known}), this is {vlm.name} ({vlm.fingerprint}): "
            f"{content} mean nothing in another model; {remedy}"
        )
    if different := differing(config, {"parts": vlm.parts}):
        note(
            f"{made} for {config['model']}, and {vlm.name} has another {different}, as after tuning or with "
            f"an adapter: its {content} may be wrong there; {remedy}",
            ModelNote,
        )


def own_book(model: str) -> str | None:
    """What a model's own book is called, if it comes with one: as the model is. Raises ModelError if the
    distributions are missing that bring both.
    """
    return model if model in BUILT_IN_BOOKS and BUILT_IN_BOOKS[model]().is_dir() else None


def book_folder(name: str | Path, revision: str | None = None) -> Path:
    """The folder of a book; "demo" and "demo-photos" are those of these models, and one on the hub lies in
    its cache.
    """
    if isinstance(name, str) and name in BUILT_IN_BOOKS:
        return BUILT_IN_BOOKS[name]()
    if repository := on_hub(name, revision):
        return download(*repository, FILES)
    return Path(name)


def check_destination(folder: Path, apart: Iterable[str | Path] = ()) -> None:
    """Raises FileError if a book cannot be saved there: a book takes the place of a book only."""
    check_folder(folder, FILES, apart)


def import_released(file: str | Path, model: str) -> Codebook:
    """A codebook the paper's authors released: one tensor (M, D) in a .pt file, read with weights_only."""
    if not Path(file).exists():
        raise FileError(f"cannot read {file}: there is no such file; expected a .pt file with one tensor")
    try:
        prototypes = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler meets in a damaged file
        raise FileError(
            f"cannot read {file}: expected a .pt file that holds one tensor and nothing else"
        ) from error
    if not isinstance(prototypes, Tensor) or prototypes.layout != torch.strided or prototypes.is_meta:
        raise FileError(f"{file} does not hold prototypes: expected one float tensor (M, D)")
    if wrong := _wrong_prototypes(prototypes):
        raise FileError(f"{file} does not hold prototypes: expected one float tensor (M, D), but {wrong}")
    config: CodebookConfig = {
        "format": FORMAT,
        "model": model,
        "fingerprint": None,
        "imported_from": Path(file).name,
        "counts": {"prototypes": len(prototypes)},
    }
    return Codebook(prototypes.detach().clone(), config)
