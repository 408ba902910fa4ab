"""Every layerwise method against what all promise, and each against slow code on what the unpruned model
computes.
"""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from wordsight import UsageError, pruners
from wordsight._utils import registry
from wordsight.models.layer_hooks import cache_name
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.pruners.dart import DART
from wordsight.pruners.fastv import FastV
from wordsight.pruners.layerwise import LayerPruner
from wordsight.pruners.pyramiddrop import PyramidDrop
from wordsight.pruners.sparsevlm import SparseVLM

QUESTION = "is there a cat or a dog in the garden?"


CLASSES = [registry.find(pruners, name, Pruner) for name in pruners.names()]
LAYERWISE = [cls for cls in CLASSES if issubclass(cls, LayerPruner)]
every_method = pytest.mark.parametrize("cls", LAYERWISE, ids=lambda cls: cls.__name__)
# What to keep, and how many of 144 tokens that is.
SHARES = [(0.001, 1), (0.05, 7), (1 / 3, 48), (0.99, 143), (1.0, 144)]
COUNTS = [(1, 1), (5, 5), (143, 143), (999, 144)]
BUDGETS = [({"keep": share}, count) for share, count in SHARES] + [({"tokens": n}, k) for n, k in COUNTS]


@pytest.fixture(scope="module")
def prompt(deep, picture):
    return deep.encode(picture, QUESTION)


@every_method
def test_the_budget_is_met_exactly_after_the_last_step(steps, prompt, cls):
    for budget, count in BUDGETS:
        method = cls(**budget)
        found = [after.visual.tolist() for _, after in steps(method, prompt)]
        assert all(places == sorted(set(places)) for places in found), budget
        planned = list(method.plan(prompt.visual, 6).values())
        assert planned == sorted(planned, reverse=True), budget
        assert planned[-1] == count, budget
        fewer = [after for before, after in pairwise([144, *planned]) if after < before]
        assert [len(places) for places in found] == fewer, budget


@every_method
def test_keep_all_leaves_the_logits_unchanged(deep, prompt, cls):
    expected = deep.logits([prompt])
    for budget in ({"keep": 1.0}, {"tokens": 144}, {"tokens": 1000}):
        torch.testing.assert_close(deep.logits([cls(**budget)(prompt)]), expected, atol=1e-5, rtol=0)


@every_method
def test_the_prompt_is_the_same_but_for_the_method(prompt, cls):
    method = cls(keep=0.3)
    assert method(prompt) == replace(prompt, layerwise=method)
    assert method.prune(prompt.visual) is prompt.visual


@every_method
def test_the_same_prompt_gives_the_same_logits_twice(deep, prompt, cls):
    pruned = cls(keep=0.25)(prompt)
    assert torch.equal(deep.logits([pruned]), deep.logits([pruned]))


@every_method
def test_a_prompt_with_next_to_no_visual_tokens_is_read(deep, prompt, cls):
    for count in (0, 1, 2):
        few = replace(prompt, visual=prompt.visual.take(torch.arange(count)))
        torch.testing.assert_close(deep.logits([cls(tokens=2)(few)]), deep.logits([few]), atol=1e-5, rtol=0)
        assert deep.logits([cls(tokens=1)(few)]).isfinite().all(), count


@every_method
def test_bfloat16_is_pruned(deep, picture, cls):
    half = VLM(type(deep.model)(deep.model.config).to(torch.bfloat16), deep.processor, "half")
    answer = half.answer(picture, QUESTION, pruner=cls(keep=0.25), max_new_tokens=3)
    assert answer.tokens_kept < 144


@every_method
def test_the_repr_rebuilds_an_equal_method(cls):
    for budget in ({"keep": 0.2}, {"keep": 0.3}, {"tokens": 12}):
        method = cls(**budget)
        again = eval(repr(method), {cls.__name__: cls})
        assert again == method
        assert repr(again) == repr(method)
        assert replace(pruners.make(registry.spec(method)), **budget) == method


