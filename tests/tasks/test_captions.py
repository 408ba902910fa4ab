"""Captions are scored by what they name: by hand, and against lists matched one by one."""

import re
from collections import Counter
from itertools import product

import pytest
from transformers import AutoTokenizer

import wordsight.demo
from wordsight.synthetic.questions import caption
from wordsight.synthetic.scenes import NOUNS, SPLITS, TEXTURES, Scene, Thing, render
from wordsight.tasks import captions
from wordsight.tasks.base import Example
from wordsight.tasks.captions import Captions, count_names

pytestmark = pytest.mark.usefixtures("plain_backgrounds")

TRAINED = range(24_000)  # the seeds of the scenes that train the embedded model


def contents(scene):
    """Everything there is to name in a scene, two dogs twice."""
    return [thing.label for thing in scene.things] + list(scene.backgrounds)


def test_the_reference_caption_names_all_there_is_and_nothing_else():
    for seed in range(400):
        scene = render(seed)
        assert count_names(caption(scene)) == Counter(contents(scene))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a cat, two dogs and a red star on grass", {"cat": 1, "dog": 2, "red star": 1, "grass": 1}),
        ("Two large RED stars; 3 small fish.", {"red star": 2, "fish": 3}),
        ("an owl and another owl", {"owl": 2}),
        ("a red circle and a star", {"red circle": 1, "star": 1}),
        ("a red and a blue circle", {"blue circle": 1}),
        ("a red, a circle", {"circle": 1}),
        ("a yellow banana", {"banana": 1}),
        ("dogs", {"dog": 1}),
        ("there are two things: a cat and a cow", {"cat": 1, "cow": 1}),
        ("two things, cat and cow", {"cat": 1, "cow": 1}),
        ("on sky and sky", {"sky": 1}),
        ("two bricks", {"brick": 1}),
        ("no cat, zero dogs, one cow", {"cow": 1}),
        ("In the image there is a cat. The cat sits on the grass.", {"cat": 1, "grass": 1}),
        ("the cat sees a cat", {"cat": 2}),
        ("two cats. the cats sleep. a cat.", {"cat": 3}),
        ("foxes, buses, butterflies, strawberries", {"fox": 1, "bus": 1, "butterfly": 1, "strawberry": 1}),
        ("a catfish in a bookcase, an unstarred category", {}),
        ("", {}),
    ],
)
def test_names_are_counted(text, found):
    assert +count_names(text) == Counter(found)


def test_the_plural_of_every_noun_is_known_as_the_references_and_as_others_write_it():
    odd = {
        "fox": "foxes",
        "bus": "buses",
        "butterfly": "butterflies",
        "strawberry": "strawberries",
        "fish": "fish",
    }
    for noun, (word, number) in product(NOUNS, (("two", 2), ("six", 6))):
        for plural in (f"{noun}s", odd.get(noun, f"{noun}s")):
            assert count_names(f"{word} {plural}") == {noun: number}, plural


def test_no_word_names_two_things():
    forms = {form: name for form, name in captions.NAMES.items() if form in (*NOUNS, *TEXTURES)}
    assert all(form == name for form, name in forms.items())
    assert len(forms) == len(NOUNS) + len(TEXTURES)


def score(true, said):
    return Captions().score(Example("x.png", "0", "describe the image.", true, "caption"), said)


TRUE = "a cat, two dogs and a red star on grass"  # five to name


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (TRUE, 1),
        ("On GRASS: a red star, a dog, a dog and a cat!", 1),
        ("a cat and a dog", 2 * 2 / (5 + 2)),
        ("two cats", 2 * 1 / (5 + 2)),
        ("a blue star on grass", 2 * 1 / (5 + 2)),
        ("a star on grass", 2 * 1 / (5 + 2)),
        ("a cat, two dogs, a red star and a pig on grass and sky", 2 * 5 / (5 + 7)),
        ("a cat, three dogs and a red star on grass", 2 * 5 / (5 + 6)),
        ("no pig, " + TRUE, 1),
        ("a pig on snow", 0),
        ("I cannot see the image", 0),
        ("", 0),
    ],
)
def test_the_score_is_the_f1_by_hand(said, expected):
    assert score(TRUE, said) == pytest.approx(expected)


def test_a_caption_of_another_scene_scores_as_lists_that_are_matched_one_by_one():
    drawn = [render(seed) for seed in range(60)]
    partial = 0
    for true, other in zip(drawn, [*drawn[1:], drawn[0]], strict=True):
        there, given = contents(true), contents(other)
        left, hits = list(there), 0
        for label in given:
            if label in left:
                left.remove(label)
                hits += 1
        precision, recall = hits / len(given), hits / len(there)
        f1 = 2 * precision * recall / (precision + recall) if hits else 0
        assert score(caption(true), caption(other)) == pytest.approx(f1)
        partial += 0 < f1 < 1
    assert partial > 5


def test_one_minus_precision_is_the_share_of_what_is_said_and_not_there():
    """CHAIR-i of the paper, where nothing is there twice and no color is wrong."""
    true, given = count_names("a cat and a dog on grass"), count_names("a cat, a pig and an owl on grass")
    assert 1 - (true & given).total() / given.total() == 2 / 4


def test_every_scene_of_the_split_is_described_once():
    for split in ("validation", "test"):
        examples = Captions(split=split, pictures=12).first(None)
        assert [example.question for example in examples] == ["describe the image."] * 12
        drawn = [render(SPLITS[split] + number) for number in range(12)]
        assert [example.answer for example in examples] == [caption(scene) for scene in drawn]
        assert [example.images.tobytes() for example in examples] == [
            scene.image.tobytes() for scene in drawn
        ]


def test_no_scene_of_training_or_of_the_other_split_is_described(monkeypatch):
    """Of all scenes that can be asked for, of which none is drawn here and no question is written."""
    seeds = []
    monkeypatch.setattr(captions, "render", seeds.append)
    monkeypatch.setattr(captions, "ask", lambda scene, seed: ())
    of = {}
    for split in ("validation", "test"):
        Captions(split=split, pictures=100_000).first(None)
        of[split] = set(seeds)
        seeds.clear()
    assert {len(found) for found in of.values()} == {100_000}
    assert of["validation"].isdisjoint(of["test"])
    assert not [seed for found in of.values() for seed in found if seed in TRAINED]


def test_the_longest_caption_takes_half_of_the_new_tokens():
    colors = ["red", "green", "blue", "yellow", "black", "gray"]
    things = tuple(Thing("rectangle", color, (i, 0, i + 1, 1)) for i, color in enumerate(colors))
    longest = caption(Scene(None, things, ("night", "water"), None, None))
    assert len(re.findall(r"\w+", longest)) == 6 * 3 + 5
    tokenizer = AutoTokenizer.from_pretrained(f"{wordsight.demo.__path__[0]}/model")
    assert 2 * len(tokenizer(longest).input_ids) <= Captions.max_new_tokens
