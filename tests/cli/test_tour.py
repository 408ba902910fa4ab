"""The tour of `wordsight demo`: its record, and what it writes."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from wordsight._utils.records import checked
from wordsight.cli import common, tour
from wordsight.demo import QUESTIONS
from wordsight.models.showcase import showcase

PHOTOS = Path(__file__).parents[2] / "packages/wordsight-photos/src/wordsight_photos/pictures"


def test_the_record_of_the_tour_has_its_type_and_names_what_was_written(tmp_path, monkeypatch, embedded):
    monkeypatch.setattr(tour, "COMPARED", 1)
    monkeypatch.setattr(tour.VLM, "from_pretrained", lambda: embedded)
    monkeypatch.setattr(tour.photos, "is_installed", lambda: False)
    steps = []
    shown = tour.tour(tmp_path, notify=steps.append)
    record = shown.record
    assert checked(tour.DemoRecord, record, "the record") == record
    assert (record["format"], record["model"]) == (3, "demo")
    assert [(row["picture"], row["question"], row["truth"]) for row in record["answers"]] == [
        (picture, *pair) for picture, questions in QUESTIONS.items() for pair in questions.items()
    ]
    for row in record["answers"]:
        assert [each["pruner"] for each in row["answers"]] == ["none", "divprune", "codebook"]
        assert [each["right"] for each in row["answers"]] == [
            each["said"] == row["truth"] for each in row["answers"]
        ]
        assert row["answers"][0]["right"], "choose a question that the embedded model answers right"
    (picture,) = record["pictures"]
    with Image.open(picture) as drawn:
        assert drawn.width > 3 * drawn.height * 0.8, "three pictures side by side"
    with open(record["results"]) as file:
        assert json.load(file)["rows"] == json.loads(json.dumps(record["rows"]))
    assert [step.split()[0] for step in steps] == ["asking", "reading", "comparing"]


@pytest.mark.parametrize(("book", "shown"), [("demo", ["codebook", "divprune"]), (None, ["divprune"])])
def test_the_tour_shows_photos_where_their_model_is_installed(book, shown, tmp_path, monkeypatch, embedded):
    asked = []

    def load(name="demo"):
        asked.append(name)
        return embedded

    monkeypatch.setattr(tour, "COMPARED", 1)
    monkeypatch.setattr(tour.photos, "is_installed", lambda: True)
    monkeypatch.setattr(tour.photos, "pictures", lambda: PHOTOS)
    monkeypatch.setattr(tour, "own_book", {"demo-photos": book}.get)
    asked_right = {"coffee.png": {"what is it?": embedded.answer(PHOTOS / "coffee.png", "what is it?").text}}
    monkeypatch.setattr(tour.photos, "QUESTIONS", {**tour.photos.QUESTIONS, **asked_right})
    monkeypatch.setattr(tour.VLM, "from_pretrained", load)
    record = tour.tour(tmp_path, notify=lambda step: None).record
    assert asked == ["demo", "demo-photos"]
    assert record["model"] == "demo-photos"
    assert {row["picture"] for row in record["answers"]} == {path.name for path in PHOTOS.glob("*.png")}
    for row in record["answers"]:
        if row["answers"][0]["right"]:
            assert [each["pruner"] for each in row["answers"]] == ["none", *shown]
    assert record["rows"][0]["model"] == "demo"


def row(pruner, accuracy, keep=0.1, low=None, high=None):
    return {
        "pruner": pruner,
        "keep": keep,
        "accuracy": accuracy,
        "unpruned": 0.96,
        "difference_to": {"random": [accuracy - 0.7, low, high]},
    }


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ((0.1, 0.3), "more than random tokens do, beyond chance"),
        ((-0.3, -0.1), "less than random tokens do, beyond chance"),
        ((-0.1, 0.3), "not told apart from random tokens"),
        ((None, None), "not told apart from random tokens"),
    ],
)
def test_a_conclusion_is_of_the_smallest_budget_and_its_interval(ends, verdict):
    rows = [row("random", 0.7), row("divprune", 0.5, 0.2, 0.1, 0.2), row("divprune", 0.94, 0.1, *ends)]
    said = tour.conclusion(rows, "divprune")
    assert said.startswith(
        f"With 10% of the tokens, divprune answers 94% of the questions right, which is {verdict}"
    )
    assert "(70%;" in said
    assert said.endswith("all tokens: 96%.")


def test_a_question_that_the_model_answers_wrong_is_left_out_and_counted(embedded):
    asked = {"garden.png": {"what color is the triangle?": "green", "is there a pig in the image?": "no"}}
    answers = tour._answers(embedded, replace(showcase("demo"), questions=asked))
    assert [len(each["answers"]) for each in answers] == [3, 1]
    table = tour._answer_table(answers)
    assert [cells[1] for cells in table.body] == ["what color is the triangle?"]
    assert "1 of 2 questions" in table.notes[0]


@pytest.mark.parametrize(
    ("place", "path", "called"),
    [
        ("env/bin", "", "env/bin/wordsight"),
        ("env/bin", "env/bin", "wordsight"),
        ("env with spaces/bin", "", "'env with spaces/bin/wordsight'"),
    ],
)
def test_a_command_to_go_on_with_names_the_environment_where_the_path_does_not(
    place, path, called, tmp_path, monkeypatch
):
    program = tmp_path / place / "wordsight"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    monkeypatch.setattr(sys, "executable", str(program.with_name("python")))
    monkeypatch.setenv("PATH", str(tmp_path / path) if path else "/nowhere")
    monkeypatch.chdir(tmp_path)
    assert common.program() == called