@every_method
def test_a_budget_that_cannot_be_is_refused_with_what_was_given(cls):
    for keep in (0, -1, 2.0, 0.0, 64, float("nan"), "0.2", True, None):
        with pytest.raises(
            UsageError, match=rf"^keep must be a share of the tokens in \(0, 1\], got {keep!r}"
        ):
            cls(keep=keep)
    for tokens in (0, -1, 1.5, "8", True):
        with pytest.raises(
            UsageError, match=rf"^tokens must be a whole number from 1 on or none, got {tokens!r}"
        ):
            cls(tokens=tokens)


@every_method
def test_positions_are_kept_and_nothing_else(cls):
    with pytest.raises(UsageError, match="positions must be 'original' or 'contiguous', got 'closed'"):
        cls(positions="closed")
    with pytest.raises(UsageError, match=f"positions=contiguous: {cls.__name__} drops tokens inside"):
        cls(positions="contiguous")
    with pytest.raises(UsageError, match=f"budget=image: {cls.__name__} drops tokens inside"):
        cls(budget="image")


@every_method
def test_the_published_preset_is_rebuilt_by_its_repr_and_its_spec(cls):
    method = cls.published()
    assert eval(repr(method), {cls.__name__: cls}) == method
    assert pruners.make(registry.spec(method)) == method
    assert pruners.make(f"{registry.spec(cls()).partition('@')[0]}@published:keep=0.1").keep == 0.1


@pytest.fixture
def unpruned(deep, prompt, monkeypatch):
    """The prompt, the places of its visual tokens, and all that the unpruned model computes of it."""
    monkeypatch.setattr(deep.model.config.text_config, "_attn_implementation", "eager")
    with torch.no_grad():
        output = deep.model(**prompt.inputs(), output_attentions=True, output_hidden_states=True)
    return SimpleNamespace(
        prompt=prompt,
        visual=prompt.is_visual.nonzero()[:, 0].tolist(),
        attentions=[layer[0] for layer in output.attentions],  # (H, L, L) each
        hidden=[states[0] for states in output.hidden_states],  # (L, D), what each layer reads
        keys=[layer.keys[0] for layer in output[cache_name(deep.model)].layers],  # (G, L, width)
    )


