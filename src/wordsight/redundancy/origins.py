"""Origins: what the prototypes of a codebook were in pictures, as small patches and the words they said."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image, Resampling
from torch import Tensor
from torch.nn.functional import normalize

from wordsight._utils.numbers import counted
from wordsight._utils.progress import track
from wordsight.errors import MediaError
from wordsight.media.picture_files import PictureFile, open_picture, picture_file
from wordsight.models.vlm import VLM
from wordsight.redundancy.ablation import check_picture_map
from wordsight.redundancy.probe import QUESTION, probe_tokens

SIDE = 16  # pixels of a patch
WORDS = 3


@dataclass(frozen=True)
class Origins:
    """Of each of M prototypes, the token of some pictures that is most like it: the one that it was, if the
    pictures are those that the codebook was built from.

    patches             (M, SIDE, SIDE, 3) uint8, RGB: what the token shows, and nothing around it.
    words               (M, WORDS) vocabulary ids, what it says alone in its picture, the likeliest first.
    word_probabilities  (M, WORDS)
    says_nothing        (M,) bool, where these are no more than the question's own words.
    """

    patches: Tensor
    words: Tensor
    word_probabilities: Tensor
    says_nothing: Tensor

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Origins | None:
        """Those in the tensors of a codebook's file; None if there are none."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: tensors[name] for name in names}) if {*names} <= tensors.keys() else None

    def tensors(self) -> dict[str, Tensor]:
        """By name, as the file has them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def take(self, index: Tensor) -> Origins:
        """Those of the prototypes at `index`."""
        return Origins(**{name: tensor[index] for name, tensor in self.tensors().items()})

    def wrong(self, prototypes: int) -> str:
        """Why these are not the origins of so many prototypes, "" if they are."""
        shapes = {name: tuple(tensor.shape) for name, tensor in self.tensors().items()}
        expected = {
            "patches": (prototypes, SIDE, SIDE, 3),
            "words": (prototypes, WORDS),
            "word_probabilities": (prototypes, WORDS),
            "says_nothing": (prototypes,),
        }
        if wrong := next((name for name in expected if shapes[name] != expected[name]), None):
            return f"{wrong} have the shape {shapes[wrong]}, expected {expected[wrong]}"
        return (
            "" if self.patches.dtype == torch.uint8 else f"patches are {self.patches.dtype}, expected uint8"
        )


def find_origins(
    vlm: VLM, prototypes: Tensor, pictures: Sequence[Path | PictureFile]
) -> tuple[Origins, Tensor, int]:
    """The origins of prototypes (M, D) among the tokens of those pictures that can be read, the cosine (M,)
    with each, and how many pictures that are. Every picture is encoded twice.

    Raises ModelError if it is not known where in a picture the model's tokens are, and MediaError if none of
    the pictures can be read.
    """
    check_picture_map(vlm)
    unit = normalize(prototypes.float(), dim=-1)
    cosine = torch.full((len(unit),), -torch.inf)
    place = torch.zeros(len(unit), 2, dtype=torch.long)  # number of the picture, and of the token in it
    read = 0
    for number, image in _opened(track(pictures, "looking for the prototypes", len(pictures))):
        embeds = vlm.encode(image, QUESTION).visual.without_breaks().embeds
        best, token = (unit.to(embeds.device) @ normalize(embeds.float(), dim=-1).T).cpu().max(-1)
        read += 1
        is_nearer = best > cosine
        cosine[is_nearer] = best[is_nearer]
        place[is_nearer] = torch.stack([torch.full_like(token, number), token], -1)[is_nearer]
    if cosine.isinf().any():
        raise MediaError(f"none of {counted(len(pictures), 'picture')} can be read: give some that can")
    origins = Origins(
        torch.zeros(len(unit), SIDE, SIDE, 3, dtype=torch.uint8),
        torch.zeros(len(unit), WORDS, dtype=torch.long),
        torch.zeros(len(unit), WORDS),
        torch.zeros(len(unit), dtype=torch.bool),
    )
    for number, image in _opened(track(pictures, "asking what the prototypes said", len(pictures))):
        rows = (place[:, 0] == number).nonzero()[:, 0]
        if len(rows):
            _fill(origins, rows, vlm, image, place[rows, 1])
    return origins, cosine, read


def _opened(pictures: Iterable[Path | PictureFile]) -> Iterator[tuple[int, Image]]:
    """The pictures that can be read, with their numbers among all."""
    for number, picture in enumerate(pictures):
        try:
            image = open_picture(picture_file(picture))
        except MediaError:
            continue
        yield number, image


def _fill(origins: Origins, rows: Tensor, vlm: VLM, image: Image, tokens: Tensor) -> None:
    """Write the rows whose origins are these tokens of a picture."""
    prompt, (distinct, which) = vlm.encode(image, QUESTION), torch.unique(tokens, return_inverse=True)
    visual = prompt.visual.without_breaks().take(distinct.to(prompt.visual.embeds.device))
    said = probe_tokens(vlm, replace(prompt, visual=visual))
    origins.words[rows] = said.tokens[:, :WORDS].cpu()[which]
    origins.word_probabilities[rows] = said.probabilities[:, :WORDS].float().cpu()[which]
    origins.says_nothing[rows] = said.says_nothing.cpu()[which]
    assert visual.box is not None, "a family with a picture map gives boxes"
    origins.patches[rows] = torch.stack([_patch(image, box) for box in visual.box.tolist()])[which]


def _patch(image: Image, box: Sequence[float]) -> Tensor:
    """(SIDE, SIDE, 3) uint8: what lies in a box in shares of the picture, as far as that goes."""
    sides = (image.width, image.height) * 2
    left, top, right, bottom = (
        min(max(edge, 0.0), 1.0) * side for edge, side in zip(box, sides, strict=True)
    )
    left, top = min(left, image.width - 1), min(top, image.height - 1)  # of a token in padding, too
    part = (left, top, max(right, left + 1), max(bottom, top + 1))
    return torch.from_numpy(np.array(image.resize((SIDE, SIDE), Resampling.BILINEAR, box=part)))
