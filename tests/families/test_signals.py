"""Signals of the vision tower: those of its own eager attention, and of the token beside which they lie."""

import sys
from collections import defaultdict

import facts
import pytest
import torch
from painting import crops, painted

from wordsight import UsageError, Video
from wordsight.models import vision_tower as towers
from wordsight.reports import drawing

QUESTION = "what color is the cat?"


@pytest.fixture
def tower(vlm):
    found = vlm.family.tower(vlm.model)
    assert (found is None) == (facts.kind(vlm) in facts.NO_SIGNALS)
    if found is None:
        pytest.skip("no machine runs it: its tower gives no signals")
    return found


@pytest.fixture
def collected(vlm, tower):
    """A function that encodes with all signals of the tower."""

    def encode(media):
        return vlm.encode(media, QUESTION, signals=tower.signals).visual

    return encode


def blocks(mask, length):
    """Where the patches of one picture attend to each other alone, as a mask (1, 1, L, L) of numbers says."""
    seen = torch.zeros(length, length) if mask is None else mask[0, 0]
    starts = [i for i in range(length) if i == 0 or seen[i, i - 1] < 0]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], length], strict=True)]


@pytest.fixture
def raw(vlm, tower, media, monkeypatch):
    """The signals of the tower's own patches, and what its layers' eager attention says: queries, keys and
    weights of every call (Qwen: one for each picture, frame or window), the keys of the layer that is
    projected and of the last one, and the former.
    """
    said = defaultdict(list)
    source = sys.modules[type(tower.attentions[0]).__module__]
    eager = source.eager_attention_forward

    def recorded(layer, query, key, value, *inputs, **options):
        output, weights = eager(layer, query, key, value, *inputs, **options)
        for block in blocks(inputs[0] if inputs else options.get("attention_mask"), query.shape[2]):
            said[layer].append((query[:, :, block], key[:, :, block], weights[:, :, block, block]))
            said[layer, "value"].append(value[:, :, block])
        return output, weights

    def record_keys(layer, name):
        def keys(module, _, output):
            part = output.chunk(3, -1)[1] if module is getattr(layer, "qkv", None) else output
            said[name] = part.reshape(-1, *part.shape[-2:])

        key = next(getattr(layer, name) for name in ("qkv", "k_norm", "k_proj") if hasattr(layer, name))
        return key.register_forward_hook(keys)

    projected = tower.attentions[-1 if tower.state in (None, -1) else tower.state]
    hooks = [record_keys(projected, "keys"), record_keys(tower.attentions[-1], "keys_last")]
    monkeypatch.setattr(source, "eager_attention_forward", recorded)
    usual = tower.module.config._attn_implementation
    tower.module.set_attn_implementation("eager")
    with tower.collect_signals(tower.signals) as signals:
        vlm.encode(media, QUESTION)
    tower.module.set_attn_implementation(usual)
    for hook in hooks:
        hook.remove()
    return signals, said, projected


def received(tower, calls):
    """By loops over calls, pictures and patches, of weights (pictures, heads, queries, keys)."""
    found = []
    for weights in calls:
        for picture in weights:
            for patch in range(int(tower.has_cls), picture.shape[-1]):
                column = picture[:, 0, patch] if tower.has_cls else picture[:, :, patch]
                found.append(column.mean())
    return torch.stack(found)


def test_attention_is_that_of_the_towers_own_eager_attention(tower, raw):
    signals, said, projected = raw
    weights = [weights for _, _, weights in said[projected]]
    torch.testing.assert_close(signals["cls_attention"], received(tower, weights), rtol=1e-4, atol=1e-6)
    weights = [weights for _, _, weights in said[tower.attentions[0]]]
    first = received(tower, weights)
    torch.testing.assert_close(signals["cls_attention_first"], first, rtol=1e-4, atol=1e-6)


def up_to_projected(tower, last):
    """The layers whose signals are collected, in order."""
    return tower.attentions[: list(tower.attentions).index(last) + 1]


def test_signals_of_every_layer_are_those_of_its_own_eager_attention(tower, raw):
    signals, said, last = raw
    layers = [[weights for _, _, weights in said[layer]] for layer in up_to_projected(tower, last)]
    expected = torch.stack([received(tower, weights) for weights in layers], -1)
    torch.testing.assert_close(signals["cls_attention_by_layer"], expected, rtol=1e-4, atol=1e-6)
    found = [
        picture.mean((0, 1))[int(tower.has_cls) :] for calls in layers for call in calls for picture in call
    ]
    expected = torch.cat(found).reshape(len(layers), -1).T
    torch.testing.assert_close(signals["received_attention_by_layer"], expected, rtol=1e-4, atol=1e-6)


def test_values_are_those_of_every_layers_own_attention(tower, raw):
    """By loops over calls, pictures, heads and patches."""
    signals, said, last = raw
    norms, alike = [], []
    for layer in up_to_projected(tower, last):
        for picture in (picture for call in said[layer, "value"] for picture in call.transpose(1, 2)):
            norms += [float(patch.mean(0).abs().sum()) for patch in picture[int(tower.has_cls) :]]
            center = picture[0] if tower.has_cls else picture.mean(0)
            heads = [(picture[:, head] @ center[head]).softmax(0) for head in range(picture.shape[1])]
            alike += torch.stack(heads).mean(0)[int(tower.has_cls) :].tolist()
    layers = len(up_to_projected(tower, last))
    for name, values in (("value_norm_by_layer", norms), ("value_similarity_by_layer", alike)):
        expected = torch.tensor(values).reshape(layers, -1).T
        torch.testing.assert_close(signals[name], expected, rtol=1e-4, atol=1e-6)