@pytest.fixture
def steps(deep, monkeypatch):
    """A function that runs a method and returns what it found at each of its steps."""

    def run(method, prompt):
        found, narrow = [], type(method).prune_layer
        with monkeypatch.context() as patch:
            patch.setattr(
                type(method),
                "prune_layer",
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
def test_fastv_keeps_what_the_last_token_attends_to_in_the_layer_before(unpruned, steps, layer):
    ((_, found),) = steps(FastV(keep=0.25, layer=layer), unpruned.prompt)
    last = len(unpruned.hidden[0]) - 1
    scores = mean_attention(unpruned.attentions[layer - 1], [last], unpruned.visual)
    assert found.visual.tolist() == best(scores, 36)


@torch.no_grad()
def test_pyramiddrop_keeps_what_the_last_token_attends_to_in_the_layer_after_every_stage(
    deep, unpruned, steps
):
    found = steps(PyramidDrop(), unpruned.prompt)
    assert [len(after.visual) for _, after in found] == [72, 36, 18]
    last = len(unpruned.hidden[0]) - 1
    places = torch.arange(last + 1)  # of the tokens that are left
    for layer, (state, after) in zip(PyramidDrop().layers(6), found, strict=True):
        row = slow_last_row(deep, layer, state.hidden, places)
        if layer == 1:
            torch.testing.assert_close(row, unpruned.attentions[1][:, last].mean(0), atol=1e-5, rtol=0)
        scores = {place: float(row[place]) for place in state.visual.tolist()}
        assert after.visual.tolist() == best(scores, len(after.visual)), layer
        dropped = set(state.visual.tolist()) - set(after.visual.tolist())
        places = places[[place for place in range(len(places)) if place not in dropped]]


def slow_last_row(deep, layer, hidden, places):
    """(L,) the attention of the last token in a layer that reads these states at these places of a prompt."""
    module, decoder = deep.model.get_decoder().layers[layer], deep.model.get_decoder()
    states = module.input_layernorm(hidden)
    query, key = (
        part(states).unflatten(-1, (-1, 8)) for part in (module.self_attn.q_proj, module.self_attn.k_proj)
    )
    cos, sin = (part[0] for part in decoder.rotary_emb(hidden[None], places[None]))  # (L, 8)
    row = torch.zeros(len(hidden))
    for head in range(4):
        turned = []
        for part in (query[:, head], key[:, head // 2]):
            first, second = part.chunk(2, -1)
            turned.append(part * cos + torch.cat([-second, first], -1) * sin)
        row += (turned[0][-1] @ turned[1].T / 8**0.5).softmax(-1) / 4
    return row


@torch.no_grad()
def test_pyramiddrop_ranks_every_row_of_a_batch_as_it_does_alone(deep, picture):
    prompts = [deep.encode(picture, question) for question in ("what is it?", "what is the background, cat?")]
    pruned = [PyramidDrop()(prompt) for prompt in prompts]
    together = deep.logits(pruned)
    for one, expected in zip(pruned, together, strict=True):
        torch.testing.assert_close(deep.logits([one])[0], expected, atol=1e-4, rtol=0)


def slow_raters(unpruned):
    """The places of text that the picture resembles more than the mean."""
    embeds, after = unpruned.hidden[0], range(unpruned.visual[-1] + 1, len(unpruned.hidden[0]))
    shares = dict.fromkeys(after, 0.0)
    for place in unpruned.visual:
        products = {word: float((embeds[place] @ embeds[word]).exp()) for word in after}
        for word in after:
            shares[word] += products[word] / sum(products.values())
    return [word for word in after if shares[word] > sum(shares.values()) / len(shares)]


def test_sparsevlm_keeps_what_its_raters_attend_to(unpruned, steps):
    method = SparseVLM(keep=0.2, recycle=0.0)
    found = steps(method, unpruned.prompt)
    raters = slow_raters(unpruned)
    assert 0 < len(raters) < len(unpruned.hidden[0]) - unpruned.visual[-1] - 1
    scores = mean_attention(unpruned.attentions[0], raters, unpruned.visual)
    assert found[0][1].visual.tolist() == best(scores, method.plan(unpruned.prompt.visual, 6)[1])
    assert len(found[-1][1].visual) == 29


def test_sparsevlm_merges_the_best_of_what_it_drops_at_the_centers_of_clusters(unpruned, steps):
    state, found = steps(SparseVLM(keep=0.2), unpruned.prompt)[0]
    count = len(found.visual)
    # As many are kept whole as leave room for the tokens that the dropped ones are merged into.
    recycled, merged = next(
        (int(0.3 * (144 - whole)) + 1, count - whole)
        for whole in range(count, 0, -1)
        if whole + (int(0.3 * (144 - whole)) + 1) // 10 + 1 == count
    )
    assert merged > 1
    scores = mean_attention(unpruned.attentions[0], slow_raters(unpruned), unpruned.visual)
    order = sorted(unpruned.visual, key=lambda place: -scores[place])
    kept, rest = order[: count - merged], order[count - merged :][:recycled]
    assert set(kept) <= set(found.visual.tolist())
    centers = [place for place in found.visual.tolist() if place not in kept]
    assert len(centers) == merged
    assert set(centers) <= set(rest)
    hidden = unpruned.hidden[1]
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
    assert torch.equal(state.visual, torch.tensor(unpruned.visual))


@pytest.mark.parametrize(
    ("last", "counts"), [(113, [309, 204, 113]), (39, [312, 117, 39]), (18, [82, 32, 18]), (576, [576] * 3)]
)
def test_sparsevlm_has_the_released_schedules(tokens, last, counts):
    many = tokens.take(torch.arange(576) % 64)
    assert SparseVLM(tokens=last).counts(many) == counts


@pytest.mark.parametrize(("last", "average"), [(113, 192), (39, 128), (18, 64)])
def test_the_schedules_of_sparsevlm_have_the_averages_they_are_named_by(tokens, last, average):
    many = tokens.take(torch.arange(576) % 64)
    assert SparseVLM(tokens=last).layers(32) == (2, 6, 15)
    assert SparseVLM(tokens=last).tokens_read(many, 32) == pytest.approx(average, abs=1)


@pytest.mark.parametrize(
    ("depth", "layers", "counts"),
    [(32, (8, 16, 24), [288, 144, 72]), (28, (7, 14, 21), [288, 144, 72]), (3, (1, 1, 2), [288, 144, 72])],
)
def test_pyramiddrop_halves_the_tokens_at_every_quarter(tokens, depth, layers, counts):
    many = tokens.take(torch.arange(576) % 64)
    assert PyramidDrop().layers(depth) == layers
    assert PyramidDrop().counts(many) == counts


@pytest.mark.parametrize(
    "options", [{}, {"tokens": 40}, {"tokens": 4}, {"text_pivots": 0}, {"visual_pivots": 0}]
)
def test_dart_keeps_pivots_and_what_is_least_like_them(deep, unpruned, steps, options, monkeypatch):
    norm = deep.model.get_decoder().norm
    monkeypatch.setattr(norm.weight, "data", torch.linspace(-2, 3, 32))
    method = DART(**options)
    ((_, found),) = steps(method, unpruned.prompt)
    keys, hidden = unpruned.keys[1], norm(unpruned.hidden[2]).detach()
    size = {place: float(keys[:, place].abs().sum()) for place in range(len(hidden))}
    text = [place for place in size if place > max(unpruned.visual)]
    count = method.count(unpruned.prompt.visual)
    kept = sorted(unpruned.visual, key=lambda place: -size[place])[: min(method.visual_pivots, count)]
    pivots = kept + sorted(text, key=lambda place: -size[place])[: method.text_pivots]
    left = count - len(kept)
    for i, pivot in enumerate(pivots):
        free = [place for place in unpruned.visual if place not in kept]
        alike = {place: float(torch.cosine_similarity(hidden[place], hidden[pivot], dim=0)) for place in free}
        more = left // len(pivots) + (i < left % len(pivots))
        kept = kept + sorted(free, key=lambda place: alike[place])[:more]
    assert found.visual.tolist() == sorted(kept)
    assert len(kept) == count


def test_dart_as_released_deals_out_the_whole_budget_beside_the_visual_pivots(tokens):
    for count, expected in ((16, 20), (23, 20), (24, 28), (7, 4), (64, 64)):
        assert DART.published(tokens=count).counts(tokens) == (expected,), count
    assert DART(tokens=23).counts(tokens) == (23,)


def test_dart_without_pivots_is_refused():
    with pytest.raises(UsageError, match="expected at least one pivot"):
        DART(visual_pivots=0, text_pivots=0)
    for option in ("visual_pivots", "text_pivots"):
        with pytest.raises(UsageError, match=f"{option} must be a whole number from 0 on, got -1"):
            DART(**{option: -1})


@pytest.mark.parametrize("cls", [PyramidDrop, SparseVLM])
def test_stages_that_are_no_ascending_shares_are_refused(cls):
    for stages in ((0.5, 0.25, 0.75), (0.25, 0.25, 0.75), (0.0, 0.5, 0.9), (0.2, 0.5, 1.0)):
        with pytest.raises(UsageError, match="stages must be shares of the depth"):
            cls(stages=stages)


def test_pyramiddrop_without_stages_is_refused():
    with pytest.raises(UsageError, match="stages must be shares of the depth"):
        PyramidDrop(stages=())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": ()}, r"stages must be 3 numbers joined by \+, got \(\)"),
        ({"stages": (0.2, 0.5)}, r"stages must be 3 numbers joined by \+, got \(0.2, 0.5\)"),
        ({"recycle": 5.0}, r"recycle must be a number in \[0, 1\], got 5.0"),
        ({"recycle": -0.1}, r"recycle must be a number in \[0, 1\], got -0.1"),
    ],
)
def test_sparsevlm_has_three_stages_and_recycles_a_share(options, message):
    with pytest.raises(UsageError, match=message):
        SparseVLM(**options)


def test_stages_are_written_in_a_spec_and_read_from_it():
    method = PyramidDrop(stages=(0.2, 0.4))
    assert registry.spec(method) == "pyramiddrop:stages=0.2+0.4"
    assert pruners.make(registry.spec(method)) == method
    with pytest.raises(UsageError, match="stages must be numbers"):
        pruners.make("pyramiddrop:stages=early")
