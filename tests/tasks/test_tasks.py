"""Every task against what all of them promise, and what each of them promises itself."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice, pairwise

import numpy as np
import pytest
from PIL import Image

from wordsight import tasks
from wordsight._utils import registry
from wordsight.errors import UsageError
from wordsight.synthetic import scenes
from wordsight.synthetic.scenes import SPLITS, Scene, Thing
from wordsight.tasks import lmms, pairs
from wordsight.tasks.base import Example, Task
from wordsight.tasks.captions import Captions
from wordsight.tasks.clips import Clips
from wordsight.tasks.easy_vqa import EasyVqa
from wordsight.tasks.odd_one_out import OddOneOut
from wordsight.tasks.pairs import Pairs
from wordsight.tasks.repeats import Repeats
from wordsight.tasks.scenes import Scenes

pytestmark = pytest.mark.usefixtures("plain_backgrounds")

SPLIT_NAMES = ("validation", "test")
NEEDED = {}  # options that a task cannot do without
NAMES = [each for each in tasks.names() if each != "lmms"]  # which tests/lmms is about
WORDED = [each for each in NAMES if registry.find(tasks, each, Task).score is Task.score]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture(autouse=True, scope="module")
def own_questions(tmp_path_factory):
    """The file of the task that cannot do without one."""
    folder = tmp_path_factory.mktemp("own")
    rows = []
    for number in range(60):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}.png")
        for question in ("what is it?", "how red is it?"):
            rows.append({"image": f"{number}.png", "question": question, "answer": f"red {number}"})
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    NEEDED["questions"] = f",path={folder / 'questions.jsonl'}"


def made(name, split="test"):
    return tasks.make(f"{name}:split={split}{NEEDED.get(name, '')}")


def fresh(name, split="test", count=60):
    return list(islice(made(name, split).examples(), count))


some = cache(fresh)


def pixels(example):
    if isinstance(example.images, str):
        return example.images
    images = example.images if isinstance(example.images, Sequence) else [example.images]
    return b"".join(image.tobytes() for image in images)


def fields(example):
    return pixels(example), example.picture_id, example.question, example.answer, example.type


@pytest.mark.parametrize("split", SPLIT_NAMES)
def test_questions_about_one_picture_come_together(name, split):
    ids = [example.picture_id for example in some(name, split)]
    changes = sum(before != after for before, after in pairwise(ids))
    assert changes == len(set(ids)) - 1


def test_one_picture_id_is_one_picture(name):
    pairs = {(example.picture_id, pixels(example)) for example in some(name)}
    assert len(pairs) == len({picture_id for picture_id, _ in pairs}) == len({image for _, image in pairs})


@pytest.mark.parametrize("split", SPLIT_NAMES)
def test_a_task_yields_the_same_examples_twice(name, split):
    assert [fields(example) for example in fresh(name, split, 20)] == [
        fields(example) for example in some(name, split)
    ][:20]


def test_the_first_examples_are_of_as_many_pictures_in_their_order(name):
    task, known = made(name), [example.picture_id for example in some(name)]
    pictures = list(dict.fromkeys(known))[:3]
    chosen = [example.picture_id for example in task.first(len(pictures))]
    assert chosen == pictures
    firsts = [fields(some(name)[known.index(picture)]) for picture in pictures]
    assert [fields(example) for example in task.first(len(pictures))] == firsts


@dataclass(kw_only=True)
class Uneven(Task):
    """Three, one and four questions about three pictures."""

    def examples(self):
        for picture, count in zip("abc", (3, 1, 4), strict=True):
            for number in range(count):
                yield Example("x.png", picture, f"{number}?", "yes", "any")


@pytest.mark.parametrize(
    ("limit", "pictures", "expected"),
    [
        (None, None, "a0 a1 a2 b0 c0 c1 c2 c3"),
        (1, None, "a0"),
        (3, None, "a0 b0 c0"),
        (4, None, "a0 a1 b0 c0"),
        (5, None, "a0 a1 b0 c0 c1"),
        (7, None, "a0 a1 a2 b0 c0 c1 c2"),
        (99, None, "a0 a1 a2 b0 c0 c1 c2 c3"),
        (None, 2, "a0 a1 a2 b0"),
        (None, 99, "a0 a1 a2 b0 c0 c1 c2 c3"),
        (3, 2, "a0 a1 b0"),
        (1, 3, "a0"),
    ],
)
def test_pictures_take_turns(limit, pictures, expected):
    asked = Uneven().first(limit, pictures)
    assert " ".join(example.picture_id + example.question[0] for example in asked) == expected


def test_pictures_that_are_not_asked_about_are_not_made():
    @dataclass(kw_only=True)
    class Endless(Task):
        def examples(self):
            for number in range(10):
                assert number < 4, "three pictures are asked about, and the next one ends them"
                yield Example("x.png", str(number), "?", "yes", "any")

    assert len(Endless().first(3)) == len(Endless().first(None, 3)) == 3


def test_a_score_lies_between_0_and_1_whatever_is_said(name):
    task = made(name)
    answers = [example.answer for example in some(name)]
    scores = [task.score(example, said) for example in some(name)[:10] for said in answers]
    assert all(0 <= score <= 1 for score in scores)


def test_the_right_answer_is_right_whatever_its_case_and_punctuation(name):
    task = made(name)
    for disguise in (str, str.upper, str.title, "  {}. ".format, "{}!".format):
        scores = {task.score(example, disguise(example.answer)) for example in some(name)}
        assert scores == {1.0}, disguise("right")


@pytest.mark.parametrize("name", WORDED)
def test_another_answer_is_wrong(name):
    task = made(name)
    for spoil in ("", "{} not", "not {}", "{0} {0}", "{}s", "purple unicorn", "?"):
        scores = {task.score(example, spoil.format(example.answer)) for example in some(name)}
        assert scores == {0.0}, spoil


def test_every_question_has_an_answer_and_a_type(name):
    assert all(example.question and example.answer and example.type for example in some(name))


def test_validation_and_test_share_no_picture(name):
    images = [{pixels(example) for example in some(name, split)} for split in SPLIT_NAMES]
    assert not images[0] & images[1]


def test_an_unknown_split_is_refused(name):
    with pytest.raises(UsageError, match=r"split must be .*'validation' or 'test', got 'train'"):
        made(name, "train")


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
        ("scenes:pictures=0", r"pictures must be a whole number in \[1, 100000\], got 0"),
        ("scenes:pictures=100001", "pictures must be"),
        ("scenes:pictures=abc", "pictures must be .* 'abc'"),
        ("scenes:pictures=1.5", r"pictures must be .*1\.5"),
        ("pairs:prompts=0", r"prompts must be a whole number in \[1, 3000\], got 0"),
        ("pairs:prompts=3001", r"prompts must be a whole number in \[1, 3000\], got 3001"),
        ("clips:clips=0", r"clips must be a whole number in \[1, 100000\], got 0"),
        ("clips:clips=100001", r"clips must be a whole number in \[1, 100000\], got 100001"),
        ("captions:pictures=0", r"pictures must be a whole number in \[1, 100000\], got 0"),
        ("captions:pictures=100001", r"pictures must be a whole number in \[1, 100000\], got 100001"),
        ("odd_one_out:prompts=0", r"prompts must be a whole number in \[1, 100000\], got 0"),
        ("odd_one_out:prompts=100001", r"prompts must be a whole number in \[1, 100000\], got 100001"),
        ("repeats:clips=0", r"clips must be a whole number in \[1, 100000\], got 0"),
        ("repeats:clips=100001", r"clips must be a whole number in \[1, 100000\], got 100001"),
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


FOUR = [
    Scenes(pictures=4),
    Captions(pictures=4),
    Pairs(prompts=4),
    OddOneOut(prompts=4),
    Clips(clips=4),
    Repeats(clips=4),
]


@pytest.mark.parametrize("task", FOUR, ids=repr)
def test_a_task_asks_about_as_many_pictures_as_its_option_says(task):
    assert {example.picture_id for example in task.examples()} == {"0", "1", "2", "3"}


def test_scenes_has_about_twelve_questions_a_picture():
    assert len(Scenes(pictures=100).first(None)) / 100 == pytest.approx(12, abs=1)


TYPES = {
    "scenes": {"existence", "counting", "naming", "location", "relation", "color", "background"},
    "pairs": {"which", "same"},
    "clips": {"direction", "change", "order"},
    "captions": {"caption"},
    "odd_one_out": {"odd"},
    "repeats": {"times"},
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_task_has_its_types(kind):
    assert {example.type for example in some(kind)} == TYPES[kind]


@pytest.mark.parametrize(
    ("kind", "count"),
    [("scenes", 1200), ("pairs", 250), ("clips", 400), ("odd_one_out", 200), ("repeats", 200)],
)
def test_no_answer_to_a_type_of_question_is_right_two_times_in_three(kind, count):
    answers = defaultdict(Counter)
    for example in fresh(kind, "validation", count):
        answers[example.type][example.answer] += 1
    assert {
        kind: max(each.values()) / each.total() < 2 / 3 for kind, each in answers.items()
    } == dict.fromkeys(TYPES[kind], True)


@pytest.fixture
def rendered(monkeypatch):
    """The seeds of the scenes that pairs draws, in order; every scene shows one thing, the next in line."""
    seeds = []

    def next_in_line(seed):
        seeds.append(seed)
        thing = Thing(scenes.NOUNS[len(seeds) % len(scenes.NOUNS)], None, (0, 0, 9, 9))
        return Scene(f"scene {seed}", (thing,), (), np.zeros(0), np.zeros(0))

    monkeypatch.setattr(pairs, "render", next_in_line)
    return seeds


def test_pairs_draws_no_scene_of_another_split_or_task_or_of_training(rendered):
    of = {}
    for split in SPLIT_NAMES:
        list(Pairs(prompts=3000, split=split).examples())
        of[split] = set(rendered)
        rendered.clear()
    assert min(len(seeds) for seeds in of.values()) > 6000
    assert of["validation"].isdisjoint(of["test"])
    others = {"trained": range(24_000), "read before": range(SPLITS["old_test"], SPLITS["test"])} | {
        split: range(SPLITS[split], SPLITS[split] + 100_000) for split in SPLIT_NAMES
    }
    for seeds in of.values():
        assert not [seed for seed in seeds for taken in others.values() if seed in taken]


def test_no_scene_is_in_two_prompts_of_pairs(rendered):
    list(Pairs(prompts=200).examples())
    assert len(rendered) == len(set(rendered))


def test_half_of_the_prompts_of_pairs_share_a_thing(rendered):
    asked = list(Pairs(prompts=600).examples())
    sharing = {example.picture_id for example in asked if (example.type, example.answer) == ("same", "yes")}
    assert len(sharing) / 600 == pytest.approx(0.5, abs=0.06)


def test_pairs_are_of_two_pictures_or_three(rendered):
    sizes = Counter(
        len(example.images) for example in Pairs(prompts=600).examples() if example.type == "which"
    )
    assert set(sizes) == {2, 3}


def test_the_pictures_of_a_prompt_are_those_that_were_drawn(rendered):
    for example in Pairs(prompts=20).examples():
        assert set(example.images) <= {f"scene {seed}" for seed in rendered}
        assert len(set(example.images)) == len(example.images)


def test_clips_gives_the_frames_as_so_many_images():
    assert {4, 8} <= {len(example.images) for example in some("clips")} <= {4, 5, 6, 7, 8}


def test_a_task_of_lmms_eval_says_that_it_needs_it(monkeypatch):
    monkeypatch.setattr("wordsight.tasks.lmms.find_spec", lambda name: None)
    lmms._manager.cache_clear()
    with pytest.raises(UsageError, match=r"pip install 'wordsight\[lmms-eval\]'"):
        tasks.make("lmms:pope")
