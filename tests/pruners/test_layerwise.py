"""Every method inside the language model against what all promise, and each against slow code on what the
unpruned model tells.
"""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from wordsight import UsageError, pruners
from wordsight._utils import registry
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.pruners.dart import DART
from wordsight.pruners.fastv import FastV
from wordsight.pruners.layerwise import LayerPruner
from wordsight.pruners.pyramiddrop import PyramidDrop
from wordsight.pruners.sparsevlm import SparseVLM

QUESTION = "is there a cat or a dog in the garden?"


CLASSES = [registry.find(pruners, name, Pruner) for name in pruners.names()]
INSIDE = [cls for cls in CLASSES if issubclass(cls, LayerPruner)]
every_method = pytest.mark.parametrize("cls", INSIDE, ids=lambda cls: cls.__name__)
# What to keep, and how many of 144 tokens that is.
BUDGETS = [
    (0.001, 1),
    (0.05, 7),
    (1 / 3, 48),
    (0.99, 143),
    (1.0, 144),
    (1, 1),
    (5, 5),
    (143, 143),
    (999, 144),
]


@every_method
@pytest.mark.parametrize("budget", BUDGETS)
def test_the_budget_is_met_exactly_after_the_last_step(deep, steps, picture, cls, budget):
    keep, count = budget
    prompt = deep.encode(picture, QUESTION)
    found = [narrowed.visual.tolist() for _, narrowed in steps(cls(keep=keep), prompt)]
    assert all(places == sorted(set(places)) for places in found)
    planned = list(cls(keep=keep).plan(prompt.visual, 6).values())
    assert planned == sorted(planned, reverse=True)
    assert planned[-1] == count
    fewer = [after for before, after in pairwise([144, *planned]) if after < before]
    assert [len(places) for places in found] == fewer


@every_method
@pytest.mark.parametrize("keep", [1.0, 144, 1000])
def test_keep_all_leaves_the_logits_unchanged(deep, picture, cls, keep):
    prompt = deep.encode(picture, QUESTION)
    pruned = deep.logits([cls(keep=keep)(prompt)])
    torch.testing.assert_close(pruned, deep.logits([prompt]), atol=1e-5, rtol=0)


@every_method
def test_the_prompt_is_the_same_but_for_the_method(deep, picture, cls):
    prompt, method = deep.encode(picture, QUESTION), cls(keep=0.3)
    assert method(prompt) == replace(prompt, inside=method)
    assert method.prune(prompt.visual) is prompt.visual


@every_method
def test_the_same_prompt_gives_the_same_logits_twice(deep, picture, cls):
    prompt = cls(keep=0.25)(deep.encode(picture, QUESTION))
    assert torch.equal(deep.logits([prompt]), deep.logits([prompt]))


@every_method
@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_prompt_with_next_to_no_visual_tokens_is_read(deep, picture, cls, count):
    prompt = deep.encode(picture, QUESTION)
    few = replace(prompt, visual=prompt.visual.take(torch.arange(count)))
    torch.testing.assert_close(deep.logits([cls(keep=2)(few)]), deep.logits([few]), atol=1e-5, rtol=0)
    assert deep.logits([cls(keep=1)(few)]).isfinite().all()


@every_method
def test_bfloat16_is_pruned(deep, picture, monkeypatch, cls):
    half = VLM(type(deep.model)(deep.model.config).to(torch.bfloat16), deep.processor, "half")
    answer = half.answer(picture, QUESTION, pruner=cls(keep=0.25), max_new_tokens=3)
    assert answer.tokens_kept < 144


@every_method
@pytest.mark.parametrize("keep", [0.2, 12])
def test_the_repr_rebuilds_an_equal_method(cls, keep):
    method = cls(keep=keep)
    again = eval(repr(method), {cls.__name__: cls})
    assert again == method
    assert repr(again) == repr(method)
    assert replace(pruners.make(registry.spec(method)), keep=keep) == method


@every_method
@pytest.mark.parametrize("keep", [0, -1, 2.0, 0.0, float("nan"), "0.2", True, None])
def test_a_keep_out_of_range_is_refused_with_what_was_given(cls, keep):
    with pytest.raises(UsageError, match=rf"keep must be .* got {keep!r}"):
        cls(keep=keep)


@every_method
def test_positions_are_kept_and_nothing_else(cls):
    with pytest.raises(UsageError, match="positions must be 'original' or 'contiguous', got 'closed'"):
        cls(positions="closed")
    with pytest.raises(UsageError, match=f"positions=contiguous: {cls.__name__} drops tokens inside"):
        cls(positions="contiguous")


