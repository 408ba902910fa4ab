"""Every task against what all of them promise; the questions about scenes against the scenes themselves."""

import re
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from wordsight import tasks
from wordsight.demo.questions import NUMBERS, ask, caption, probe_answers
from wordsight.demo.scenes import CLASSES, COLORS, SPLITS, TEXTURES, render
from wordsight.errors import UsageError
from wordsight.tasks.base import Example, Task
from wordsight.tasks.easy_vqa import EasyVqa
from wordsight.tasks.scenes import Scenes

SPLIT_NAMES = ("validation", "test")


@pytest.fixture(params=tasks.names())
def name(request):
    return request.param


def some(name, split="test", count=150):
    return list(islice(tasks.make(f"{name}:split={split}").examples(), count))


def pixels(example):
    return example.picture if isinstance(example.picture, str) else example.picture.tobytes()


def told(example):
    return pixels(example), example.picture_id, example.question, example.answer, example.type


@pytest.mark.parametrize("split", SPLIT_NAMES)
def test_questions_about_one_picture_come_together(name, split):
    ids = [example.picture_id for example in some(name, split)]
    changes = sum(before != after for before, after in pairwise(ids))
    assert changes == len(set(ids)) - 1


def test_one_picture_id_is_one_picture(name):
    pairs = {(example.picture_id, pixels(example)) for example in some(name)}
    assert len(pairs) == len({picture_id for picture_id, _ in pairs}) == len({shown for _, shown in pairs})


@pytest.mark.parametrize("split", SPLIT_NAMES)
def test_a_task_yields_the_same_examples_twice(name, split):
    assert [told(example) for example in some(name, split)] == [
        told(example) for example in some(name, split)
    ]


def test_the_first_examples_are_the_first(name):
    task = tasks.make(name)
    assert [told(example) for example in task.first(7)] == [told(example) for example in some(name, count=7)]


@pytest.mark.parametrize("disguise", [str, str.upper, str.title, "  {}. ".format, "{}!".format])
def test_the_right_answer_is_right_whatever_its_case_and_punctuation(name, disguise):
    task = tasks.make(name)
    assert {task.score(example, disguise(example.answer)) for example in some(name)} == {1.0}


@pytest.mark.parametrize("spoil", ["", "{} not", "not {}", "{0} {0}", "{}s", "purple unicorn", "?"])
def test_another_answer_is_wrong(name, spoil):
    task = tasks.make(name)
    assert {task.score(example, spoil.format(example.answer)) for example in some(name)} == {0.0}


def test_every_question_has_an_answer_and_a_type(name):
    assert all(example.question and example.answer and example.type for example in some(name))


def test_validation_and_test_share_no_picture(name):
    shown = [{pixels(example) for example in some(name, split, 400)} for split in SPLIT_NAMES]
    assert not shown[0] & shown[1]


def test_an_unknown_split_is_refused(name):
    with pytest.raises(UsageError, match="split must be 'validation' or 'test', got 'train'"):
        tasks.make(f"{name}:split=train")


def test_a_task_must_say_its_examples():
    with pytest.raises(NotImplementedError):
        Task().first(1)


@pytest.mark.parametrize(
    ("answer", "said", "score"),
    [
        ("sky and sand", "Sky and sand.", 1.0),
        ("sky and sand", "sand and sky", 0.0),
        ("two", "2", 0.0),
        ("yes", "yes, yes", 0.0),
    ],
)
def test_a_score_compares_the_words_in_their_order(answer, said, score):
    assert Task().score(Example("x.png", "0", "?", answer, "any"), said) == score


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("scene", "unknown task 'scene': did you mean 'scenes'"),
        ("scenes:pictures=0", "pictures must be between 1 and 100000, got 0"),
        ("scenes:pictures=100001", "pictures must be"),
        ("scenes:pictures=abc", "pictures must be .* 'abc'"),
        ("scenes:pictures=1.5", r"pictures must be .*1\.5"),
        ("scenes:picture=5", "unknown option of scenes 'picture': did you mean 'pictures'"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(spec, message):
    with pytest.raises(UsageError, match=message):
        tasks.make(spec)


def test_easy_vqa_splits_its_test_pictures_in_two_halves():
    ids = [{int(example.picture_id) for example in EasyVqa(split=split).examples()} for split in SPLIT_NAMES]
    assert max(ids[1]) < min(ids[0])
    assert len(ids[0] | ids[1]) == 1000


def test_easy_vqa_has_thirteen_answers():
    assert len({example.answer for example in EasyVqa().examples()}) == 13


def test_easy_vqa_types_follow_the_question():
    for example in EasyVqa().first(400):
        asks_for = "color" if "what color" in example.question or "the color" in example.question else "shape"
        assert example.type == ("existence" if example.answer in ("yes", "no") else asks_for)


def test_scenes_asks_about_as_many_pictures_as_it_is_told():
    assert {example.picture_id for example in Scenes(pictures=4).examples()} == {"0", "1", "2", "3"}


def test_scenes_has_about_eleven_questions_a_picture():
    assert len(Scenes(pictures=100).first(None)) / 100 == pytest.approx(11, abs=1)


def test_scenes_has_six_types():
    assert {example.type for example in some("scenes")} == {
        "existence",
        "counting",
        "naming",
        "relation",
        "color",
        "background",
    }


# The questions against the scenes, read word by word.
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


def test_nothing_is_asked_about_what_is_hidden():
    for seed in range(60):
        scene = render(seed)
        questions = ask(scene, seed, visible=frozenset({0}))
        if len(scene.things) > 1:
            assert {question.type for question in questions} <= {"existence", "color", "background"}
        for question in questions:
            if question.type == "existence" and question.answer == "yes":
                assert scene.things[0].noun in question.text


@pytest.mark.parametrize("seed", [3, 30])
def test_the_same_seed_asks_the_same_questions(seed):
    assert ask(render(seed), seed) == ask(render(seed), seed)


def test_a_probe_names_what_can_be_seen_and_else_the_background(asked):
    scene = next(scene for scene, _ in asked if len(scene.things) > 1 and scene.backgrounds)
    assert probe_answers(scene) == sorted({thing.noun for thing in scene.things})
    assert probe_answers(scene, frozenset({1})) == [scene.things[1].noun]
    assert probe_answers(scene, frozenset()) == list(scene.backgrounds)
