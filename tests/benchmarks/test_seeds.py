"""The comparison on several seeds: rows meet by what they are, pictures by what is on them."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
KEEP, PICTURES = 0.1, 30
TASKS = ("scenes:pictures=400", "captions:pictures=400", "clips:clips=400")


def test_rows_of_a_model_have_its_own_books(benchmarks):
    own = [
        benchmarks.seeds.named(name, Path("build/book"), Path("build/control"))
        for name in benchmarks.seeds.PRUNERS
    ]
    assert own == [
        *("random", "divprune", "scope:alpha=0.0"),
        *("codebook:codebook=build/book", "codebook:codebook=build/control"),
        *("codebook_scope:codebook=build/book", "codebook_scope:codebook=build/control"),
    ]


def answers_of(seeds, right):
    """A model that is right about the first `right` questions of each task by every pruner."""
    scores = {("none", 1.0): [np.ones(PICTURES)] * len(TASKS)}
    for name, count in right.items():
        scores |= {(name, keep): [np.arange(PICTURES) < count] * len(TASKS) for keep in seeds.KEEPS}
    scores = {row: [each.astype(float) for each in tasks] for row, tasks in scores.items()}
    pictures = [[str(i) for i in range(PICTURES)]] * len(TASKS)
    return seeds.Answers(scores, seeds.pictures_of(TASKS, pictures))


@pytest.fixture(scope="module")
def record(benchmarks):
    """Of two models; ours is right about 3 and 4 more than DivPrune."""
    seeds = benchmarks.seeds
    right = dict.fromkeys(seeds.PRUNERS, 10)
    found = {seed: answers_of(seeds, right | {"codebook_scope": 13 + int(seed)}) for seed in "01"}
    return seeds.record_of(found)


def test_the_model_that_ships_is_that_of_the_table(benchmarks):
    seeds = benchmarks.seeds
    answers = seeds.answers_of(seeds.SHIPPED, Path("nowhere"))
    rows = json.loads((ROOT / "benchmarks/results/pruners.json").read_text())["rows"]
    for row in rows:
        if row["tasks"] == 5 and row["pruner"] in seeds.PRUNERS:
            place = row["pruner"], row["keep"]
            assert answers.of_all(*place).mean() == pytest.approx(row["accuracy"])
            assert answers.kept(*place) == pytest.approx(row["retention"])
    assert len(answers.pictures) == 2000
    assert len(set(answers.pictures)) == 1594  # 394 films; scenes and captions share 400


def test_differences_are_means_over_seeds_and_tasks_corrected_for_all(benchmarks, record):
    assert record["level"] == pytest.approx(1 - 0.05 / 18)
    of = record["differences"]["codebook_scope - divprune"][KEEP]
    assert of["interval"][0] == pytest.approx(statistics.fmean([3, 4]) / PICTURES)
    assert [mean for mean, *_ in of["by_model"]] == pytest.approx([3 / PICTURES, 4 / PICTURES])
    assert of["pictures"] == 2 * PICTURES  # captions and scenes are of the same ones
    assert of["models"] == 2
    gaps = np.array([[0.0] * 10 + [1.0] * more + [0.0] * (20 - more) for more in (3, 4)])
    pictures = [f"{of} {i}" for of in ("stills", "stills", "clips") for i in range(PICTURES)]
    expected = benchmarks.over_models.pooled(np.tile(gaps, 3), pictures, 1 - 0.05 / 18)
    assert of["interval"] == pytest.approx(expected["interval"])


def test_there_is_a_row_of_every_pruner_and_keep_with_a_column_of_every_seed(benchmarks, record):
    seeds = benchmarks.seeds
    table = seeds.accuracies(record)
    assert table.head == ("pruner", "keep", "seed 0", "seed 1", "mean", "kept")
    assert len(table.body) == 1 + len(seeds.PRUNERS) * len(seeds.KEEPS)
    assert ("codebook_scope", "10%", "0.433", "0.467", "0.450", "45.0%") in table.body
    assert ("codebook_scope with a random book", "10%", "0.333", "0.333", "0.333", "33.3%") in table.body
    differences = seeds.differences(record)
    assert len(differences.body) == 18
    assert differences.body[1][:2] == ("codebook_scope - divprune", "10%")
    assert [cell[:6] for cell in differences.body[1][2:5]] == ["+0.100", "+0.133", "+0.117"]
    assert differences.head[2:] == ("seed 0 [95 %]", "seed 1 [95 %]", "all [corrected]", "concluded")
