"""Tasks whose pictures are rendered from a seed, so that every split has its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from wordsight.synthetic.scenes import SPLITS
from wordsight.tasks.base import Task


@dataclass(kw_only=True)
class RenderedTask(Task):
    """Base: `first_seed` is that of the split; a task of other pictures has other SEEDS."""

    SEEDS: ClassVar[Mapping[str, int]] = SPLITS  # the first of each split

    @property
    def first_seed(self) -> int:
        return self.SEEDS[self.split]
