"""Odd one out: exactly one picture lacks the thing, whatever else they show."""

import re
from collections import Counter

import numpy as np
import pytest

from wordsight.synthetic import scenes
from wordsight.synthetic.scenes import SPLITS
from wordsight.tasks import odd_one_out
from wordsight.tasks.odd_one_out import OddOneOut, draw_three

pytestmark = pytest.mark.usefixtures("plain_backgrounds")

PLACES = ("first", "second", "third")


@pytest.fixture(scope="module")
def asked():
    """The questions about 150 prompts, each with the scenes it is about."""
    drawn = []

    def recorded(rng):
        drawn.append(draw_three(rng))
        return drawn[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(odd_one_out, "draw_three", recorded)
        return [(example, drawn[-1][0]) for example in OddOneOut(prompts=150).examples()]


def nouns(scene):
    return [thing.noun for thing in scene.things]


def noun_of(example):
    return re.fullmatch(r"which picture has no (\w+)\?", example.question)[1]


def test_the_answer_is_the_only_picture_without_the_thing(asked):
    for example, drawn in asked:
        lacks = [
            place for place, scene in zip(PLACES, drawn, strict=True) if noun_of(example) not in nouns(scene)
        ]
        assert lacks == [example.answer]


def test_the_pictures_are_given_in_the_order_of_the_answers(asked):
    for example, drawn in asked:
        assert [id(image) for image in example.images] == [id(scene.image) for scene in drawn]


def test_the_pictures_alone_do_not_tell_the_answer(asked):
    """Each answer is right once in every prompt: who does not read the question is right in a third."""
    answers = {}
    for example, _ in asked:
        answers.setdefault(example.picture_id, []).append(example.answer)
    assert len(answers) == 150
    assert all(sorted(each) == sorted(PLACES) for each in answers.values())
    firsts = Counter(each[0] for each in answers.values())
    assert all(count / 150 == pytest.approx(1 / 3, abs=0.12) for count in firsts.values())


def test_the_thing_alone_does_not_tell_the_answer(asked):
    """Over the nouns that are asked about often enough to tell."""
    places = {}
    for example, _ in asked:
        places.setdefault(noun_of(example), Counter())[example.answer] += 1
    assert len(places) == len(odd_one_out.EMOJI_NOUNS)
    assert sum(max(each.values()) for each in places.values()) / len(asked) < 0.6


def test_all_pictures_show_as_many_things_no_two_alike(asked):
    counts = Counter()
    for _, drawn in asked:
        (count,) = {len(nouns(scene)) for scene in drawn}
        assert all(len(set(nouns(scene))) == count for scene in drawn)
        counts[count] += 1
    assert set(counts) == {2, 3, 4}


def test_a_scene_without_room_for_its_cast_is_drawn_again(monkeypatch):
    monkeypatch.setattr(odd_one_out, "MOST_OTHERS", 7)
    sizes = set()
    for seed in range(40):
        drawn, lacking = draw_three(np.random.default_rng(seed))
        for scene, noun in zip(drawn, lacking, strict=True):
            assert set(lacking) - set(nouns(scene)) == {noun}
            sizes.add(len(scene.things))
    assert sizes == set(range(2, 10))


@pytest.mark.parametrize(
    "said", ["second", "The second.", "the second picture", "Second image", "2", "picture 2"]
)
def test_a_picture_may_be_named_in_several_ways(asked, said):
    task = OddOneOut()
    for example, _ in asked[:30]:
        assert task.score(example, said) == (example.answer == "second")


def test_no_wording_is_right_for_two_pictures(asked):
    of = {example.answer: {example.answer, *example.others} for example, _ in asked}
    assert sum(map(len, of.values())) == len(set.union(*of.values()))


def test_prompts_are_drawn_from_the_seeds_of_their_split_in_a_stream_of_their_own(monkeypatch):
    draw, seeds = np.random.default_rng, []
    monkeypatch.setattr(np.random, "default_rng", lambda seed: seeds.append(tuple(seed)) or draw(seed))
    monkeypatch.setattr(odd_one_out, "_with_all", lambda rng, cast: scenes.Scene(None, (), (), None, None))
    for split in ("validation", "test"):
        OddOneOut(split=split, prompts=300).first(None)
        assert seeds == [(SPLITS[split] + number, 19) for number in range(300)]
        seeds.clear()
    # Training scenes have a seed alone, clips and questions the streams 5 to 13; and the splits lie apart.
    assert SPLITS["train"] + 24_000 < SPLITS["validation"] <= SPLITS["old_test"] - 100_000
