"""The questions about scenes against the scenes themselves, read word by word."""

import re
from collections import Counter

import numpy as np
import pytest

from wordsight.synthetic.questions import NUMBERS, ask, caption, probe_answers
from wordsight.synthetic.scenes import CLASSES, COLORS, SPLITS, TEXTURES, render


@pytest.fixture(scope="module")
def asked():
    """Scenes of all splits, each with one of its questions."""
    seeds = [start + number for start in SPLITS.values() for number in range(35)]
    scenes = {seed: render(seed) for seed in seeds}
    return [(scenes[seed], question) for seed in seeds for question in ask(scenes[seed], seed)]


def of_type(asked, kind):
    chosen = [(scene, question) for scene, question in asked if question.type == kind]
    assert len(chosen) > 30
    return chosen


def is_shown(scene, phrase):
    color, _, noun = phrase.rpartition(" ")
    return any(thing.noun == noun and color in ("", thing.color) for thing in scene.things)


def test_existence_is_yes_where_the_thing_is_there_and_no_where_it_is_not(asked):
    for scene, question in of_type(asked, "existence"):
        phrase = re.fullmatch(
            r"(?:is there|does the image contain|is) an? (.+?)(?: in the image| present)?\?", question.text
        )[1]
        assert (question.answer == "yes") == is_shown(scene, phrase), question


def test_existence_is_yes_as_often_as_no(asked):
    answers = Counter(question.answer for _, question in of_type(asked, "existence"))
    assert answers["yes"] == answers["no"]


def test_counting_counts(asked):
    for scene, question in of_type(asked, "counting"):
        noun = re.fullmatch(r"how many (.+)s are in the image\?", question.text)[1]
        assert NUMBERS.index(question.answer) == sum(thing.noun == noun for thing in scene.things)


def test_color_is_that_of_the_only_such_shape(asked):
    for scene, question in of_type(asked, "color"):
        shape = re.fullmatch(r"what (?:color is|is the color of) the (.+)\?", question.text)[1]
        assert {thing.color for thing in scene.things if thing.noun == shape} == {question.answer}
        assert question.answer in COLORS


def test_background_is_what_the_patches_show(asked):
    for scene, question in of_type(asked, "background"):
        shown = [CLASSES[label] for label in scene.labels.flatten() if label >= 0]
        named = dict.fromkeys(label for label in shown if label in TEXTURES)
        assert question.answer == " and ".join(named)


def test_a_plain_background_is_not_asked_about(asked):
    assert all(scene.backgrounds for scene, _ in of_type(asked, "background"))


SIDE_OF = {
    "left of": lambda a, b: a[0] < b[0],
    "right of": lambda a, b: a[0] > b[0],
    "above": lambda a, b: a[1] < b[1],
    "below": lambda a, b: a[1] > b[1],
}


def test_relation_is_that_of_the_centers_of_the_only_two_such_things(asked):
    for scene, question in of_type(asked, "relation"):
        first, relation, second = re.fullmatch(
            r"is the (.+) (left of|right of|above|below) the (.+)\?", question.text
        ).groups()
        (a,) = (thing.center for thing in scene.things if thing.noun == first)
        (b,) = (thing.center for thing in scene.things if thing.noun == second)
        assert (question.answer == "yes") == SIDE_OF[relation](a, b)


FARNESS = {
    "left": lambda x, y: x,
    "right": lambda x, y: -x,
    "top": lambda x, y: y,
    "bottom": lambda x, y: -y,
    "top left": lambda x, y: np.hypot(x, y),
    "top right": lambda x, y: np.hypot(192 - x, y),
    "bottom left": lambda x, y: np.hypot(x, 192 - y),
    "bottom right": lambda x, y: np.hypot(192 - x, 192 - y),
}


def test_naming_names_the_thing_that_is_clearly_nearest(asked):
    for scene, question in of_type(asked, "naming"):
        place = re.fullmatch(r"what is at the (.+) of the image\?", question.text)[1]
        near = sorted(scene.things, key=lambda thing: FARNESS[place](*thing.center))
        gaps = [FARNESS[place](*thing.center) for thing in near[:2]]
        assert question.answer == near[0].noun
        assert len(gaps) == 1 or gaps[1] - gaps[0] >= 18


def test_a_caption_names_everything_there_is(asked):
    for scene, question in of_type(asked, "caption"):
        assert question.answer == caption(scene)
        assert all(thing.label in question.answer for thing in scene.things)
        assert all(name in question.answer for name in scene.backgrounds)


def place_of(box):
    """The part of the picture that the middle of a box lies in, and how near it is to another part."""
    middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    words = [
        name
        for value, names in zip(middle[::-1], (("top", "", "bottom"), ("left", "", "right")), strict=True)
        if (name := names[int(value // 64)])
    ]
    return " ".join(words) or "center", min(abs(value - line) for value in middle for line in (64, 128))


def test_location_is_the_part_that_the_middle_of_the_only_such_thing_is_clearly_in(asked):
    places = set()
    for scene, question in of_type(asked, "location"):
        noun = re.fullmatch(r"where is the (.+)\?", question.text)[1]
        (box,) = (thing.box for thing in scene.things if thing.noun == noun)
        place, clearance = place_of(box)
        assert question.answer == place
        assert clearance >= 8
        places.add(place)
    assert len(places) == 9


SEEN_ALONE = ("existence", "color", "background", "location")


def test_nothing_is_asked_about_what_is_hidden():
    for seed in range(60):
        scene = render(seed)
        questions = ask(scene, seed, visible=frozenset({0}))
        if len(scene.things) > 1:
            assert {question.type for question in questions} <= {*SEEN_ALONE}
        for question in questions:
            if question.type == "location" or (question.type == "existence" and question.answer == "yes"):
                assert scene.things[0].noun in question.text


@pytest.mark.parametrize("seed", [3, 30])
def test_the_same_seed_asks_the_same_questions(seed):
    assert ask(render(seed), seed) == ask(render(seed), seed)


def test_a_probe_names_what_can_be_seen_and_else_the_background(asked):
    scene = next(scene for scene, _ in asked if len(scene.things) > 1 and scene.backgrounds)
    assert probe_answers(scene) == sorted({thing.noun for thing in scene.things})
    assert probe_answers(scene, frozenset({1})) == [scene.things[1].noun]
    assert probe_answers(scene, frozenset()) == list(scene.backgrounds)