def test_the_layers_of_a_tower_are_all_that_attend_in_it(tower, raw):
    _, said, _ = raw
    inside = set(tower.module.modules())
    assert [layer for layer in said if layer in inside] == list(tower.attentions)


def test_undivided_attention_is_that_of_all_heads_of_the_last_layer_as_one(tower, raw):
    signals, said, _ = raw
    weights = []
    for query, key, _ in said[tower.attentions[-1]]:
        query, key = (part.transpose(1, 2).flatten(2) for part in (query, key))  # (pictures, patches, C)
        weights.append((query @ key.mT / query.shape[-1] ** 0.5).softmax(-1)[:, None])
    expected = received(tower, weights)
    torch.testing.assert_close(signals["cls_attention_undivided"], expected, rtol=1e-4, atol=1e-6)


def test_keys_are_those_of_the_layer_that_is_projected_and_of_the_last(tower, raw):
    signals, said, _ = raw
    for name in ("keys", "keys_last"):
        patches = said[name][:, int(tower.has_cls) :].flatten(0, 1)
        torch.testing.assert_close(signals[name].flatten(1), patches)


@pytest.mark.parametrize("name", sorted(facts.MERGING))
def test_a_signal_is_the_mean_of_what_the_tower_merges_into_the_token(loaded, monkeypatch, media, name):
    vlm = loaded(name)
    merger = vlm.model.model.visual.merger
    monkeypatch.setattr(merger, "forward", lambda patches: patches.unflatten(0, (-1, 4)).mean(1))
    tokens = vlm.encode(media, QUESTION, signals=frozenset({"features"})).visual
    torch.testing.assert_close(tokens.signals["features"], tokens.embeds)


@pytest.mark.parametrize("name", sorted(facts.MERGING))
def test_attention_computed_in_parts_is_the_same(loaded, monkeypatch, media, name):
    vlm = loaded(name)
    collect = vlm.family.signals(vlm.model)
    whole = vlm.encode(media, QUESTION, signals=collect).visual.signals
    monkeypatch.setattr(towers, "QUERIES", 7)
    torch.testing.assert_close(dict(vlm.encode(media, QUESTION, signals=collect).visual.signals), dict(whole))


def test_a_tower_that_fails_leaves_no_hooks_behind(vlm, collected, monkeypatch, picture):
    def count():
        modules = list(vlm.model.modules())
        return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in modules)

    def fail(*inputs, **options):
        raise RuntimeError("no")

    collected(picture(64, 64, 0))  # transformers registers hooks of its own the first time
    before = count()
    last = vlm.family.tower(vlm.model).attentions[-1]
    with monkeypatch.context() as patch:
        patch.setattr(last, "forward", fail)
        with pytest.raises(UsageError, match="RuntimeError: no"):
            collected(picture(64, 64, 0))
    assert count() == before


def test_line_breaks_have_no_signal(collected, media):
    tokens = collected(media)
    assert not any(signal[tokens.is_break].any() for signal in tokens.signals.values())


def moves_own_row(media, before, encode_changed, image):
    """For some tokens of a picture: whether painting its box moves its own row of the features most."""
    for rows in crops(before, image):
        where = drawing.boxes(media, before.take(rows))
        for i in range(0, len(rows), max(1, len(rows) // 5)):
            left, top, right, bottom = where[i]
            if right - left < 2 or bottom - top < 2:
                continue  # padding beside the picture
            after = encode_changed(painted(media, where[i]))
            moved = (after.signals["features"] - before.signals["features"]).norm(dim=-1)
            yield int(rows[moved[rows].argmax()]) == int(rows[i])


@pytest.mark.parametrize("size", [(96, 64), (64, 96), (64, 64)])
def test_a_signal_is_of_the_token_in_whose_box_the_picture_changed(vlm, collected, picture, size):
    media = picture(*size, 3)
    found = list(moves_own_row(media, collected(media), collected, 0))
    assert found
    assert all(found)


def test_a_signal_is_of_the_second_picture_and_its_token(vlm, collected, picture):
    first, second = picture(64, 64, 4), picture(96, 64, 5)
    found = list(moves_own_row(second, collected([first, second]), lambda new: collected([first, new]), 1))
    assert found
    assert all(found)


def test_a_signal_is_of_the_frame_and_its_token(vlm, collected, picture):
    frames = [picture(96, 64, seed) for seed in range(4)]
    stride = 4 // (int(collected(Video.of(frames, fps=2)).cell[:, 0].max()) + 1)
    assert stride == (2 if facts.kind(vlm) in facts.TWO_FRAMES else 1)  # Qwen reads two frames as one

    def film(second):
        return collected(Video.of([*frames[:stride], *[second] * stride, *frames[2 * stride :]], fps=2))

    found = list(moves_own_row(frames[stride], film(frames[stride]), film, 1))
    assert found
    assert all(found)
