"""Questions about several pictures and about clips, against the scenes and tracks, read word by word."""

import re
from collections import Counter

import numpy as np
import pytest

from wordsight.synthetic import scenes
from wordsight.synthetic.clips import Clip, Track, render_clip
from wordsight.synthetic.questions import ask_about_clip, ask_about_pictures
from wordsight.synthetic.scenes import Scene, Thing, render

COUNTED = ("first", "second", "third")


@pytest.fixture(autouse=True, scope="module")
def plain_backgrounds():
    """Textures take most of the time of a picture, and no question here is about them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_texture", "_plain"):
            patch.setattr(scenes, name, lambda *_: np.zeros((192, 192, 3), np.float32))
        yield


@pytest.fixture(scope="module")
def sets():
    """Two or three scenes at a time, about half of them with a thing in common."""
    drawn = [render(seed) for seed in range(120)]
    alike = [showing(drawn, "circle", 2), showing(drawn, "star", 3), showing(drawn, "rectangle", 3)]
    return [*(drawn[i : i + 2 + i % 2] for i in range(0, 117, 3)), *alike * 3]


def showing(drawn, noun, count):
    return [scene for scene in drawn if noun in nouns(scene)][:count]


def nouns(scene, visible=None):
    return {thing.noun for i, thing in enumerate(scene.things) if visible is None or i in visible}


def questions_of(asked, kind):
    return [(about, question) for about, question in asked if question.type == kind]


@pytest.fixture(scope="module")
def about_pictures(sets):
    return [
        (pictures, question)
        for seed, pictures in enumerate(sets)
        for question in ask_about_pictures(pictures, seed)
    ]


def test_which_is_the_only_picture_that_has_the_thing(about_pictures):
    for pictures, question in questions_of(about_pictures, "which"):
        noun = re.fullmatch(r"which picture has the (.+)\?", question.text)[1]
        has = [word for word, scene in zip(COUNTED, pictures, strict=False) if noun in nouns(scene)]
        assert has == [question.answer]


def test_which_has_all_places_as_answers(about_pictures):
    answers = Counter(question.answer for _, question in questions_of(about_pictures, "which"))
    assert set(answers) == set(COUNTED)


def test_same_is_yes_where_all_pictures_have_the_thing(about_pictures):
    answers = set()
    for pictures, question in questions_of(about_pictures, "same"):
        noun, place = re.fullmatch(
            r"is there an? (.+) in (both pictures|every picture)\?", question.text
        ).groups()
        assert (question.answer == "yes") == all(noun in nouns(scene) for scene in pictures)
        assert (place == "both pictures") == (len(pictures) == 2)
        answers.add(question.answer)
    assert answers == {"yes", "no"}


def test_no_is_asked_about_a_thing_that_some_picture_has(about_pictures):
    for pictures, question in questions_of(about_pictures, "same"):
        noun = question.text.split(" in ")[0].split(" ", 3)[3]
        assert any(noun in nouns(scene) for scene in pictures)


def test_nothing_is_asked_about_what_is_hidden_in_pictures(sets):
    for seed, pictures in enumerate(sets):
        visible = [frozenset({0}), *[frozenset()] * (len(pictures) - 1)]
        shown = nouns(pictures[0], {0})
        for question in ask_about_pictures(pictures, seed, visible=visible):
            noun = re.search(r"(?:has the |is there an? )(.+?)(?: in .*)?\?", question.text)[1]
            assert noun in shown
            assert question.answer != "yes"


def test_yes_is_asked_only_where_the_thing_is_seen_in_every_picture():
    def scene(*names):
        return Scene(None, tuple(Thing(name, None, (0, 0, 9, 9)) for name in names), (), None, None)

    pictures = [scene("cat", "dog"), scene("cat", "dog")]
    seen = [frozenset({0, 1}), frozenset({0})]
    asked = [ask_about_pictures(pictures, seed, visible=seen) for seed in range(10)]
    assert {tuple(question) for each in asked for question in each} == {
        ("same", "is there a cat in both pictures?", "yes")
    }


def test_no_thing_that_two_of_three_pictures_have_is_asked_for_by_its_picture(sets):
    cat, dog = (Thing(name, None, (0, 0, 9, 9)) for name in ("cat", "dog"))
    pictures = [Scene(None, (thing,), (), None, None) for thing in (cat, cat, dog)]
    asked = {tuple(question) for seed in range(20) for question in ask_about_pictures(pictures, seed)}
    assert {each for each in asked if each[0] == "which"} == {
        ("which", "which picture has the dog?", "third")
    }
    assert {each[1:] for each in asked if each[0] == "same"} == {
        ("is there a cat in every picture?", "no"),
        ("is there a dog in every picture?", "no"),
    }


@pytest.mark.parametrize("seed", [0, 5])
def test_the_same_seed_asks_the_same_about_pictures(sets, seed):
    assert ask_about_pictures(sets[seed], seed) == ask_about_pictures(sets[seed], seed)


@pytest.fixture(scope="module")
def clips():
    return [render_clip(seed) for seed in range(150)]


@pytest.fixture(scope="module")
def about_clips(clips):
    return [(clip, question) for seed, clip in enumerate(clips) for question in ask_about_clip(clip, seed)]


def track_of(clip, noun):
    (track,) = (track for track in clip.tracks if track.noun == noun)
    return track


def test_direction_is_where_the_box_goes(about_clips):
    for clip, question in questions_of(about_clips, "direction"):
        noun = re.fullmatch(r"(?:which way|where) does the (.+) move\?", question.text)[1]
        start, *_, end = track_of(clip, noun).boxes
        x, y = end[0] - start[0], end[1] - start[1]
        sides = {"right": x, "left": -x, "down": y, "up": -y}
        assert question.answer == max(sides, key=sides.get)


def test_change_is_whether_the_box_is_missing_first_or_last(about_clips):
    for clip, question in questions_of(about_clips, "change"):
        boxes = track_of(clip, re.fullmatch(r"does the (.+) appear or vanish\?", question.text)[1]).boxes
        assert (boxes[0] is None, boxes[-1] is None) == (
            question.answer == "appear",
            question.answer == "vanish",
        )


def test_order_is_the_thing_whose_box_comes_first_of_two_that_are_not_there_at_first(about_clips):
    named_first = []
    for clip, question in questions_of(about_clips, "order"):
        pair = re.fullmatch(r"which appears first, the (.+) or the (.+)\?", question.text).groups()
        starts = [[box is not None for box in track_of(clip, noun).boxes].index(True) for noun in pair]
        assert min(starts) > 0
        assert starts[0] != starts[1]
        assert question.answer == pair[starts.index(min(starts))]
        named_first.append(starts[0] < starts[1])
    assert 0.25 < np.mean(named_first) < 0.75


def test_every_direction_and_change_is_an_answer(about_clips):
    for kind, answers in (("direction", {"left", "right", "up", "down"}), ("change", {"appear", "vanish"})):
        assert {question.answer for _, question in questions_of(about_clips, kind)} == answers


def test_what_moves_is_asked_about_once_and_what_stays_never(clips):
    for seed, clip in enumerate(clips):
        asked = [question.text for question in ask_about_clip(clip, seed)]
        for track in clip.tracks:
            named = sum(re.search(rf"\bthe {track.noun}\b", text) is not None for text in asked)
            if track.act == "stay":
                assert named == 0
            elif track.act not in ("appear", "vanish"):
                assert named == 1


def test_nothing_is_asked_about_what_is_hidden_in_a_clip(clips):
    for seed, clip in enumerate(clips):
        assert ask_about_clip(clip, seed, visible=frozenset()) == []
        for i, track in enumerate(clip.tracks):
            for question in ask_about_clip(clip, seed, visible=frozenset({i})):
                assert question.type != "order"
                assert f"the {track.noun} " in question.text


def test_things_that_appear_together_have_no_order():
    box = (0, 0, 9, 9)
    together = tuple(Track(noun, "appear", (None, box, box)) for noun in ("cat", "dog"))
    clip = Clip((), together, np.zeros(0))
    assert {question.type for seed in range(10) for question in ask_about_clip(clip, seed)} == {"change"}


@pytest.mark.parametrize("seed", [0, 5])
def test_the_same_seed_asks_the_same_about_a_clip(clips, seed):
    assert ask_about_clip(clips[seed], seed) == ask_about_clip(clips[seed], seed)
