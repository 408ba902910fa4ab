"""Times are measured in turns, and their ratio comes with an interval that covers the truth."""

from types import SimpleNamespace

import numpy as np
import pytest

from wordsight.latency import PARTS, measure, speed_up
from wordsight.tasks.base import Example

EXAMPLES = [Example(str(i), str(i), f"question {i}", "yes", "any") for i in range(4)]


class Stopwatch:
    """Notes who asks what; each answer takes as many milliseconds as were asked before."""

    def __init__(self):
        self.asked = []

    def chat(self, images, *, pruner):
        def ask(question, *, max_new_tokens):
            self.asked.append((pruner, question, max_new_tokens))
            count = float(len(self.asked))
            return SimpleNamespace(**{f"{part}_ms": count * 10**i for i, part in enumerate(PARTS)})

        return SimpleNamespace(ask=ask)


def test_all_pruners_answer_a_question_before_the_next_each_first_in_its_turn():
    vlm = Stopwatch()
    measure(vlm, EXAMPLES, [None, "a"], max_new_tokens=5)
    order = [None, "a", None, "a", "a", None, None, "a", "a", None]
    assert vlm.asked == [
        (pruner, f"question {number}", 5)
        for pruner, number in zip(order, [0, 0, 0, 0, 1, 1, 2, 2, 3, 3], strict=True)
    ]


def test_times_are_those_of_the_pruner_the_question_and_the_part():
    times = measure(Stopwatch(), EXAMPLES, [None, "a"], max_new_tokens=5)
    assert times.shape == (2, 4, 4)
    assert times[:, :, 0].tolist() == [[3, 6, 7, 10], [4, 5, 8, 9]]
    assert times[1, 2].tolist() == [8, 80, 800, 8000]


def test_the_speed_up_is_the_median_ratio_of_sums():
    whole = np.array([[10.0, 20, 30, 40]] * 3)
    pruned = np.array([[10.0, 0, 20, 20], [0, 0, 0, 100], [1, 1, 1, 2]])
    assert speed_up(whole, pruned)[0] == 2.0
    assert speed_up(whole, pruned)[1:] == (1.0, 20.0)


@pytest.mark.parametrize("truth", [1.0, 1.5])
def test_the_interval_of_the_speed_up_covers_the_truth_as_often_as_it_says(truth):
    rng, covered = np.random.default_rng(0), 0
    for _ in range(100):
        whole, pruned = rng.lognormal(sigma=0.2, size=(2, 30, 1))
        _, low, high = speed_up(truth * whole, pruned)
        covered += low <= truth <= high
    assert covered >= 89
