"""Published methods that look at several layers of the tower, or at runs of tokens, against slow loops."""

import math
from dataclasses import replace

import pytest
import torch

from wordsight.errors import UsageError
from wordsight.pruners.flowcut import FlowCut
from wordsight.pruners.hiprune import HiPrune
from wordsight.pruners.holov import HoloV
from wordsight.pruners.vscan import VScan

COUNTS = (1, 2, 5, 13, 40, 63)


def cosine(a, b):
    return float(a.double() @ b.double() / a.double().norm() / b.double().norm())


def falling(items, value):
    return sorted(items, key=lambda i: -float(value[i]))


def slow_hiprune(tokens, count, alpha, middle):
    """Of a grid of eight by eight."""
    attention = tokens.signals["received_attention_by_layer"]
    anchors = falling(range(64), attention[:, middle])[: round(count * alpha / 5)]
    chosen = list(anchors)
    for down, right in ((0, -1), (0, 1), (-1, 0), (1, 0)):
        for anchor in anchors:
            row, column = anchor // 8 + down, anchor % 8 + right
            if 0 <= row < 8 and 0 <= column < 8 and row * 8 + column not in chosen:
                chosen.append(row * 8 + column)
    chosen = chosen[:count]
    rest = falling([i for i in range(64) if i not in chosen], attention[:, -1])
    return chosen + rest[: count - len(chosen)]


@pytest.mark.parametrize(
    ("alpha", "depth", "middle"), [(0.1, 9 / 24, 1), (0.5, 0.5, 2), (1.0, 0.0, 0), (0.0, 1.0, 5)]
)
def test_hiprune_agrees_with_its_rule(tokens, alpha, depth, middle):
    for count in COUNTS:
        kept = HiPrune(tokens=count, alpha=alpha, object_depth=depth).select(tokens).slot.tolist()
        assert kept == sorted(slow_hiprune(tokens, count, alpha, middle)), count


