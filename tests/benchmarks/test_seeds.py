"""The comparison on several seeds: rows meet by what they are, pictures by what is on them."""

import statistics
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

KEEP, PICTURES = 0.1, 30
TASKS = ("scenes:pictures=400", "captions:pictures=400", "clips:clips=400")


def test_a_row_of_a_models_own_books_is_called_as_that_of_the_model_that_ships(benchmarks):
    seeds = benchmarks.seeds
    own = [
        seeds.named(name, Path("build/seeds/0/book"), Path("build/seeds/0/control")) for name in seeds.PRUNERS
    ]
    assert [seeds.row_name(name) for name in own] == list(seeds.PRUNERS)
    assert "codebook_scope:codebook=build/seeds/0/book" in own
    assert [seeds.row_name(name) for name in seeds.PRUNERS] == list(seeds.PRUNERS)


def results_of(seeds, right, folder):
    """A model that is right about the first `right` of every pruner's questions in each task."""
    named = [seeds.named(name, Path(folder) / "book", Path(folder) / "control") for name in right]
    cells = [(name, keep, right[at]) for name, at in zip(named, right, strict=True) for keep in seeds.KEEPS]
    answered = [
        {"pruner": name, "keep": keep, "scores": [[float(i < count) for i in range(PICTURES)]]}
        for name, keep, count in [("none", 1.0, PICTURES), *cells]
    ]
    asked = [{"picture": str(i)} for i in range(PICTURES)]
    answers = [{"task": task, "questions": asked, "answered": answered} for task in TASKS]
    rows = [
        {"tasks": 3, "pruner": name, "keep": keep, "retention": count / PICTURES}
        for name, keep, count in cells
    ]
    return SimpleNamespace(answers=answers, rows=rows, environment={})


@pytest.fixture(scope="module")
def record(benchmarks):
    """Of two models; ours is right about 3 and 4 more than DivPrune."""
    seeds = benchmarks.seeds
    right = dict.fromkeys(seeds.PRUNERS, 10)
    found = {
        "0": results_of(seeds, right | {"codebook_scope": 13}, "build/seeds/0"),
        "1": results_of(seeds, right | {"codebook_scope": 14}, "elsewhere"),
    }
    return seeds.record_of(found)


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
