"""Signals of the vision tower belong to the tokens beside which they lie."""

import pytest
import torch

from wordsight.families.llava import SIGNALS

QUESTION = "what color is the cat?"


@pytest.fixture
def tokens(vlm, media):
    if not vlm.signals >= SIGNALS:
        pytest.skip("its tower gives no signals yet")
    return vlm.encode(media, QUESTION, collect=SIGNALS).visual


def test_the_projected_features_are_the_tokens(vlm, media, tokens):
    shows = ~tokens.is_break
    with torch.no_grad():
        projected = vlm.family.projector(vlm.model)(tokens.signals["features"])
    if tokens.cell[:, 0].max() == 3 and vlm.model.config.model_type == "llava_next_video":
        return  # frames are pooled after the projector: the features' mean is another point
    torch.testing.assert_close(projected[shows], tokens.embeds[shows], rtol=1e-4, atol=1e-4)


def test_signals_are_of_the_same_patches_as_the_features(vlm, media, tokens):
    """Noise has no two patches with one feature: by it each token finds its row among those of the tower."""
    with vlm.family.collecting(vlm.model, SIGNALS) as raw:
        vlm.encode(media, QUESTION)
    shows = ~tokens.is_break
    for name in SIGNALS - {"features"}:
        assert not tokens.signals[name][~shows].any()
    same = (raw["features"][:, None] == tokens.signals["features"][shows][None]).all(-1)  # (rows, N)
    if not same.any():
        assert vlm.model.config.model_type == "llava_next_video"  # pooled
        means = raw["cls_attention"].reshape(4, 2, 2, 2, 2).mean((2, 4)).flatten()
        torch.testing.assert_close(tokens.signals["cls_attention"], means)
        return
    assert (same.sum(0) == 1).all()
    rows = same.int().argmax(0)
    for name in SIGNALS - {"features"}:
        assert torch.equal(tokens.signals[name][shows], raw[name][rows])
