"""The tour of `wordsight demo`: its record, and what it writes."""

import json
from pathlib import Path

from PIL import Image

from wordsight._utils.records import checked
from wordsight.cli import tour
from wordsight.demo import QUESTIONS

PHOTOS = Path(__file__).parents[2] / "packages/wordsight-photos/src/wordsight_photos/pictures"


def test_the_record_of_the_tour_has_its_type_and_names_what_was_written(tmp_path, monkeypatch, embedded):
    monkeypatch.setattr(tour, "COMPARED", 1)
    monkeypatch.setattr(tour.VLM, "from_pretrained", lambda: embedded)
    monkeypatch.setattr(tour.photos, "is_installed", lambda: False)
    steps = []
    shown = tour.tour(tmp_path, notify=steps.append)
    record = shown.record
    assert checked(tour.DemoRecord, record, "the record") == record
    assert (record["format"], record["model"]) == (2, "demo")
    assert [(row["picture"], row["question"]) for row in record["answers"]] == [
        (picture, question) for picture, questions in QUESTIONS.items() for question in questions
    ]
    assert all(list(row["answers"]) == list(tour.KEEPS) for row in record["answers"])
    (picture,) = record["pictures"]
    with Image.open(picture) as drawn:
        assert drawn.width > 3 * drawn.height * 0.8, "three pictures side by side"
    with open(record["results"]) as file:
        assert json.load(file)["rows"] == json.loads(json.dumps(record["rows"]))
    assert [step.split()[0] for step in steps] == ["asking", "reading", "comparing"]


def test_the_tour_shows_photos_where_their_model_is_installed(tmp_path, monkeypatch, embedded):
    asked = []

    def load(name="demo"):
        asked.append(name)
        return embedded

    monkeypatch.setattr(tour, "COMPARED", 1)
    monkeypatch.setattr(tour.photos, "is_installed", lambda: True)
    monkeypatch.setattr(tour.photos, "pictures", lambda: PHOTOS)
    monkeypatch.setattr(tour.VLM, "from_pretrained", load)
    record = tour.tour(tmp_path, notify=lambda step: None).record
    assert asked == ["demo", "demo-photos"]
    assert record["model"] == "demo-photos"
    assert {row["picture"] for row in record["answers"]} == {path.name for path in PHOTOS.glob("*.png")}
    assert record["rows"][0]["model"] == "demo"
