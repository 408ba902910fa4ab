"""Tasks of rendered pictures: each split begins at a seed of its own; a task of other pictures has others."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from wordsight import tasks
from wordsight.synthetic.scenes import SPLITS, render
from wordsight.tasks.scenes import Scenes


@dataclass(kw_only=True)
class Others(Scenes):
    SEEDS: ClassVar = {**SPLITS, "test": 5_000_000}


@pytest.mark.parametrize("name", ["scenes", "captions", "pairs", "clips", "odd_one_out", "repeats"])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_begins_at_its_own_seed(name, split):
    assert tasks.make(f"{name}:split={split}").first_seed == SPLITS[split]


def test_other_seeds_are_other_pictures():
    first = next(iter(Others(pictures=1).examples()))
    assert first.images.tobytes() == render(5_000_000).image.tobytes()
    assert first.images.tobytes() != next(iter(Scenes(pictures=1).examples())).images.tobytes()
    assert Others(split="validation").first_seed == SPLITS["validation"]
