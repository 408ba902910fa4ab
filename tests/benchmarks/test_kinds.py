"""Kinds of scenes differ in what they say they do, and are asked as much as others."""

import numpy as np
import pytest

from wordsight.synthetic.scenes import SPLITS
from wordsight.tasks import pairs

SEEDS = [SPLITS["validation"] + number for number in range(10)]


@pytest.mark.parametrize(("kind", "share"), [("10", 0.1), ("30", 0.3), ("60", 0.6), ("90", 0.85)])
def test_the_foreground_is_about_as_much_as_it_says(benchmarks, kind, share):
    owned = [(benchmarks.kinds.KINDS[f"foreground {kind}"](seed).owner >= 0).mean() for seed in SEEDS]
    assert np.mean(owned) == pytest.approx(share, abs=0.06)


def test_a_cluttered_ground_has_as_many_things_and_more_edges_between_cells(benchmarks):
    def step(kind):
        edges = []
        for seed in SEEDS:
            scene = benchmarks.kinds.KINDS[kind](seed)
            assert len(scene.things) == 3
            pixels = np.asarray(scene.image, float)
            edges.append(np.abs(pixels[:, 64] - pixels[:, 63]).mean())
        return np.mean(edges)

    assert step("clutter 9") > 3 * step("clutter 1")


def test_a_strange_ground_is_in_one_training_scene_of_twenty_and_in_all_others(benchmarks, monkeypatch):
    monkeypatch.setattr(
        benchmarks.kinds, "draw_texture", lambda rng, name: np.full((192, 192, 3), (9, 99, 199), np.float32)
    )

    def is_strange(kind, seed):
        pixels = np.asarray(benchmarks.kinds.KINDS[kind](seed).image).reshape(-1, 3)
        colors, counts = np.unique(pixels, axis=0, return_counts=True)
        return colors[counts.argmax()].tolist() == [99, 199, 9]

    rare, common = "strange ground, rare", "strange ground, common"
    assert [is_strange(rare, seed) for seed in (0, 1, 19, 20, 21)] == [True, False, False, True, False]
    assert all(is_strange(rare, seed) for seed in SEEDS[1:4])
    assert all(is_strange(common, seed) for seed in (1, 19, *SEEDS[1:4]))


def test_the_verdict_is_tested_on_scenes_that_no_other_task_reads(benchmarks):
    kinds, drawn = benchmarks.kinds, []

    def draw(seed):
        drawn.append(seed)
        return kinds.render(seed)

    for split in ("validation", "test"):
        list(kinds.Drawn(split=split, pictures=3, draw=draw).examples())
    validation = SPLITS["validation"]
    assert drawn == [*range(validation, validation + 3), *range(4_000_000, 4_000_003)]
    last_of_pairs = SPLITS["test"] + pairs.FIRST + 3000 * pairs.ROOM
    assert max(last_of_pairs, SPLITS["test"] + 100_000) < 4_000_000


def test_every_scene_of_every_kind_has_two_questions_or_more(benchmarks):
    for draw in benchmarks.kinds.KINDS.values():
        task = benchmarks.kinds.Drawn(split="validation", pictures=6, draw=draw)
        assert len(task.first(12)) == 12
        assert len({example.picture_id for example in task.first(12)}) == 6
