"""How much of what pruning keeps training made: the loss of one model less that of another, by hand."""

import numpy as np
import pytest

PICTURES = 40


@pytest.fixture(scope="module")
def record(benchmarks):
    """`whole` is right about all of 40 questions of each task and loses 8, `pruned` about 38, and loses 4;
    at 5 % both lose 2 more, and `whole` 3 more than that with DivPrune.
    """
    module = benchmarks.pruned_training
    pictures = [f"{of} {i}" for of in module.TASKS for i in range(PICTURES)]

    def answers(right, lost):
        scores = {("none", 1.0): [(np.arange(PICTURES) < right).astype(float)] * 3}
        for name in module.PRUNERS:
            for keep in module.KEEPS:
                more = 2 * (keep == 0.05) + 3 * (keep == 0.05 and name == "divprune" and right == PICTURES)
                scores[name, keep] = [(np.arange(PICTURES) < right - lost - more).astype(float)] * 3
        return benchmarks.seeds.Answers(scores, pictures)

    return module.record_of({"whole": answers(40, 8), "pruned": answers(38, 4)})


def test_what_training_made_is_the_difference_of_the_losses(record):
    assert record["lost"]["divprune 0.1"] == pytest.approx({"whole": 0.2, "pruned": 0.1})
    assert record["accuracy"]["pruned"]["none 1.0"] == pytest.approx(
        dict.fromkeys(("scenes", "pairs", "clips"), 0.95)
    )
    of = record["by training"]["divprune 0.1"]
    assert of["interval"][0] == pytest.approx(0.1)
    assert of["interval"][1] > 0
    lost = {row: each["whole"] - each["pruned"] for row, each in record["lost"].items()}
    assert lost["divprune 0.05"] == pytest.approx(7 / PICTURES)
    assert lost["scope:alpha=0.0 0.05"] == pytest.approx(4 / PICTURES)
    assert record["by training"]["divprune 0.05"]["interval"][0] == pytest.approx(7 / PICTURES)
    assert of["pictures"] == 3 * PICTURES
    assert record["level"] == pytest.approx(1 - 0.05 / 6)


def test_there_is_a_row_of_every_pruner_and_keep(benchmarks, record):
    module = benchmarks.pruned_training
    table = module.losses(record)
    assert table.head[2:4] == ("whole loses", "pruned loses")
    assert len(table.body) == len(module.PRUNERS) * len(module.KEEPS)
    assert table.body[0][:4] == ("divprune", "20%", "0.200", "0.100")
    assert table.body[0][4].startswith("+0.100")
    assert table.body[0][5] == "above"
