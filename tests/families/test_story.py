"""The story of a prompt, of every family: all tokens told of, on the picture or frame that they are of."""

import json

import pytest

from wordsight.explain.page import render_page
from wordsight.explain.panels import pictures
from wordsight.explain.record import ExplainRequest, explain_tokens
from wordsight.media.inputs import MediaInput
from wordsight.pruners.random import Random

CLIP = {"llava", "llava_next", "llava_next_video", "internvl"}
LOST_LAYERS = {"[CLS] attention", "[CLS] similarity"}


@pytest.fixture(scope="module")
def stories():
    return {}


@pytest.fixture
def told(request, vlm, media, stories):
    """The pictures or frames, and their story: told once."""
    key = request.node.callspec.id
    if key not in stories:
        shown = MediaInput.of(media)
        names = [f"{i}.png" for i in range(max(1, len(shown.pictures)))]
        asked = ExplainRequest(names=names, question="what is it?", pruners=[Random()], keeps=[0.3])
        stories[key] = shown, explain_tokens(vlm, shown, asked)
    return stories[key]


def test_every_token_but_line_breaks_is_told_of_on_its_own_panel(vlm, told):
    shown, story = told
    visual = vlm.encode(shown, "what is it?").visual
    cells = [cell for cell in visual.cell.tolist() if cell[3] >= 0]
    assert story["tokens"]["cell"] == cells
    assert all(len(values) == len(cells) for values in story["tokens"]["values"].values())
    together = 2 if shown.videos and "qwen" in vlm.model.config.model_type else 1
    assert [panel["frame"] for panel in story["panels"]] == list(range(0, len(shown.frames), together))
    for image, panel in enumerate(story["panels"]):
        for crop in panel["crops"]:
            places = {tuple(cell[2:]) for cell in cells if cell[:2] == [image, crop["crop"]]}
            assert places == {(y, x) for y in range(crop["rows"]) for x in range(crop["columns"])}
        left, top, right, bottom = panel["extent"]
        for box in (story["tokens"]["box"][i] for i, cell in enumerate(cells) if cell[0] == image):
            assert left - 1e-4 <= box[0] <= box[2] <= right + 1e-4
            assert top - 1e-4 <= box[1] <= box[3] <= bottom + 1e-4


def test_a_layer_that_the_tower_cannot_give_is_absent_with_the_reason(vlm, told):
    _, story = told
    kind = vlm.model.config.model_type
    absent = {row["label"]: row["why"] for row in story["absent"]}
    assert set(absent) - {"redundancy"} == (set() if kind in CLIP else LOST_LAYERS)
    for label in LOST_LAYERS & set(absent):
        assert "has no [CLS] token" in absent[label]


def test_the_page_of_a_story_holds_its_pictures_and_its_record(told):
    shown, story = told
    text = render_page(story, pictures(shown, story["panels"]))
    inside = json.loads(text.partition('id="record">')[2].partition("</script>")[0])
    assert [panel.pop("picture")[:15] for panel in inside["panels"]] == ["data:image/jpeg"] * len(
        story["panels"]
    )
    assert inside == story
