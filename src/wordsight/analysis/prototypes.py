"""Prototypes: what the vectors of a codebook are, asked of the model and of pictures.

A prototype is probed like a token (redundancy/probe.py); its example patches are the tokens nearest to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import TypedDict

from wordsight._utils.progress import track
from wordsight.algorithms.clustering import dpc_centers, nearest_centers
from wordsight.errors import UsageError
from wordsight.evaluation.environment import Environment, environment
from wordsight.media.images import load_picture
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.pruners.codebook import CodebookPruner
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.codebook_config import CodebookConfig
from wordsight.redundancy.probe import QUESTION, probe_tokens, with_embeddings

CLUSTERS = 12
EXAMPLES = 4  # of every prototype, of different pictures
WORDS = 5
AT_ONCE = 256  # prototypes probed in a batch
CONFIDENT = 0.5  # the confidence from which a word is said surely
FORMAT = 1


class InspectedBook(CodebookConfig):
    """The config of a book, and what identifies its prototypes."""

    digest: Annotated[str, "of the prototypes"]
    width: int


class NearestToken(TypedDict):
    """The token of a picture that is nearest to a prototype."""

    picture: Annotated[int, "place in `pictures`"]
    cell: Annotated[list[int], "picture of the prompt, crop, row, column"]
    box: Annotated[list[float] | None, "left, top, right, bottom as shares of the picture, if that is known"]
    cosine: float


class _Says(TypedDict):
    words: Annotated[list[tuple[str, float]], "with their probabilities, the likeliest first"]
    confidence: float
    says_nothing: Annotated[bool, "whether its words are no more than the question's own"]


class Prototype(_Says):
    """What a prototype says alone, where it is, and what it prunes."""

    number: int
    cluster: int
    map: Annotated[list[float], "its place on the first two principal axes"]
    nearest: Annotated[tuple[int, float] | None, "the nearest other one and their cosine"]
    prunes: Annotated[int, "dropped tokens that it is the nearest prototype of"]
    examples: Annotated[list[NearestToken], "of different pictures, the nearest first"]


class Cluster(TypedDict):
    """What the prototypes of a cluster have in common."""

    number: int
    center: Annotated[int, "number of a prototype"]
    prototypes: int
    words: Annotated[list[tuple[str, int]], "that its prototypes say, the commonest first"]
    says_nothing: Annotated[int, "how many of its prototypes do"]
    confidence: Annotated[float, "on average"]
    prunes: int


class Repetition(TypedDict):
    """Cosines of the prototypes with the nearest other one: their quantiles."""

    least: float
    quarter: float
    median: float
    three_quarters: float
    most: float


class SureWords(TypedDict):
    """The prototypes that surely say a word, which a prototype of redundancy should not."""

    sure: Annotated[float, "the confidence from which a word is said surely"]
    prototypes: int
    share: float
    words: Annotated[list[tuple[str, int]], "with how many say each, the commonest first"]
    flagged: Annotated[bool, "whether any does"]


class Inspection(TypedDict):
    """What `wordsight codebook inspect` finds: what the prototypes of a book are, on some pictures."""

    format: int
    book: InspectedBook
    question: Annotated[str, "that every prototype is asked alone"]
    pictures: list[str]
    tokens: int
    keep: float
    dropped: Annotated[int, "tokens that are dropped at that keep"]
    idle: Annotated[int, "prototypes that are not the nearest one of any dropped token"]
    repetition: Annotated[Repetition | None, "null for a single prototype"]
    says: SureWords
    map_explains: Annotated[list[float], "share of the variance of both axes of the map"]
    clusters: list[Cluster]
    prototypes: list[Prototype]
    skipped: Annotated[dict[str, str], "the pictures that could not be read, and why"]
    environment: Environment


def inspect_codebook(
    vlm: VLM, book: Codebook, pictures: Sequence[Path], *, keep: float = 0.2, sure: float = CONFIDENT
) -> Inspection:
    """What the prototypes of a book are, on pictures that can all be read.

    "prototypes": of each its words and confidence when the model reads it alone, its place on a map, its
    cluster, the nearest other one with their cosine, how many tokens it is the nearest prototype of that are
    dropped at `keep`, and its nearest tokens, of different pictures. "clusters": the same by cluster. "says":
    how many say a word with a confidence of `sure` or more, which a prototype of redundancy should not.

    Raises UsageError if the book is of another model.
    """
    check_confidence(sure)
    pruner = CodebookPruner(keep=keep, codebook=book)
    pruner.check(vlm)
    says = _probed(vlm, book, load_picture(pictures[0]))
    matches = _Matches.of(vlm, pruner, pictures)
    unit = normalize(book.prototypes.double().cpu(), dim=-1)
    places, explained = principal(unit)
    centers = dpc_centers(unit, CLUSTERS)
    cluster = nearest_centers(unit, centers)
    twin = _twins(book)
    prototypes: list[Prototype] = [
        {
            "number": i,
            "cluster": int(cluster[i]),
            **says[i],
            "map": places[i].tolist(),
            "nearest": twin[i],
            "prunes": int(matches.prunes[i]),
            "examples": matches.examples(i),
        }
        for i in range(len(unit))
    ]
    return {
        "format": FORMAT,
        "book": {"digest": book.digest, "width": unit.shape[1], **book.config},
        "question": QUESTION,
        "pictures": [path.name for path in pictures],
        "tokens": matches.tokens,
        "keep": keep,
        "dropped": int(matches.prunes.sum()),
        "idle": int((matches.prunes == 0).sum()),
        "repetition": _quantiles([pair[1] for pair in twin if pair]),
        "says": _says(prototypes, sure),
        "map_explains": explained,
        "clusters": [_cluster(prototypes, number, int(center)) for number, center in enumerate(centers)],
        "prototypes": prototypes,
        "skipped": {},
        "environment": environment(vlm),
    }


def check_confidence(sure: float) -> None:
    """Raises UsageError if this is no confidence from which a word is said surely."""
    if not 0 < sure <= 1:
        raise UsageError(f"sure must be a probability in (0, 1], got {sure}")


def principal(points: Tensor) -> tuple[Tensor, list[float]]:
    """(N, 2) the points (N, D) on their first two principal axes, and the share of the variance of each.

    The sign of an axis is that of its largest coordinate, the first among equals.
    """
    centered = points.double() - points.double().mean(0)
    _, scales, axes = torch.linalg.svd(centered, full_matrices=False)
    axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True)).sign()
    places = centered.new_zeros(len(points), 2)
    places[:, : len(axes)] = centered @ axes.T
    shares = scales[:2].square() / scales.square().sum().clamp(min=torch.finfo(scales.dtype).tiny)
    return places, [*shares.tolist(), 0.0, 0.0][:2]


def commonest(words: Counter[str]) -> list[tuple[str, int]]:
    """The words and how often each is said, the commonest first, then by name."""
    return sorted(words.items(), key=lambda item: (-item[1], item[0]))


def _probed(vlm: VLM, book: Codebook, picture: Image.Image) -> list[_Says]:
    """What every prototype says."""
    prompt = vlm.encode(picture, QUESTION)
    starts = range(0, len(book.prototypes), AT_ONCE)
    says = list[_Says]()
    for start in track(starts, "probing prototypes", len(starts)):
        alone = probe_tokens(vlm, with_embeddings(prompt, book.prototypes[start : start + AT_ONCE]))
        says += [
            {"words": words[:WORDS], "confidence": words[0][1], "says_nothing": nothing}
            for words, nothing in zip(alone.words, alone.says_nothing.tolist(), strict=True)
        ]
    return says


@dataclass(frozen=True)
class _Matches:
    """How the prototypes of a book match the tokens of pictures, line breaks left out.

    prunes       (M,) how many of the tokens that are dropped each prototype is the nearest to.
    cosine       (M, EXAMPLES or fewer) of the nearest token of the nearest pictures, descending.
    where        the same shape and 2: the number of the picture, and of the token in it.
    cells, boxes of every picture's tokens; a box is None where the model's family has no picture map.
    """

    tokens: int
    prunes: Tensor
    cosine: Tensor
    where: Tensor
    cells: list[list[list[int]]]
    boxes: list[list[list[float]] | None]

    @classmethod
    def of(cls, vlm: VLM, pruner: CodebookPruner, paths: Sequence[Path]) -> _Matches:
        count = len(pruner.book.prototypes)
        total, prunes = 0, torch.zeros(count, dtype=torch.long)
        cosine, where = torch.zeros(count, 0), torch.zeros(count, 0, 2, dtype=torch.long)
        cells, boxes = [], []
        for number, path in enumerate(track(paths, "comparing with tokens", len(paths))):
            tokens = vlm.encode(load_picture(path), QUESTION).visual
            tokens = tokens.without_breaks()
            near = pruner.book.similarity(tokens.embeds).cpu()  # (N, M)
            dropped = ~torch.isin(tokens.slot, pruner.prune(tokens).slot).cpu()
            prunes += near[dropped].argmax(-1).bincount(minlength=count)
            best, token = near.max(0)  # (M,)
            place = torch.stack([torch.full_like(token, number), token], -1)[:, None]
            cosine = torch.cat([cosine, best[:, None]], 1)
            order = cosine.argsort(dim=1, descending=True, stable=True)[:, :EXAMPLES]
            where = torch.cat([where, place], 1).take_along_dim(order[..., None], 1)
            cosine = cosine.take_along_dim(order, 1)
            total += len(tokens)
            cells.append(tokens.cell.tolist())
            boxes.append(_boxes(tokens))
        return cls(total, prunes, cosine, where, cells, boxes)

    def examples(self, prototype: int) -> list[NearestToken]:
        """The nearest tokens of a prototype, at most one of a picture."""
        return [
            {
                "picture": picture,
                "cell": self.cells[picture][token],
                "box": (boxes := self.boxes[picture]) and boxes[token],
                "cosine": cosine,
            }
            for cosine, (picture, token) in zip(
                self.cosine[prototype].tolist(), self.where[prototype].tolist(), strict=True
            )
        ]


def _boxes(tokens: VisualTokens) -> list[list[float]] | None:
    return None if tokens.box is None else tokens.box.tolist()


def _twins(book: Codebook) -> list[tuple[int, float] | None]:
    """Of every prototype the nearest other one and their cosine; None if there is no other."""
    if len(book.prototypes) == 1:
        return [None]
    cosine, other = book.repetition().max(1)
    return list(zip(other.tolist(), cosine.tolist(), strict=True))


def _quantiles(cosines: list[float]) -> Repetition | None:
    """How near the nearest others are."""
    if not cosines:
        return None
    values = torch.tensor(cosines, dtype=torch.double)
    least, quarter, median, three_quarters, most = (
        float(values.quantile(share)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    return {
        "least": least,
        "quarter": quarter,
        "median": median,
        "three_quarters": three_quarters,
        "most": most,
    }


def _says(prototypes: Sequence[Prototype], sure: float) -> SureWords:
    """How many prototypes say a word surely, and which words, the commonest first."""
    confident = [each for each in prototypes if each["confidence"] >= sure and not each["says_nothing"]]
    words = Counter(each["words"][0][0] for each in confident)
    return {
        "sure": sure,
        "prototypes": len(confident),
        "share": len(confident) / len(prototypes),
        "words": commonest(words),
        "flagged": bool(confident),
    }


def _cluster(prototypes: Sequence[Prototype], number: int, center: int) -> Cluster:
    """What the prototypes of a cluster have in common."""
    own = [each for each in prototypes if each["cluster"] == number]
    return {
        "number": number,
        "center": center,
        "prototypes": len(own),
        "words": commonest(Counter(each["words"][0][0] for each in own if not each["says_nothing"]))[:WORDS],
        "says_nothing": sum(each["says_nothing"] for each in own),
        "confidence": sum(each["confidence"] for each in own) / len(own),
        "prunes": sum(each["prunes"] for each in own),
    }