def test_hiprune_takes_no_neighbor_from_another_picture(tokens):
    """An anchor in the last row of the first picture of four rows, and in the first column."""
    cell = torch.tensor([[i // 32, 0, i % 32 // 8, i % 8] for i in range(64)])
    attention = torch.zeros(64, 2)
    attention[24, 0], attention[40:46, 1] = 1.0, torch.arange(6, 0, -1.0)
    two = replace(tokens, cell=cell, signals={"received_attention_by_layer": attention})
    kept = HiPrune(tokens=5, alpha=1.0, object_depth=0.5).select(two)
    assert kept.slot.tolist() == [16, 24, 25, 40, 41]


@pytest.mark.parametrize("width", [8, 7])
def test_hiprune_as_released_takes_neighbors_in_reading_order(tokens, width):
    """Across the edges of the picture: beside the first of a row is the last of the row above."""
    count = 64 // width * width
    cell = torch.tensor([[0, 0, i // width, i % width] for i in range(count)])
    few = replace(tokens.take(torch.arange(count)), cell=cell)
    attention = few.signals["received_attention_by_layer"]
    for kept in (5, 13, 40):
        anchors = falling(range(count), attention[:, 1])[: round(kept * 0.5 / 5)]
        chosen = {min(max(i + by, 0), count - 1) for i in anchors for by in (0, -1, 1, -width, width)}
        rest = falling(set(range(count)) - chosen, attention[:, -1])[: kept - len(chosen)]
        pruner = HiPrune.published(tokens=kept, alpha=0.5)
        assert pruner.select(few).slot.tolist() == sorted(chosen | {*rest}), kept


def slow_vscan(tokens, count, local, side):
    """Of a grid of eight by eight; which token each of the others is merged into."""
    attention = tokens.signals["cls_attention_by_layer"]
    windows = max(1, 8 // side)
    of = [min(i // 8 // side, windows - 1) * windows + min(i % 8 // side, windows - 1) for i in range(64)]
    wanted = int(count * local)
    chosen = []
    for limit in (math.ceil(wanted / windows**2), 64):
        for i in falling(range(64), attention[:, 1]):
            if len(chosen) < wanted and i not in chosen and sum(of[j] == of[i] for j in chosen) < limit:
                chosen.append(i)
    rest = falling([i for i in range(64) if i not in chosen], attention[:, -1])
    kept = chosen + rest[: count - len(chosen)]
    members = {i: [i] for i in kept}
    for i in range(64):
        if i not in kept:
            members[max(kept, key=lambda j: cosine(tokens.embeds[i], tokens.embeds[j]))].append(i)
    return {i: tokens.embeds[group].mean(0) for i, group in members.items()}


@pytest.mark.parametrize(("local", "side"), [(0.5, 6), (0.5, 3), (1.0, 4), (0.0, 4)])
def test_vscan_agrees_with_its_rule(tokens, local, side):
    for count in COUNTS:
        expected = slow_vscan(tokens, count, local, side)
        kept = VScan(tokens=count, local=local, window=side).select(tokens)
        assert kept.slot.tolist() == sorted(expected), count
        torch.testing.assert_close(kept.embeds, torch.stack([expected[i] for i in sorted(expected)]))


def test_vscan_keeps_something_of_every_window_early_on(tokens):
    """The early layer attends to the first rows only: four windows of four by four get one token each."""
    attention = torch.zeros(64, 4)
    attention[:, 0], attention[:, 3] = torch.arange(64, 0, -1.0), torch.arange(64.0)
    fixed = replace(tokens, signals={"cls_attention_by_layer": attention})
    kept = VScan(tokens=8, window=4, local_depth=0.25).select(fixed)
    assert kept.slot.tolist() == [0, 4, 32, 36, 60, 61, 62, 63]


def slow_flowcut(tokens, count, momentum):
    names = ("cls_attention_by_layer", "value_similarity_by_layer", "value_norm_by_layer")
    attention, alike, size = (tokens.signals[name].double().tolist() for name in names)
    left, flow = list(range(64)), {}
    for layer in range(5):  # the sixth is projected
        if len(left) == count:
            break
        paid, near = (sum(values[i][layer] for i in left) for values in (attention, alike))
        for i in left:
            score = (attention[i][layer] / paid + alike[i][layer] / near) * size[i][layer]
            flow[i] = momentum * flow[i] + (1 - momentum) * score if layer else score
        later = 4 - layer
        if later % 2:
            continue
        shares = [attention[i][layer] / paid for i in left]
        entropy = -sum(share * math.log(share) for share in shares) / math.log(len(left))
        going = (len(left) - count) / math.sqrt(later) * (1 - entropy**2) if later else len(left)
        left = sorted(falling(left, flow)[: max(len(left) - round(going), count)])
    return left


@pytest.mark.parametrize("momentum", [0.5, 0.0])
def test_flowcut_agrees_with_its_rule(tokens, momentum):
    signals = dict(tokens.signals)
    # Attention that is concentrated, so that layers in the middle drop something.
    signals["cls_attention_by_layer"] = (signals["cls_attention_by_layer"].log() * 3).softmax(0)
    sharp = replace(tokens, signals=signals)
    for count in COUNTS:
        kept = FlowCut(tokens=count, momentum=momentum).select(sharp).slot.tolist()
        assert kept == slow_flowcut(sharp, count, momentum), count


def test_flowcut_of_even_attention_waits_for_the_layer_before_the_projected_one(tokens):
    """Worked by hand: 4 tokens, 4 layers; nothing goes in the first, whose scores count a quarter at last."""
    sizes = torch.tensor([[8.0, 1, 1, 0], [0, 4, 1, 0], [1, 1, 5, 0], [0, 0, 1, 9]])
    signals = {
        "cls_attention_by_layer": torch.full((4, 4), 0.25),
        "value_similarity_by_layer": torch.full((4, 4), 0.25),
        "value_norm_by_layer": sizes,
    }
    few = replace(tokens.take(torch.arange(4)), signals=signals)
    # Half of .25 * size twice: 8/4 + 1/4 + 1/2, 0 + 4/4 + 1/2, 1/4 + 1/4 + 5/2, 0 + 0 + 1/2 (all halved).
    assert FlowCut(tokens=1).select(few).slot.tolist() == [2]
    assert FlowCut(tokens=2).select(few).slot.tolist() == [0, 2]
    assert FlowCut(tokens=3).select(few).slot.tolist() == [0, 1, 2]


def slow_holov(tokens, count, crops, variety):
    """The budget is given out to runs one token after another, as far as they have tokens."""
    attention = tokens.signals["cls_attention"].double().tolist()
    runs, start = [], 0
    for p in range(crops):
        size = 64 // crops + (p < 64 % crops)
        runs.append(list(range(start, start + size)))
        start += size
    worth = []
    for run in runs:
        if len(run) == 1:
            worth.append(attention[run[0]])
            continue
        rest = len(run) - 1
        varied = []
        for i in run:
            row = [cosine(tokens.embeds[i], tokens.embeds[j]) if i != j else 0.0 for j in run]
            varied.append(sum((value - sum(row) / rest) ** 2 for value in row) / rest)
        paid = [attention[i] * 1000 for i in run]
        scale = (sum(paid) / len(run)) / (sum(varied) / len(run) + 1e-6)
        scores = [a + variety * v * scale for a, v in zip(paid, varied, strict=True)]
        worth.append(sum(scores) / len(run))
    counts = [math.floor(w / sum(worth) * count) for w in worth]
    for p in falling(range(crops), worth)[: count - sum(counts)]:
        counts[p] += 1
    return [falling(run, attention)[:share] for run, share in zip(runs, counts, strict=True)]


@pytest.mark.parametrize(("crops", "variety"), [(16, 0.09), (5, 0.0), (10, 3.0), (1, 0.09)])
def test_holov_agrees_with_its_rule(tokens, crops, variety):
    for count in (1, 2, 5, 13, 25):
        runs = slow_holov(tokens, count, crops, variety)
        kept = HoloV(tokens=count, crops=crops, variety=variety).select(tokens).slot.tolist()
        expected = sorted(i for run in runs for i in run)
        assert set(expected) <= set(kept), count
        assert len(kept) == count
        released = HoloV.published(tokens=count, crops=crops, variety=variety).select(tokens)
        assert released.slot.tolist() == expected, count


def test_holov_gives_to_others_what_a_run_cannot_take(tokens):
    """Two runs of two, of which one gets all attention but is full with two."""
    few = replace(
        tokens.take(torch.arange(4)), signals={"cls_attention": torch.tensor([0.5, 0.49, 0.006, 0.004])}
    )
    assert HoloV(tokens=3, crops=2).select(few).slot.tolist() == [0, 1, 2]
    assert HoloV.published(tokens=3, crops=2).select(few).slot.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("make", "option", "value"),
    [
        (HiPrune, "alpha", 1.5),
        (HiPrune, "object_depth", -0.1),
        (VScan, "local", 2),
        (VScan, "window", 0),
        (FlowCut, "momentum", 1.1),
        (HoloV, "crops", 0),
        (HoloV, "variety", -1),
    ],
)
def test_an_option_out_of_range_is_refused(make, option, value):
    with pytest.raises(UsageError, match=f"{option} must be .* got {value}"):
        make(**{option: value})