@pytest.fixture
def told(deep, picture, monkeypatch):
    """The prompt, the places of its visual tokens, and all that the unpruned model tells about it."""
    prompt = deep.encode(picture, QUESTION)
    monkeypatch.setattr(deep.model.config.text_config, "_attn_implementation", "eager")
    with torch.no_grad():
        output = deep.model(**prompt.inputs(), output_attentions=True, output_hidden_states=True)
    return SimpleNamespace(
        prompt=prompt,
        visual=prompt.is_visual.nonzero()[:, 0].tolist(),
        attentions=[layer[0] for layer in output.attentions],  # (H, L, L) each
        hidden=[states[0] for states in output.hidden_states],  # (L, D), what each layer reads
        keys=[layer.keys[0] for layer in output[deep.cache_name].layers],  # (G, L, width)
    )


@pytest.fixture
def steps(deep, monkeypatch):
    """A function that runs a method and returns what it found at each of its steps."""

    def run(method, prompt):
        found, narrow = [], type(method).prune_layer
        with monkeypatch.context() as patch:
            patch.setattr(
                type(method),
                "narrow",
                lambda *given: found.append((given[1], narrow(*given))) or found[-1][1],
            )
            deep.logits([method(prompt)])
        return found

    return run


def best(scores, count):
    """The `count` keys with the highest values, in ascending order."""
    return sorted(sorted(scores, key=lambda place: -scores[place])[:count])


def mean_attention(attention, rows, places):
    """Of every place, the mean over heads and rows of what they pay to it."""
    heads = range(len(attention))
    pairs = [(head, row) for head in heads for row in rows]
    return {
        place: sum(float(attention[head, row, place]) for head, row in pairs) / len(pairs) for place in places
    }


@pytest.mark.parametrize("layer", [1, 2, 5])
def test_fastv_keeps_what_the_last_token_looks_at_in_the_layer_before(told, steps, layer):
    ((_, found),) = steps(FastV(keep=0.25, layer=layer), told.prompt)
    last = len(told.hidden[0]) - 1
    scores = mean_attention(told.attentions[layer - 1], [last], told.visual)
    assert found.visual.tolist() == best(scores, 36)


def test_pyramiddrop_keeps_what_the_last_token_looks_at_at_every_stage(told, steps):
    found = steps(PyramidDrop(), told.prompt)
    last = len(told.hidden[0]) - 1
    first = best(mean_attention(told.attentions[0], [last], told.visual), 72)
    assert found[0][1].visual.tolist() == first
    assert [len(narrowed.visual) for _, narrowed in found] == [72, 36, 18]
    for midway, narrowed in found[1:]:
        queries, keys = midway.attention.queries, midway.attention.keys.repeat_interleave(2, 0)
        rows = [(query[-1] @ key.T / 8**0.5).softmax(-1) for query, key in zip(queries, keys, strict=True)]
        scores = {place: float(sum(row[place] for row in rows)) for place in midway.visual.tolist()}
        assert narrowed.visual.tolist() == best(scores, len(narrowed.visual))


def slow_raters(told):
    """The places of text that the picture resembles more than the mean."""
    embeds, after = told.hidden[0], range(told.visual[-1] + 1, len(told.hidden[0]))
    shares = dict.fromkeys(after, 0.0)
    for place in told.visual:
        products = {word: float((embeds[place] @ embeds[word]).exp()) for word in after}
        for word in after:
            shares[word] += products[word] / sum(products.values())
    return [word for word in after if shares[word] > sum(shares.values()) / len(shares)]


def test_sparsevlm_keeps_what_its_raters_look_at(told, steps):
    method = SparseVLM(keep=0.2, recycle=0.0)
    found = steps(method, told.prompt)
    raters = slow_raters(told)
    assert 0 < len(raters) < len(told.hidden[0]) - told.visual[-1] - 1
    scores = mean_attention(told.attentions[0], raters, told.visual)
    assert found[0][1].visual.tolist() == best(scores, method.plan(told.prompt.visual, 6)[1])
    assert len(found[-1][1].visual) == 29


def test_sparsevlm_merges_the_best_of_what_it_drops_at_the_centers_of_clusters(told, steps):
    midway, found = steps(SparseVLM(keep=0.2), told.prompt)[0]
    count = len(found.visual)
    recycled = int(0.3 * (144 - count))
    merged = recycled // 10 + 1
    assert merged > 1
    scores = mean_attention(told.attentions[0], slow_raters(told), told.visual)
    order = sorted(told.visual, key=lambda place: -scores[place])
    kept, rest = order[: count - merged], order[count - merged :][:recycled]
    assert set(kept) <= set(found.visual.tolist())
    centers = [place for place in found.visual.tolist() if place not in kept]
    assert len(centers) == merged
    assert set(centers) <= set(rest)
    hidden = told.hidden[1]
    nearest = {
        place: place
        if place in centers
        else min(centers, key=lambda c: float((hidden[place] - hidden[c]).norm()))
        for place in rest
    }
    for center in centers:
        mean = torch.stack([hidden[place] for place in rest if nearest[place] == center]).mean(0)
        torch.testing.assert_close(found.hidden[center], mean, atol=1e-5, rtol=0)
    others = [place for place in range(len(hidden)) if place not in centers]
    torch.testing.assert_close(found.hidden[others], hidden[others], atol=1e-5, rtol=0)
    assert torch.equal(midway.visual, torch.tensor(told.visual))


