"""The config of a codebook: which model it is for and what it was made of, as its file has it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, TypeVar, cast

from annotated_types import Interval
from typing_extensions import NotRequired, TypedDict

from wordsight._utils.artifacts import Artifact
from wordsight._utils.records import renamed
from wordsight.algorithms.clustering import Scale
from wordsight.models.fingerprints import Parts
from wordsight.redundancy.criteria import ConditionRecord
from wordsight.redundancy.measured_with import MeasuredWith

T = TypeVar("T")
Rule = Literal["cosine", "single_softmax", "double_softmax"]
FORMAT = 3
EARLIER = {  # what parts of a config of format 1 called their fields
    "condition": {"says": "signal"},
    "thresholds": {"says": "signal"},
    "clustering": {"neighbours": "neighbors"},
}
# What comes before the last name of a path that says where it lies, at the beginning or after an option.
FOLDERS = re.compile(r"(^|=)(?:~|\.\.?)?/(?:[^,/]*/)*(?=[^,/]+/?(?:,|$))")


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
    drawn: Annotated[int, "of these, where they are too many to be clustered"]
    prototypes: int


class Compacted(TypedDict):
    """The book that a compact one was made of."""

    similarity: Annotated[float, "the cosine from which one prototype repeats another"]
    prototypes: int
    digest: str


class PatchesRecord(TypedDict):
    """Where the patches and words of a book's prototypes come from: the token that is most like each."""

    pictures: Annotated[int, "that were looked through; their patches are in the book"]
    side: Annotated[int, "pixels of a patch"]
    least_cosine: Annotated[float, "of a prototype and its token: 1 where all are the tokens themselves"]


class PruningRule(TypedDict):
    """How tokens are pruned by a book, as options of `CodebookPruner`."""

    rule: Annotated[Rule, "how redundancy is read off the cosines"]
    threshold: NotRequired[Annotated[float, "the cosine below which a token is kept"]]
    keep: NotRequired[Annotated[float, "the share of tokens that is kept"]]


class WeightAndQuality(TypedDict):
    """How well a book did beside diversity, in `codebook_mmr`, on the questions that tested it."""

    weight: Annotated[
        float, "the best on those that choose; 0, which was not tested, if DivPrune was", Interval(ge=0, lt=1)
    ]
    accuracy: Annotated[float | None, "with that weight"]
    difference_to: Annotated[dict[str, list[float]], "that accuracy minus that of a control, as of the book"]
    pays: Annotated[bool, "whether it beats DivPrune and books of random tokens, on enough pictures"]


class Calibrated(TypedDict):
    """How well a book did on the questions that tested it, when a calibration had chosen it."""

    task: str
    questions: int
    pictures: Annotated[int, "that they are about"]
    keeps: Annotated[list[float], "that accuracies are means over"]
    accuracy: float
    unpruned: Annotated[float, "the accuracy with all visual tokens"]
    difference_to: Annotated[
        dict[str, list[float]],
        "accuracy of the book minus that of a control: the mean, and the low and high end of its interval",
    ]
    level: Annotated[float, "of the intervals"]
    pays: Annotated[bool, "whether the book beats both controls, on enough pictures"]
    beside_diversity: NotRequired[Annotated[WeightAndQuality, "missing where it was not tried"]]


class CodebookConfig(TypedDict):
    """What a codebook says of itself: which model it is for, and what it was made of."""

    format: int
    model: str
    fingerprint: Annotated[str | None, "of the model's weights; null where only their width is known"]
    parts: NotRequired[Annotated[Parts | None, "digests of the rest of the model; null if unknown"]]
    questions: NotRequired[Annotated[list[str], "that every token was asked"]]
    condition: NotRequired[Annotated[ConditionRecord | str, "as given; a sentence if there was none"]]
    thresholds: NotRequired[Annotated[ConditionRecord, "the condition with absolute values for quantiles"]]
    clustering: NotRequired[ClusteringRecord]
    pictures_sha256: NotRequired[Annotated[str, "of the names and digests of the pictures"]]
    counts: NotRequired[Counts]
    versions: NotRequired[Annotated[dict[str, str], "of the packages that built it"]]
    measured_with: NotRequired[Annotated[MeasuredWith, "what the evidence was collected on"]]
    approximate_global: NotRequired[
        Annotated[float | None, "the rank correlation with the exact one of the divergence that was read"]
    ]
    imported_from: NotRequired[Annotated[str, "the file that the paper's authors released"]]
    pruning: NotRequired[Annotated[PruningRule, "as the paper's authors prune by it"]]
    compacted: NotRequired[Annotated[list[Compacted], "the larger books, the first one first"]]
    patches: NotRequired[Annotated[PatchesRecord, "if the book shows what its prototypes were"]]
    calibrated: NotRequired[Annotated[Calibrated, "as the calibration that chose it measured it"]]


class CodebookFile(CodebookConfig):
    """The config of a codebook as its file has it."""

    prototypes_sha256: NotRequired[Annotated[str | None, "of the tensors; null if of an earlier format"]]


class CodebookInfo(CodebookConfig):
    """What `wordsight codebook info` tells: the config and the shape."""

    prototypes: int
    width: int


def _of_earlier(config: dict[str, Any]) -> dict[str, Any]:
    """A config of format 1 or 2, which knew no digest of the prototypes, with its fields called as today."""
    parts = {
        name: renamed(config[name], names)
        for name, names in EARLIER.items()
        if isinstance(config.get(name), dict)  # the condition of a random book is a sentence
    }
    return config | parts | {"prototypes_sha256": None}


CONFIGS = Artifact(
    name="the config of a codebook",
    record=CodebookFile,
    format=FORMAT,
    remedy="take another copy of the codebook, or build it again",
    earlier={1: _of_earlier, 2: _of_earlier},
)


def without_folders(record: T) -> T:
    """The record, of whose paths only the last name is left where they say where they lie on this machine."""
    return cast(T, _without_folders(record))


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_folders(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each) for each in value]
    return FOLDERS.sub(r"\1", value) if isinstance(value, str) else value
