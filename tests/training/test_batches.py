"""The batches that the embedded model is trained on: what they ask is true of what they show."""

from collections import defaultdict

import numpy as np
import pytest
import torch

from wordsight.synthetic.clips import render_clip
from wordsight.synthetic.questions import ORDINALS
from wordsight.synthetic.scenes import render


@pytest.fixture(scope="module")
def pictures(training):
    """Sixty scenes and twenty clips, with zeros for features."""
    scenes, clips = [render(i) for i in range(60)], [render_clip(i) for i in range(20)]
    made = object.__new__(training.batches.Pictures)
    made.facts, made.clips = scenes, [clip for clip in clips if clip.tracks]
    made.labels, made.owners = (
        np.stack([grid.flatten() for grid in grids])
        for grids in ([s.labels for s in scenes], [s.owner for s in scenes])
    )
    made.centers = np.stack([training.pictures._centers(scene).reshape(144, 3) for scene in scenes])
    made.frame_owners = np.concatenate([clip.owner for clip in made.clips]).reshape(-1, 144)
    made.features, made.clip_features = torch.zeros(60, 144, 4), torch.zeros(len(made.frame_owners), 144, 4)
    made.index()
    return made


def test_the_patches_of_a_thing_share_its_center(pictures):
    whole = 0
    for fact, owners, centers in zip(pictures.facts, pictures.owners, pictures.centers, strict=True):
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
    batches = [pictures._pairs(np.random.default_rng(seed), 1.0) for seed in range(12)]
    asked = [row for batch in batches for row in batch.questions]
    shared = [any(q.type == "same" and q.answer == "yes" for q in row) for row in asked]
    assert np.mean(shared) > 0.4


def test_counting_batches_ask_how_many_and_only_where_things_repeat(training, pictures, monkeypatch):
    monkeypatch.setattr(training.batches, "TOKENS", 1500)
    batch = pictures._counts(np.random.default_rng(0))
    assert {q.type for row in batch.questions for q in row} == {"counting"}
    assert all(batch.questions)


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
    pictures.features = torch.stack(
        torch.meshgrid(torch.arange(60.0), torch.arange(144.0), indexing="ij"), -1
    )
    held = []
    made = training.steps.held_back

    def remember(rng, scene, frames):
        held.append(made(rng, scene, frames))
        return held[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.batches, "held_back", remember)
        batch = pictures._appearing(np.random.default_rng(0), 0.0)
    answers = 0
    for clip, frames, asked in zip(held, batch.features.long().tolist(), batch.questions, strict=True):
        for number, track in enumerate(clip.tracks):
            shown = [any(pictures.owners[p, cell] == number for p, cell in frame) for frame in frames]
            assert [box is not None for box in track.boxes] == shown or track.act == "stay"
        answers += len(asked)
    assert answers > 20
