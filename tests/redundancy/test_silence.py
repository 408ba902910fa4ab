"""What share of the tokens say nothing, counted by hand."""

import json

import pytest
import torch
from PIL import Image

from wordsight._utils.records import checked
from wordsight.errors import UsageError
from wordsight.redundancy import probe, silence
from wordsight.redundancy.silence import SilenceRecord, measure_silence, share_silent
from wordsight.reports.silence import silence_sentence


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two pictures of noise."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(2):
        pixels = torch.randint(
            256, (48, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(i)
        )
        Image.fromarray(pixels.numpy()).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


def test_the_share_is_that_of_the_divergences_below_the_floor():
    found = share_silent(torch.tensor([0, 1e-9, 0.019, 0.021, 0.1, 0.69, 0.69, 0.69]), 3)
    assert found == {"share": 0.375, "tokens": 8, "pictures": 3, "codebook_likely": True}


@pytest.mark.parametrize(("silent", "likely"), [(0, False), (24, False), (25, True), (100, True)])
def test_a_codebook_is_likely_to_beat_random_tokens_from_a_quarter_on(silent, likely):
    found = share_silent(torch.tensor([0.0] * silent + [0.3] * (100 - silent)), 20)
    assert found["codebook_likely"] is likely


def test_without_pictures_there_is_no_share(tiny):
    with pytest.raises(UsageError, match="expected visual tokens to ask, got none"):
        measure_silence(tiny, [])


def test_every_token_is_asked_where_a_picture_has_few(tiny, photos, monkeypatch):
    monkeypatch.setattr(silence, "SAMPLE", 144)
    probes = [probe.probe_tokens(tiny, tiny.encode(Image.open(path), probe.QUESTION)) for path in photos]
    quiet = sum(far < probe.NOISE_FLOOR for each in probes for far in each.blind_divergence.tolist())
    found = measure_silence(tiny, photos)
    assert (found["tokens"], found["pictures"]) == (288, 2)
    assert found["share"] == pytest.approx(quiet / 288)
    assert checked(SilenceRecord, json.loads(json.dumps(found)), "here") == found


def test_of_many_tokens_the_same_ones_are_drawn_again(tiny, photos):
    found = measure_silence(tiny, photos)
    assert found["tokens"] == 128
    assert measure_silence(tiny, photos) == found


def test_the_sentence_says_the_share_and_what_it_foretells():
    record = {"share": 0.594, "tokens": 1280, "pictures": 20, "codebook_likely": True}
    assert silence_sentence(record) == (
        "59% of 1280 tokens of 20 pictures say nothing: a codebook is likely to beat random tokens."
    )
    few = silence_sentence(record | {"pictures": 1, "codebook_likely": False})
    assert few.endswith(
        "unlikely to beat random tokens. What is found on one picture, fewer than 20, is not to be believed."
    )
