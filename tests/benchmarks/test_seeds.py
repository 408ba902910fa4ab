"""What is asked of several seeds: of pictures that nothing else reads; pictures meet by what is on them."""

import statistics
from pathlib import Path

import numpy as np
import pytest
import torch

from wordsight.synthetic import scenes
from wordsight.synthetic.clips import render_clip
from wordsight.tasks import pairs

KEEP, PICTURES = 0.1, 30


def test_rows_of_a_model_have_its_own_books(benchmarks):
    own = [
        benchmarks.seeds.with_books(name, Path("build/book"), Path("build/control"))
        for name in benchmarks.seeds.PRUNERS
    ]
    assert own == [
        *("divprune", "scope:alpha=0.0"),
        *("codebook_scope:codebook=build/book", "codebook_scope:codebook=build/control"),
    ]


def test_pictures_are_those_that_nothing_else_reads(benchmarks, monkeypatch):
    drawn, scene, clip = [], scenes.render(0), render_clip(0)
    for module in ("scenes", "pairs", "captions"):
        monkeypatch.setattr(f"wordsight.tasks.{module}.render", lambda seed: drawn.append(seed) or scene)
    monkeypatch.setattr("wordsight.tasks.clips.render_clip", lambda seed: drawn.append(seed) or clip)
    for task in benchmarks.fresh.TASKS:
        list(task.examples())
    others = [*scenes.SPLITS.values(), *benchmarks.kinds.SEEDS.values()]
    assert min(drawn) == 5_000_000
    assert min(drawn) > max(others) + pairs.FIRST + 3000 * pairs.ROOM  # the most that a split reads


def test_every_task_asks_as_many_pictures_one_question_each(benchmarks):
    for task in benchmarks.fresh.TASKS:
        asked = task.first(benchmarks.fresh.EACH, benchmarks.fresh.EACH)
        assert len(asked) == len({example.picture_id for example in asked}) == 400


def answers_of(seeds, right):
    """A model that is right about the first `right` questions of each of three tasks by every pruner."""
    scores = {("none", 1.0): [np.ones(PICTURES)] * 3}
    for name, count in right.items():
        scores |= {(name, keep): [(np.arange(PICTURES) < count).astype(float)] * 3 for keep in seeds.KEEPS}
    return seeds.Answers(
        scores, [f"{of} {i}" for of in ("scenes", "scenes", "clips") for i in range(PICTURES)]
    )


@pytest.fixture(scope="module")
def record(benchmarks):
    """Of two models; ours is right about 3 and 4 more than DivPrune."""
    seeds = benchmarks.seeds
    right = dict.fromkeys(seeds.PRUNERS, 10)
    found = {seed: answers_of(seeds, right | {"codebook_scope": 13 + int(seed)}) for seed in "01"}
    return seeds.record_of(found)


def test_what_was_measured_is_not_measured_again(benchmarks, monkeypatch, tmp_path):
    seeds, fresh = benchmarks.seeds, benchmarks.fresh
    tasks = (fresh.FreshScenes(pictures=3), fresh.FreshCaptions(pictures=3))
    for name, value in (("EACH", 3), ("TASKS", tasks), ("KEEPS", (KEEP,)), ("PRUNERS", ("divprune",))):
        monkeypatch.setattr(seeds, name, value)
    answers = seeds.answers_of(seeds.SHIPPED, tmp_path)
    assert answers.pictures == ["scenes 0", "scenes 1", "scenes 2"] * 2
    assert [*answers.scores] == [("none", 1.0), ("divprune", KEEP)]
    assert [len(each) for each in answers.scores["divprune", KEEP]] == [3, 3]
    assert [len(each) for each in answers.texts["divprune", KEEP]] == [3, 3]
    assert answers.weights["dtype"] == "torch.float32"
    assert answers.prototypes == 383
    monkeypatch.setattr(seeds.TaskRun, "_prepared", None)
    again = seeds.answers_of(seeds.SHIPPED, tmp_path)
    np.testing.assert_equal(again.scores, answers.scores)


def test_a_folder_is_read_in_float32(benchmarks):
    assert benchmarks.seeds.model_of("0").model.dtype == torch.float32


def test_differences_are_means_over_seeds_and_tasks_corrected_for_all(benchmarks, record):
    assert record["level"] == pytest.approx(1 - 0.05 / 43)  # 31 are of the verdict
    of = record["differences"]["codebook_scope - divprune"][KEEP]
    assert of["interval"][0] == pytest.approx(statistics.fmean([3, 4]) / PICTURES)
    assert [mean for mean, *_ in of["by_model"]] == pytest.approx([3 / PICTURES, 4 / PICTURES])
    assert of["pictures"] == 2 * PICTURES  # captions and scenes are of the same ones
    assert of["models"] == 2
    gaps = np.array([[0.0] * 10 + [1.0] * more + [0.0] * (20 - more) for more in (3, 4)])
    pictures = [f"{of} {i}" for of in ("stills", "stills", "clips") for i in range(PICTURES)]
    expected = benchmarks.over_models.pooled(np.tile(gaps, 3), pictures, 1 - 0.05 / 43)
    assert of["interval"] == pytest.approx(expected["interval"])


def test_there_is_a_row_of_every_pruner_and_keep_with_a_column_of_every_seed(benchmarks, record):
    seeds = benchmarks.seeds
    table = seeds.accuracies(record)
    assert table.head == ("pruner", "keep", "seed 0", "seed 1", "mean", "kept")
    assert len(table.body) == 1 + len(seeds.PRUNERS) * len(seeds.KEEPS)
    assert ("codebook_scope", "10%", "0.433", "0.467", "0.450", "45.0%") in table.body
    assert ("codebook_scope with a random book", "10%", "0.333", "0.333", "0.333", "33.3%") in table.body
    differences = seeds.differences(record)
    assert len(differences.body) == 12
    assert differences.body[1][:2] == ("codebook_scope - divprune", "10%")
    assert [cell[:6] for cell in differences.body[1][2:5]] == ["+0.100", "+0.133", "+0.117"]
    assert differences.head[2:] == ("seed 0 [95 %]", "seed 1 [95 %]", "all [corrected]", "concluded")
