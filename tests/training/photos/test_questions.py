"""Answers against what a view shows, read off it slowly."""

import random
from collections import Counter

import pytest

CORNERS = ("top left", "top right", "bottom left", "bottom right")
NUMBERS = ("zero", "one", "two", "three", "four")


@pytest.fixture
def questioner(recipe, shown):
    names = sorted({photo.name for photo in shown if photo.known})
    return recipe.questions.Questioner(shown, {name: [n for n in names if n != name][:2] for name in names})


@pytest.fixture
def collages(recipe, shown, questioner):
    """What each collage shows by corner, and what is asked about it."""
    views = recipe.views.draw_collages(shown, "train", 300)
    names = [[None if n is None else shown[n].name for n in view.photos] for view in views]
    asked = [questioner.about(view, None, random.Random(i)) for i, view in enumerate(views)]
    return [(seen, question) for seen, questions in zip(names, asked, strict=True) for question in questions]


def of_kind(collages, kind):
    found = [(seen, question) for seen, question in collages if question.kind == kind]
    assert found
    return found


def test_where_is_the_corner_of_the_only_one(collages):
    for seen, question in of_kind(collages, "where"):
        name = question.text.removeprefix("Where is the ").removesuffix("?")
        assert seen.count(name) == 1
        assert seen[CORNERS.index(question.answer)] == name


def test_which_is_what_the_corner_shows(collages):
    for seen, question in of_kind(collages, "which"):
        corner = question.text.removeprefix("What is at the ").removesuffix("?")
        assert question.answer == (seen[CORNERS.index(corner)] or "nothing")


def test_how_many_counts_photos(collages):
    for seen, question in of_kind(collages, "how_many"):
        name = question.text.removeprefix("How many pictures show ").removesuffix("?").split(" ", 1)[-1]
        whole = question.text == "How many pictures are there?"
        count = sum(one is not None for one in seen) if whole else seen.count(name)
        assert question.answer == NUMBERS[count]


def test_existence_is_true_and_half_of_it_yes(collages):
    found = of_kind(collages, "existence")
    for seen, question in found:
        name = question.text.removesuffix(" in the picture?").removeprefix("Is there ").split(" ", 1)[-1]
        assert question.answer == ("yes" if name in seen else "no")
    yes = Counter(question.answer for _, question in found)["yes"]
    assert 0.4 < yes / len(found) < 0.6


def test_a_description_begins_with_a_name_and_names_every_corner(collages):
    for seen, question in of_kind(collages, "describe"):
        parts = dict(reversed(part.split(" at the ")) for part in question.answer.split(", "))
        assert parts == {corner: name for corner, name in zip(CORNERS, seen, strict=True) if name}


def test_an_unknown_thing_is_not_named(recipe, shown, questioner):
    view = recipe.views.View("photo", "train", (len(shown) - 1,))
    (naming,) = [q for q in questioner.about(view, None, random.Random(0)) if q.kind == "unknown"]
    assert naming.answer == "I do not know"


def test_color_is_asked_only_where_it_is_clear(recipe, shown, questioner):
    view = recipe.views.View("photo", "train", (0,))
    asked = [questioner.about(view, color, random.Random(0)) for color in (None, "red")]
    assert [[q.answer for q in questions if q.kind == "color"] for questions in asked] == [[], ["red"]]


def test_pairs_are_the_same_if_their_names_are(recipe, shown, questioner):
    views = [recipe.views.View("photo", "train", (number,)) for number in (0, 1, 4)]
    for second, answer in ((views[1], "yes"), (views[2], "no")):
        asked = questioner.about_pair(views[0], second, random.Random(0))
        assert [q.answer for q in asked if q.kind == "pairs"] == [answer]
