"""What a run of lmms-eval says of pruning in its log of samples, beside the counts of tokens."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge
from typing_extensions import NotRequired, TypedDict

from wordsight.evaluation.environment import Machine, Weights

NAME = "wordsight"  # of the model, and of our record in `token_counts` of a sample
FORMAT = 1


class LmmsRun(TypedDict):
    """How a task was answered."""

    format: int
    pruner: Annotated[str, "a SPEC, none or blind"]
    keep: float | None
    tokens: int | None
    has_fixed_budget: Annotated[bool, "whether as many tokens are read as keep says"]
    tokens_total: Annotated[float, "visual tokens of a prompt, mean over questions", Ge(0)]
    tokens_kept: Annotated[float, "of them read, mean over layers and questions", Ge(0)]
    machine: Machine
    weights: Weights


class LmmsSample(TypedDict):
    """What belongs to one question."""

    picture: Annotated[str, "a digest of what was shown"]
    run: NotRequired[Annotated[LmmsRun, "in the first question of a task"]]
