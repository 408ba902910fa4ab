"""The record of a prompt, of every family: all tokens, on the picture or frame that they are of."""

import json

import facts
import pytest

from wordsight.explain.page import render_page
from wordsight.explain.panels import pictures
from wordsight.explain.record import ExplainRequest, explain_tokens
from wordsight.media.inputs import MediaInput
from wordsight.pruners.random import Random

LOST_LAYERS = {"[CLS] attention", "[CLS] similarity"}


@pytest.fixture(scope="session")
def explained(mapped, media):
    """The pictures or frames, and their record."""
    opened = MediaInput.of(media)
    names = [f"{i}.png" for i in range(max(1, len(opened.pictures)))]
    asked = ExplainRequest(names=names, question="what is it?", pruners=[Random()], keeps=[0.3])
    return opened, explain_tokens(mapped, opened, asked)


def test_every_token_but_line_breaks_is_on_its_own_panel(vlm, explained):
    opened, record = explained
    visual = vlm.encode(opened, "what is it?").visual
    cells = [cell for cell in visual.cell.tolist() if cell[3] >= 0]
    assert record["tokens"]["cell"] == cells
    assert all(len(values) == len(cells) for values in record["tokens"]["values"].values())
    together = 2 if opened.videos and facts.kind(vlm) in facts.TWO_FRAMES else 1
    assert [panel["frame"] for panel in record["panels"]] == list(range(0, len(opened.frames), together))
    for image, panel in enumerate(record["panels"]):
        for crop in panel["crops"]:
            places = {tuple(cell[2:]) for cell in cells if cell[:2] == [image, crop["crop"]]}
            assert places == {(y, x) for y in range(crop["rows"]) for x in range(crop["columns"])}
        left, top, right, bottom = panel["extent"]
        for box in (record["tokens"]["box"][i] for i, cell in enumerate(cells) if cell[0] == image):
            assert left - 1e-4 <= box[0] <= box[2] <= right + 1e-4
            assert top - 1e-4 <= box[1] <= box[3] <= bottom + 1e-4


def test_a_layer_that_the_tower_cannot_give_is_absent_with_the_reason(vlm, explained):
    _, record = explained
    kind = facts.kind(vlm)
    absent = {row["label"]: row["why"] for row in record["missing"]}
    assert set(absent) - {"redundancy"} == (set() if kind in facts.CLS_SIGNALS else LOST_LAYERS)
    for label in LOST_LAYERS & set(absent):
        assert ("does not read signals" if kind in facts.NO_SIGNALS else "has no [CLS] token") in absent[
            label
        ]


def test_the_page_holds_the_pictures_and_the_record(explained):
    opened, record = explained
    text = render_page(record, pictures(opened, record["panels"]))
    inside = json.loads(text.partition('id="record">')[2].partition("</script>")[0])
    assert [panel.pop("picture")[:15] for panel in inside["panels"]] == ["data:image/jpeg"] * len(
        record["panels"]
    )
    assert inside == record
