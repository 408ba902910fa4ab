"""Domain: what the pictures were like that a model was trained on, and whether one is unlike them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor
from typing_extensions import TypedDict

from wordsight._utils.artifacts import Artifact
from wordsight._utils.notes import tell
from wordsight.models.tokens import VisualTokens

FILE = "domain.json"
OTHERS = "--model NAME loads another, as Qwen/Qwen2.5-VL-3B-Instruct, or demo-photos (extra: photos)"


class DomainRecord(TypedDict):
    """The pictures that a model knows, as a file of its folder tells them from others."""

    format: int
    knows: Annotated[str, "what the model knows, after “it knows”"]
    center: Annotated[list[float], "of training pictures: means of their visual tokens, then deviations"]
    direction: Annotated[
        list[float], "from them to others; training pictures have a standard deviation of 1 along it"
    ]
    threshold: Annotated[float, "the largest distance along it that is none of another picture"]


DOMAIN = Artifact(
    name="the domain of a model",
    record=DomainRecord,
    format=1,
    remedy="delete it, and nothing is said of pictures that the model does not know",
)


@dataclass(frozen=True, eq=False)
class Domain:
    """The pictures that a model knows.

    center, direction  (2 D,) see `features`.
    threshold          in standard deviations of training pictures along the direction.
    knows              in words.
    """

    center: Tensor
    direction: Tensor
    threshold: float
    knows: str

    @classmethod
    def of_folder(cls, folder: str) -> Domain | None:
        """That of a checkpoint's folder, if it has the file. Raises FileError if that cannot be used."""
        path = Path(folder) / FILE
        if not path.is_file():
            return None
        found = DOMAIN.read(path)
        center, direction = torch.tensor(found["center"]), torch.tensor(found["direction"])
        return cls(center, direction, found["threshold"], found["knows"])

    def distances(self, tokens: VisualTokens) -> Tensor:
        """(pictures,) how far each picture or frame of a whole prompt is from training pictures."""
        shown = tokens.without_breaks()
        images = shown.cell[:, 0]
        rows = [features(shown.embeds[images == image]) for image in sorted(set(images.tolist()))]
        return (torch.stack(rows).cpu() - self.center) @ self.direction

    def warning(self, tokens: VisualTokens) -> str | None:
        """A sentence, which is told as a note too, if a picture is unlike training pictures: what the model
        knows, and how another one is loaded.
        """
        if not len(tokens) or float(self.distances(tokens).max()) <= self.threshold:
            return None
        text = f"the picture is unlike those that this model was trained on: it knows {self.knows}; {OTHERS}"
        tell(text)
        return text


def features(embeds: Tensor) -> Tensor:
    """(2 D,) means and standard deviations of the visual tokens (N, D) of a picture."""
    spread, mean = torch.std_mean(embeds.float(), 0, correction=0)
    return torch.cat([mean, spread])