@pytest.mark.parametrize(
    ("keep", "counts"), [(113, [309, 204, 113]), (39, [312, 117, 39]), (18, [82, 32, 18]), (576, [576] * 3)]
)
def test_sparsevlm_has_the_released_schedules(tokens, keep, counts):
    many = tokens.take(torch.arange(576) % 64)
    assert SparseVLM(keep=keep).counts(many) == counts


@pytest.mark.parametrize(("keep", "average"), [(113, 192), (39, 128), (18, 64)])
def test_the_schedules_of_sparsevlm_have_the_averages_they_are_named_by(tokens, keep, average):
    many = tokens.take(torch.arange(576) % 64)
    assert SparseVLM(keep=keep).layers(32) == (2, 6, 15)
    assert SparseVLM(keep=keep).read(many, 32) == pytest.approx(average, abs=1)


@pytest.mark.parametrize(
    ("depth", "layers", "counts"),
    [(32, (8, 16, 24), [288, 144, 72]), (28, (7, 14, 21), [288, 144, 72]), (3, (1, 1, 2), [288, 144, 72])],
)
def test_pyramiddrop_halves_the_tokens_at_every_quarter(tokens, depth, layers, counts):
    many = tokens.take(torch.arange(576) % 64)
    assert PyramidDrop().layers(depth) == layers
    assert PyramidDrop().counts(many) == counts


@pytest.mark.parametrize("options", [{}, {"keep": 40}, {"keep": 4}, {"text_pivots": 0}, {"visual_pivots": 0}])
def test_dart_keeps_pivots_and_what_is_least_like_them(told, steps, options):
    method = DART(**options)
    ((_, found),) = steps(method, told.prompt)
    keys, hidden = told.keys[1], told.hidden[2]
    size = {place: float(keys[:, place].abs().sum()) for place in range(len(hidden))}
    text = [place for place in size if place > max(told.visual)]
    count = method.budget(told.prompt.visual)
    kept = sorted(told.visual, key=lambda place: -size[place])[: min(method.visual_pivots, count)]
    pivots = kept + sorted(text, key=lambda place: -size[place])[: method.text_pivots]
    left = count - len(kept)
    for i, pivot in enumerate(pivots):
        free = [place for place in told.visual if place not in kept]
        alike = {place: float(torch.cosine_similarity(hidden[place], hidden[pivot], dim=0)) for place in free}
        more = left // len(pivots) + (i < left % len(pivots))
        kept = kept + sorted(free, key=lambda place: alike[place])[:more]
    assert found.visual.tolist() == sorted(kept)
    assert len(kept) == count


@pytest.mark.parametrize("pivots", [(0, 0), (-1, 5), (10, -1)])
def test_dart_without_pivots_is_refused(pivots):
    with pytest.raises(UsageError, match="expected at least one pivot"):
        DART(visual_pivots=pivots[0], text_pivots=pivots[1])


@pytest.mark.parametrize("cls", [PyramidDrop, SparseVLM])
@pytest.mark.parametrize(
    "stages", [(), (0.5, 0.25, 0.75), (0.25, 0.25, 0.75), (0.0, 0.5, 0.9), (0.2, 0.5, 1.0)]
)
def test_stages_that_are_no_ascending_shares_are_refused(cls, stages):
    with pytest.raises(UsageError, match="stages must be shares of the depth"):
        cls(stages=stages)


@pytest.mark.parametrize("options", [{"stages": (0.2, 0.5)}, {"recycle": 5.0}, {"recycle": -0.1}])
def test_sparsevlm_has_three_stages_and_recycles_a_share(options):
    with pytest.raises(UsageError, match=r"expected three stages and recycle in \[0, 1\]"):
        SparseVLM(**options)


def test_stages_are_written_in_a_spec_and_read_from_it():
    method = PyramidDrop(stages=(0.2, 0.4))
    assert registry.spec(method) == "pyramiddrop:stages=0.2+0.4"
    assert pruners.make(registry.spec(method)) == method
    with pytest.raises(UsageError, match="stages must be numbers"):
        pruners.make("pyramiddrop:stages=early")
