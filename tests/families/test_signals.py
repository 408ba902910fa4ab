"""Signals of the vision tower: those of its own eager attention, and of the token beside which they lie."""

import pytest
import torch
from painting import crops, painted

from wordsight import Video
from wordsight.explain import drawing

QUESTION = "what color is the cat?"


@pytest.fixture
def tower(vlm):
    found = vlm.family.tower(vlm.model)
    if found is None:
        pytest.skip("its tower gives no signals yet")
    return found


@pytest.fixture
def collected(vlm, tower):
    """A function that encodes with all signals of the tower."""

    def encode(shown):
        return vlm.encode(shown, QUESTION, collect=tower.signals).visual

    return encode


@pytest.fixture
def raw(vlm, tower, media):
    """The signals of the tower's own patches, and what its layers' eager attention says: weights and keys."""
    said = {}
    hooks = [
        layer.register_forward_hook(lambda module, _, output: said.update({module: output[1]}))
        for layer in tower.attentions
    ]
    last = tower.attentions[-1 if tower.state in (None, -1) else tower.state]
    key = last.k_norm if hasattr(last, "k_norm") else last.k_proj
    hooks.append(key.register_forward_hook(lambda module, _, output: said.update({"key": output})))
    usual = tower.module.config._attn_implementation
    tower.module.set_attn_implementation("eager")
    with tower.collecting() as signals:
        vlm.encode(media, QUESTION)
    tower.module.set_attn_implementation(usual)
    for hook in hooks:
        hook.remove()
    return signals, said, last


def received(tower, weights):
    """By loops over pictures and patches, of weights (pictures, heads, queries, keys)."""
    found = []
    for picture in weights:
        for patch in range(int(tower.has_cls), picture.shape[-1]):
            column = picture[:, 0, patch] if tower.has_cls else picture[:, :, patch]
            found.append(column.mean())
    return torch.stack(found)


def test_attention_is_what_the_towers_own_eager_attention_says(tower, raw):
    signals, said, last = raw
    torch.testing.assert_close(signals["cls_attention"], received(tower, said[last]), rtol=1e-4, atol=1e-6)
    first = received(tower, said[tower.attentions[0]])
    torch.testing.assert_close(signals["cls_attention_first"], first, rtol=1e-4, atol=1e-6)


def test_keys_are_those_of_the_layer_that_is_projected(tower, raw):
    signals, said, _ = raw
    patches = said["key"][:, int(tower.has_cls) :].flatten(0, 1)
    torch.testing.assert_close(signals["keys"].flatten(1), patches)


def test_line_breaks_have_no_signal(collected, media):
    tokens = collected(media)
    assert not any(signal[tokens.is_break].any() for signal in tokens.signals.values())


def moves_own_row(shown, before, encode_changed, image):
    """For some tokens of a picture: whether painting its box moves its own row of the features most."""
    for rows in crops(before, image):
        where = drawing.boxes(shown, before.take(rows))
        for i in range(0, len(rows), max(1, len(rows) // 5)):
            left, top, right, bottom = where[i]
            if right - left < 2 or bottom - top < 2:
                continue  # padding beside the picture
            after = encode_changed(painted(shown, where[i]))
            moved = (after.signals["features"] - before.signals["features"]).norm(dim=-1)
            yield int(rows[moved[rows].argmax()]) == int(rows[i])


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (64, 64)])
def test_a_signal_is_of_the_token_in_whose_box_the_picture_changed(vlm, collected, picture, size):
    shown = picture(*size, 3)
    found = list(moves_own_row(shown, collected(shown), collected, 0))
    assert found
    assert all(found)


def test_a_signal_is_of_the_second_picture_and_its_token(vlm, collected, picture):
    first, second = picture(64, 64, 4), picture(96, 64, 5)
    found = list(moves_own_row(second, collected([first, second]), lambda new: collected([first, new]), 1))
    assert found
    assert all(found)


def test_a_signal_is_of_the_frame_and_its_token(vlm, collected, picture):
    frames = [picture(96, 64, seed) for seed in range(4)]

    def film(second):
        return collected(Video.of([frames[0], second, *frames[2:]], fps=2))

    found = list(moves_own_row(frames[1], film(frames[1]), film, 1))
    assert found
    assert all(found)
