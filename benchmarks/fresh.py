"""Tasks of a test split of their own, which nothing but seeds.py reads.

easy-VQA is not among them: it has one test split, which every release has read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from wordsight._utils.registry import spec
from wordsight.synthetic.scenes import SPLITS
from wordsight.tasks.base import Task
from wordsight.tasks.captions import Captions
from wordsight.tasks.clips import Clips
from wordsight.tasks.pairs import Pairs
from wordsight.tasks.scenes import Scenes

EACH = 400  # pictures, or groups of them, asked one question each
SEEDS: Mapping[str, int] = {**SPLITS, "test": 5_000_000}


@dataclass(kw_only=True)
class FreshScenes(Scenes):
    SEEDS: ClassVar[Mapping[str, int]] = SEEDS


@dataclass(kw_only=True)
class FreshPairs(Pairs):
    SEEDS: ClassVar[Mapping[str, int]] = SEEDS


@dataclass(kw_only=True)
class FreshClips(Clips):
    SEEDS: ClassVar[Mapping[str, int]] = SEEDS


@dataclass(kw_only=True)
class FreshCaptions(Captions):
    SEEDS: ClassVar[Mapping[str, int]] = SEEDS


TASKS: tuple[Task, ...] = (
    FreshScenes(pictures=EACH),
    FreshPairs(prompts=EACH),
    FreshClips(clips=EACH + 100),  # there is nothing to ask about a few
    FreshCaptions(pictures=EACH),
)


def about(task: Task) -> str:
    """The name under which the pictures of a task are counted: scenes and captions have the same ones."""
    return "scenes" if isinstance(task, Scenes | Captions) else spec(task)
