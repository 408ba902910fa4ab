"""The choice of a pruner for a model, in a small file that stands wherever a SPEC does."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typing_extensions import TypedDict

from wordsight._utils.artifacts import Artifact
from wordsight._utils.options import takes_text
from wordsight._utils.registry import extended, spec
from wordsight.errors import UsageError
from wordsight.models.fingerprints import Parts
from wordsight.redundancy.codebook import check_made_for

if TYPE_CHECKING:
    from wordsight.models.vlm import VLM

FORMAT = 1
SUFFIX = ".json"


class PrunerChoice(TypedDict):
    """A pruner that was chosen for a model, and what it did on the test split that confirmed it."""

    format: int
    pruner: Annotated[str, "its SPEC with its budget and positions; the paths in it are absolute"]
    model: str
    fingerprint: Annotated[str, "of the weights that visual tokens depend on"]
    parts: Annotated[Parts | None, "digests of the rest of the model; null if unknown"]
    task: str
    questions: int
    pictures: int
    verdict: Annotated[str, "whether pruning by it pays, see `wordsight recommend`"]
    quality_kept: Annotated[
        list[float], "as a share of the unpruned accuracy, with the ends of its 95 % interval"
    ]
    tokens_kept: Annotated[float, "the share of the visual tokens that were read"]


CHOICES = Artifact(
    name="the choice of a pruner",
    record=PrunerChoice,
    format=FORMAT,
    remedy="write it again by `wordsight recommend --export`, or give the pruner by its SPEC",
)


def is_choice(spec: str) -> bool:
    """Whether what is given as a SPEC is the name of a file instead."""
    return spec.endswith(SUFFIX) and ":" not in spec


def spec_of(given: str) -> str:
    """The SPEC that is given, by itself or in the file of a choice. Raises FileError if that is none."""
    return CHOICES.read(Path(given))["pruner"] if is_choice(given) else given


def check_choice(choice: PrunerChoice, file: str, vlm: VLM) -> None:
    """Raises UsageError if the choice in this file was made for another model."""
    remedy = f"run `wordsight recommend` on this one, or give its SPEC, {choice['pruner']}, instead"
    check_made_for(vlm, choice, f"{file} was chosen", "figures", remedy)


def exact_spec(method: Any) -> str:
    """The SPEC of a pruner with its budget and positions, whatever the defaults are, and with absolute paths.

    Raises UsageError if there is a comma in a path, which ends an option.
    """
    names = [field.name for field in dataclasses.fields(method) if field.init]
    texts = {name: getattr(method, name) for name in names if takes_text(type(method), name)}
    paths = {name: os.path.abspath(text) for name, text in texts.items() if _is_path(text)}
    if wrong := next((path for path in paths.values() if "," in path), None):
        raise UsageError(f"{wrong} has a comma, which ends an option of a SPEC; call the folder otherwise")
    text = spec(dataclasses.replace(method, **paths))
    budget = f"tokens={method.tokens}" if method.tokens else f"keep={method.keep}"
    options = [budget] + [f"positions={method.positions}"] * ("positions=" not in text)
    return extended(text, *options)


def _is_path(text: Any) -> bool:
    """Whether an option names a file or folder that is here; demo is the embedded model's."""
    return isinstance(text, str) and text != "demo" and os.path.exists(text)
