"""The batches that the embedded model is trained on: what they ask is true of what they show."""

from collections import defaultdict
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from wordsight.synthetic.clips import render_clip
from wordsight.synthetic.questions import ORDINALS, ask_about_clip
from wordsight.synthetic.scenes import CLASSES, render


def test_the_patches_of_a_thing_share_its_center(pictures):
    whole = 0
    pool = pictures.scenes
    for fact, owners, centers in zip(pool.facts, pool.owners, pool.centers, strict=True):
        for number in np.unique(owners[owners >= 0]):
            share = centers[owners == number, 2].astype(float)
            assert share.sum() == pytest.approx(1, abs=2e-3)
            assert 1 <= (share > 0.24).sum() <= 4
            x, y = (int(place // 16) for place in fact.things[number].center)
            holds = owners.reshape(12, 12)[y, x] == number
            whole += holds
            if holds:  # the patch that holds the center has most of it
                assert centers.reshape(12, 12, 3)[y, x, 2] == share.max()
        assert not centers[owners < 0].any()
    assert whole > 100


def test_most_prompts_of_several_pictures_show_a_thing_in_all(training, pictures):
    recipe, pool = training.batches.Recipe(pictures), pictures.scenes
    asked = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        chosen = training.batches.alike(rng, pool, 4, 2)
        asked += recipe.pairs(rng, pool, chosen, pool.visual).questions
    shared = [any(q.type == "same" and q.answer == "yes" for q in row) for row in asked]
    assert np.mean(shared) > 0.4


def test_counting_batches_ask_how_many_and_only_where_things_repeat(training, pictures, monkeypatch):
    monkeypatch.setattr(training.batches, "TOKENS", 1500)
    batch = training.batches.Recipe(pictures).counts(np.random.default_rng(0), pictures.scenes, 40)
    assert {q.type for row in batch.questions for q in row} == {"counting"}
    assert all(batch.questions)


@pytest.mark.parametrize(("place", "span"), [(0, 6), (1, 8), (2, 10)])
def test_small_pictures_hold_whole_things_only(pictures, place, span):
    small = pictures.small[place]
    assert len(small.facts) > 5
    for fact, labels, owners in zip(small.facts, small.labels, small.owners, strict=True):
        assert len(fact.things) > 1
        assert set(np.unique(owners[owners >= 0])) == set(range(len(fact.things)))
        for number, thing in enumerate(fact.things):
            assert {CLASSES[i] for i in np.unique(labels[owners == number])} == {thing.label}
            left, top, right, bottom = thing.box
            assert 0 <= left < right <= 192
            assert 0 <= top < bottom <= 192
            rows, columns = np.nonzero((owners == number).reshape(span, span))
            y, x = (top + bottom) / 2 * span / 192, (left + right) / 2 * span / 192  # in patches
            assert np.hypot(rows.mean() + 0.5 - y, columns.mean() + 0.5 - x) < 1


def test_small_pictures_are_cut_out_of_pixels(training):
    images = np.arange(2 * 192 * 192 * 3).reshape(2, 192, 192, 3)
    squares = training.small.Squares(np.array([[0, 0, 0], [1, 2, 3]]), images, 6)
    assert squares[:100].shape == (2, 96, 96, 3)
    np.testing.assert_array_equal(squares[1:2][0], images[1, 32:128, 48:144])


def test_steps_ask_whether_each_picture_shows_a_thing(training):
    scenes = [render(3), render(4), render(5)]
    everything = [frozenset(range(len(scene.things))) for scene in scenes]
    asked = training.steps.in_each(np.random.default_rng(0), scenes, everything)
    assert len(asked) == 6
    for question in asked:
        scene = scenes[next(i for i, word in enumerate(ORDINALS) if f"the {word} picture" in question.text)]
        shown = any(f" {thing.noun} in the" in question.text for thing in scene.things)
        assert question.answer == ("yes" if shown else "no")


def test_steps_do_not_deny_what_is_there_but_hidden(training):
    scene = render(3)
    asked = training.steps.in_each(np.random.default_rng(0), [scene, scene], [frozenset({0}), frozenset()])
    assert [q.answer for q in asked] == ["yes"]


def test_steps_ask_when_things_appear(training):
    pictures_of = defaultdict(set)
    for seed in range(30):
        clip = render_clip(seed)
        for question in training.steps.when(clip, frozenset(range(len(clip.tracks)))):
            track = next(t for t in clip.tracks if question.text.endswith(f"the {t.noun}?"))
            before = int(question.answer) - 1
            assert track.act == "appear"
            assert track.boxes[before] is not None
            assert all(box is None for box in track.boxes[:before])
            pictures_of[question.answer].add(seed)
    assert len(pictures_of) > 2


def test_clips_made_of_scenes_show_no_token_of_what_is_held_back(training, pictures):
    """Features that name their own picture and cell tell what was really shown."""
    features = torch.stack(torch.meshgrid(torch.arange(60.0), torch.arange(144.0), indexing="ij"), -1)
    recipe = training.recipes.Pruned(copy(pictures))
    recipe.pictures.scenes = replace(pictures.scenes, features=features)
    held = []
    made = training.steps.held_back

    def remember(rng, scene, frames):
        held.append(made(rng, scene, frames))
        return held[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.recipes, "held_back", remember)
        batch = recipe.appearing(np.random.default_rng(0), 0.0)
    answers = 0
    for clip, frames, asked in zip(held, batch.features.long().tolist(), batch.questions, strict=True):
        for number, track in enumerate(clip.tracks):
            shown = [any(pictures.scenes.owners[p, cell] == number for p, cell in frame) for frame in frames]
            assert [box is not None for box in track.boxes] == shown or track.act == "stay"
        answers += len(asked)
    assert answers > 20


def test_sequences_ask_what_comes_first(training):
    scenes = [render(i) for i in range(40, 44)]
    shown = [{thing.noun for thing in scene.things} for scene in scenes]
    asked = [q for seed in range(20) for q in training.steps.in_sequence(np.random.default_rng(seed), scenes)]
    for question in asked:
        words = question.text.rstrip("?").split()
        if question.type == "when":
            first = next(i for i, nouns in enumerate(shown) if words[-1] in nouns)
            assert question.answer == str(first + 1)
            assert first > 0
        else:
            firsts = {
                noun: next(i for i, nouns in enumerate(shown) if noun in nouns)
                for noun in (words[4].rstrip(","), words[-1])
            }
            assert len(set(firsts.values())) == 2
            assert question.answer == min(firsts, key=firsts.get)
    assert {q.type for q in asked} == {"when", "order"}


def test_what_is_asked_of_a_thinned_clip_is_true_of_its_frames(training):
    """Seen in the rendered frames: of a thing that comes or goes, whether it is there at either end."""
    asked = set()
    for seed in range(60):
        clip = render_clip(seed)
        for frames in ([0, 1], [0, len(clip.frames) - 1], [1, 2, 3]):
            thin = training.steps.thinned(clip, frames)
            seen = frozenset(i for i, track in enumerate(thin.tracks) if any(track.boxes))
            for question in ask_about_clip(thin, seed, visible=seen):
                if question.type == "change":
                    number = next(i for i, t in enumerate(clip.tracks) if f"the {t.noun} " in question.text)
                    ends = [(clip.owner[frames[i]] == number).any() for i in (0, -1)]
                    assert ends == ([False, True] if question.answer == "appear" else [True, False])
                asked.add((question.type, question.answer))
    assert {("change", "appear"), ("change", "vanish"), ("direction", "left")} <= asked
