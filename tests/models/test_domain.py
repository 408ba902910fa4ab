"""Which pictures a model does not know: the distance by hand, and what is said, where, of which picture."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from wordsight import VLM, cli, demo
from wordsight._utils.notes import listen_to_notes
from wordsight.errors import FileError
from wordsight.explain.page import render_page
from wordsight.explain.panels import pictures
from wordsight.explain.record import ExplainRequest, explain_tokens
from wordsight.media.inputs import MediaInput
from wordsight.models.domain import FILE, Domain
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.divprune import DivPrune

QUESTION = "what is the background?"
LINE = "the picture is unlike those that this model was trained on: it knows 46 rendered things"


@pytest.fixture
def noise():
    return Image.fromarray(np.random.default_rng(5).integers(0, 256, (200, 300, 3), dtype=np.uint8))


@pytest.fixture
def photo():
    """As a lens would have it: light that fades from a corner, a blurred ball, and the grain of film."""
    y, x = np.mgrid[0:1:240j, 0:1:320j]
    light = 60 + 120 * x * (1 - y) + 70 * np.exp(-30 * ((x - 0.4) ** 2 + (y - 0.6) ** 2))
    grain = np.random.default_rng(6).normal(0, 4, (240, 320, 1))
    return Image.fromarray(np.clip(light[..., None] * [1.0, 0.9, 0.7] + grain, 0, 255).astype(np.uint8))


def test_the_distance_is_that_of_means_and_deviations_along_the_direction_picture_by_picture():
    embeds = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0], [9.0, 9.0]])
    cell = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, -1]])  # the last is a line break
    tokens = VisualTokens(embeds, torch.arange(4), cell)
    known = Domain(torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([1.0, 2.0, 3.0, 0.5]), 1.9, "two things")
    # Of the first: means 2 and 2, deviations 1 and 2; of the second, one token: 0 and 2, and no deviations.
    assert known.distances(tokens).tolist() == [1 + 2 + 0 + 1, -1 + 2 - 3 + 0]
    assert "knows two things" in known.warning(tokens)
    assert known.warning(tokens.take(torch.tensor([2]))) is None
    assert known.warning(tokens.take(torch.tensor([], dtype=torch.long))) is None


def test_pictures_of_its_own_kind_are_known_and_others_are_not(embedded, noise, photo):
    for name in demo.QUESTIONS:
        assert embedded.answer(demo.PICTURES / name, QUESTION).warning is None
    for other in (noise, photo, [demo.PICTURES / "garden.png", photo]):
        assert embedded.answer(other, QUESTION, pruner=DivPrune(keep=0.1)).warning.startswith(LINE)


@pytest.fixture
def folder(photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo.save("photo.png")


def test_ask_says_it_once_beside_the_answers_and_in_the_record(run, embedded, monkeypatch):
    monkeypatch.setattr(cli.ask, "load_vlm", lambda name, options=None: embedded)
    code, out, err = run("ask", "photo.png", QUESTION, "--then", QUESTION, "--json")
    assert code == 0
    assert err.count(LINE) == 1
    assert json.loads(out)["warning"].startswith(LINE)
    assert LINE not in run("ask", str(demo.PICTURES / "garden.png"), QUESTION)[2]


def test_the_record_of_explain_has_it_as_has_the_page(embedded, photo):
    notes, media = [], MediaInput.of(photo)
    with listen_to_notes(notes.append):
        record = explain_tokens(embedded, media, ExplainRequest(names=["photo"], pruners=[], keeps=[0.2]))
    page = render_page(record, pictures(media, record["panels"]))
    assert notes == [record["warning"]]
    assert f'<p id="warning">Note: {LINE}' in page
    assert 'id="warning"' not in render_page({**record, "warning": None}, pictures(media, record["panels"]))


def test_nothing_is_said_for_a_model_without_the_file_and_a_damaged_one_is_a_sentence(saved, noise, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "model")
    assert VLM.from_pretrained(str(folder)).answer(noise, QUESTION, max_new_tokens=1).warning is None
    (folder / FILE).write_text((demo.MODEL / FILE).read_text().replace("46", "47"))
    with pytest.raises(FileError, match=r"damaged or edited\): delete it, and nothing is said of pictures"):
        VLM.from_pretrained(str(folder))
