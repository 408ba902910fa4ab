"""Tokens dropped between layers, against the unpruned model that may not look at them from there on."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest
import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, flash_attention_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from wordsight import UsageError
from wordsight.models.layer_hooks import cache_name, decoder_layers, pruning_hooks, tokens_read
from wordsight.models.prompt import collate
from wordsight.pruners.dart import DART
from wordsight.pruners.divprune import DivPrune
from wordsight.pruners.fastv import FastV
from wordsight.pruners.layerwise import LayerPruner
from wordsight.pruners.pyramiddrop import PyramidDrop
from wordsight.pruners.sparsevlm import SparseVLM

QUESTION, LONGER = "what is the background?", "is there a cat or a dog in the garden?"


@dataclass(kw_only=True)
class Known(LayerPruner):
    """Keeps every third token after layer 2, and of those every second after layer 4."""

    steps: tuple[int, ...] = (3, 2)
    after: tuple[int, ...] = (2, 4)

    def layers(self, depth):
        return self.after

    def counts(self, tokens):
        counts, left = [], torch.arange(len(tokens))
        for step in self.steps:
            left = left[::step]
            counts.append(len(left))
        return counts

    def prune_layer(self, state, count):
        step = next(step for step in self.steps if len(state.visual[::step]) == count)
        return state.take(torch.arange(len(state.visual))[::step])


def flash_made_up(module, query, key, value, attention_mask, **options):
    """What FlashAttention would do with a mask (B, K), None, and positions that tell packed sequences."""
    position_ids = options.get("position_ids")
    if position_ids is not None and len(query) == 1 and attention_mask is None:
        assert (position_ids.diff() == 1).all()
    assert attention_mask is None or attention_mask.shape == (len(key), key.shape[2])
    rows, columns = query.shape[2], key.shape[2]
    sees = torch.ones(columns, columns, dtype=torch.bool).tril()[None, None, -rows:]
    if attention_mask is not None:
        sees = sees & attention_mask.bool()[:, None, None]
        sees = sees | torch.eye(columns, dtype=torch.bool)[-rows:]  # of padding, which nothing reads
    each = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(each, 1), value.repeat_interleave(each, 1)
    out = torch.nn.functional.scaled_dot_product_attention(query, key, value, sees, scale=options["scaling"])
    return out.transpose(1, 2), None


@pytest.fixture(params=["sdpa", "eager", "flash_made_up"])
def vlm(request, deep, monkeypatch):
    """The deep model with one kind of attention after the other, on prompts without gaps."""
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "flash_made_up", flash_made_up)
    monkeypatch.setitem(ALL_MASK_ATTENTION_FUNCTIONS._global_mapping, "flash_made_up", flash_attention_mask)
    monkeypatch.setattr(deep.model.config.text_config, "_attn_implementation", request.param)
    return deep


def masked(vlm, prompt, drops):
    """The logits (L, V) of the unpruned model in which from layer i on nobody sees the columns `drops[i]`."""
    inputs = replace(prompt, layerwise=None).inputs()
    length = len(inputs["input_ids"][0])
    bare = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)

    def blind(number):
        def hook(layer, args, given):
            mask = bare.clone()
            for start, columns in drops.items():
                if number >= start:
                    mask[:, columns] = torch.finfo(torch.float32).min
            return args, given | {"attention_mask": mask[None, None]}

        return hook

    before = vlm.model.config.text_config._attn_implementation
    vlm.model.config.text_config._attn_implementation = "eager"
    with ExitStack() as stack:
        stack.callback(setattr, vlm.model.config.text_config, "_attn_implementation", before)
        for number, layer in enumerate(decoder_layers(vlm.model)):
            handle = layer.register_forward_pre_hook(blind(number), with_kwargs=True)
            stack.callback(handle.remove)
        with torch.no_grad():
            return vlm.model(**inputs, use_cache=False).logits[0]


def known_drops(prompt):
    """The columns that Known drops, by the layer."""
    places = prompt.is_visual[prompt.is_kept()].nonzero()[:, 0]
    third, sixth = places[::3], places[::3][::2]
    return {
        2: [i for i in places.tolist() if i not in third.tolist()],
        4: [i for i in places.tolist() if i not in sixth.tolist()],
    }


@pytest.fixture
def prompt(vlm, picture):
    return vlm.encode(picture, QUESTION)


def test_every_token_left_is_as_in_the_model_that_cannot_see_the_others(vlm, prompt):
    pruned, drops = Known()(prompt), known_drops(prompt)
    left = [i for i in range(len(prompt.is_visual)) if i not in drops[4]]
    with pruning_hooks(vlm.model, [pruned]) as extra, torch.no_grad():
        logits = vlm.model(**collate([pruned]), **extra).logits[0]
    torch.testing.assert_close(logits, masked(vlm, prompt, drops)[left], atol=1e-5, rtol=0)
    torch.testing.assert_close(vlm.logits([pruned])[0], logits[-1], atol=1e-5, rtol=0)


def test_every_token_of_an_answer_is_as_in_the_model_that_cannot_see_the_others(vlm, prompt):
    growing, found = [prompt], []
    for said in (9, 30, 51, 7):
        growing.append(growing[-1].followed_by(said))
    with pruning_hooks(vlm.model, [Known()(prompt)]) as extra, torch.no_grad():
        output = vlm.model(**prompt.inputs(), **extra)
        for longer in growing[1:]:
            inputs = longer.inputs()
            step = {name: inputs[name][:, -1:] for name in ("input_ids", "position_ids")}
            mask, past = inputs["attention_mask"], output[cache_name(vlm.model)]
            output = vlm.model(**step, attention_mask=mask, **{cache_name(vlm.model): past})
            found.append(output.logits[0, -1])
    expected = [masked(vlm, longer, known_drops(prompt))[-1] for longer in growing[1:]]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    length = len(growing[-1].is_visual)
    left = [length, length, length - 96, length - 96, length - 120, length - 120]
    assert [layer.keys.shape[2] for layer in output[cache_name(vlm.model)].layers] == left


def test_generate_answers_as_the_model_that_cannot_see_the_others(vlm, prompt):
    growing, drops, said = prompt, known_drops(prompt), []
    for _ in range(5):
        said.append(int(masked(vlm, growing, drops)[-1].argmax()))
        growing = growing.followed_by(said[-1])
    text = vlm.processor.decode(said, skip_special_tokens=True).strip()
    assert vlm.generate([Known()(prompt)], max_new_tokens=5) == [text]


def test_the_oracle_notices_one_token(deep, picture):
    prompt = deep.encode(picture, QUESTION)
    drops = known_drops(prompt)
    other = masked(deep, prompt, {2: drops[2][1:], 4: drops[4][1:]})[-1]
    assert (masked(deep, prompt, drops)[-1] - other).abs().max() > 1e-4


def ragged(vlm, picture):
    """Prompts of different lengths that drop different numbers of tokens, at different layers, or none."""
    first, second = vlm.encode(picture, QUESTION), vlm.encode(picture.rotate(90), LONGER)
    none = replace(first, visual=first.visual.take(torch.zeros(0, dtype=torch.long)))
    return [
        Known()(first),
        Known(steps=(2, 7), after=(1, 3))(second),
        first,
        FastV(keep=0.3)(DivPrune(keep=0.5)(second)),
        PyramidDrop()(second),
        FastV()(none),
    ]


def even(vlm, picture):
    """Prompts of one length, without padding, that drop different numbers of tokens."""
    prompt = vlm.encode(picture, QUESTION)
    return [Known()(prompt), prompt, FastV(keep=0.3, layer=3)(prompt), FastV(tokens=5)(prompt)]


@pytest.mark.parametrize("prompts", [ragged, even])
def test_a_batch_is_its_rows_one_by_one(vlm, picture, prompts):
    rows = prompts(vlm, picture)
    if vlm.model.config.text_config._attn_implementation == "flash_made_up":
        rows = [row for row in rows if len(row.visual) == 144]  # without gaps before the first layer
    alone = torch.cat([vlm.logits([row]) for row in rows])
    torch.testing.assert_close(vlm.logits(rows), alone, atol=1e-5, rtol=0)
    said = [vlm.generate([row], max_new_tokens=4)[0] for row in rows]
    assert vlm.generate(rows, max_new_tokens=4) == said


@pytest.fixture
def steps(vlm):
    """What the model says of the next token in each of its passes that were not stopped."""
    found = []
    hook = vlm.model.register_forward_hook(lambda *call: found.append(call[2].logits[:, -1]))
    yield found
    hook.remove()


METHODS = [Known(), FastV(keep=0.3), FastV(keep=1.0), PyramidDrop(), SparseVLM(keep=0.3), DART(keep=0.3)]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{type(method).__name__}-{method.keep}")
def test_layers_before_a_cut_read_what_questions_begin_with_once(vlm, picture, steps, method):
    prompts, read = [], []
    for image, questions in ((picture, (QUESTION, LONGER)), (picture.rotate(90), (LONGER, QUESTION, "cat?"))):
        whole = [vlm.encode(image, question) for question in questions]
        prompts += [method(replace(prompt, visual=whole[0].visual)) for prompt in whole]
    hook = decoder_layers(vlm.model)[0].register_forward_hook(lambda *call: read.append(call[1][0].shape[:2]))
    said = vlm.answers(prompts, 4)
    hook.remove()
    (pictures, beginning), (questions, rest) = read[:2]
    assert (pictures, questions) == (2, 5)
    assert beginning + rest == max(prompt.length for prompt in prompts)
    shared, steps[:] = list(steps), []
    assert said == vlm.generate(prompts, max_new_tokens=4)
    torch.testing.assert_close(shared, steps, atol=1e-5, rtol=0)


def test_the_rows_of_attention_are_those_that_the_layer_paid(vlm, picture):
    prompts = [vlm.encode(picture, QUESTION), vlm.encode(picture, LONGER)]
    captured = []

    @dataclass(kw_only=True)
    class Rows(Known):
        def prune_layer(self, state, count):
            at = torch.tensor([3, len(state.hidden) - 4, len(state.hidden) - 1])
            captured.append(state.attention.rows(at))
            return super().prune_layer(state, count)

    with pruning_hooks(vlm.model, [Rows()(prompt) for prompt in prompts]) as extra, torch.no_grad():
        vlm.model(**collate(prompts), **extra)
    for prompt, rows in zip(prompts, captured, strict=False):
        expected = eager(vlm, prompt).attentions[1][0]
        length = len(prompt.is_visual)
        at = [3, length - 4, length - 1]
        torch.testing.assert_close(rows, expected[:, at], atol=1e-6, rtol=0)


def eager(vlm, prompt):
    """All that the unpruned model can tell about a prompt."""
    config = vlm.model.config.text_config
    before, config._attn_implementation = config._attn_implementation, "eager"
    with torch.no_grad():
        output = vlm.model(**prompt.inputs(), output_attentions=True)
    config._attn_implementation = before
    return output


def state(vlm):
    """What a run must leave as it was."""
    layers = decoder_layers(vlm.model)
    hooks = [len(layer._forward_pre_hooks) for layer in layers]
    return hooks, [id(layer.self_attn.config) for layer in layers], sorted(ALL_ATTENTION_FUNCTIONS)


@dataclass(kw_only=True)
class Broken(Known):
    def prune_layer(self, state, count):
        raise ZeroDivisionError


@pytest.mark.parametrize("run", ["logits", "generate"])
def test_the_model_is_left_as_it_was_even_after_an_error(vlm, prompt, run):
    before, logits = state(vlm), vlm.logits([prompt])
    assert set(before[0]) == {0}
    getattr(vlm, run)([Known()(prompt)])
    assert state(vlm) == before
    with pytest.raises(ZeroDivisionError):
        getattr(vlm, run)([Broken()(prompt)])
    assert state(vlm) == before
    assert torch.equal(vlm.logits([prompt]), logits)


def test_threads_that_read_with_one_model_do_not_disturb_each_other(deep, picture):
    prompt = deep.encode(picture, QUESTION)
    pruned = [Known()(prompt), Known()(deep.encode(picture, LONGER))]
    logits, said = deep.logits([prompt]), deep.generate(pruned, max_new_tokens=3)

    def is_the_same(number):
        if number % 2:
            return deep.generate(pruned, max_new_tokens=3) == said
        return torch.allclose(deep.logits([prompt]), logits, atol=1e-5)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(is_the_same, range(12)))


def test_a_chat_prunes_for_every_question(deep, picture, monkeypatch):
    left, prune_layer = [], FastV.prune_layer
    monkeypatch.setattr(FastV, "prune_layer", lambda *given: left.append(prune_layer(*given)) or left[-1])
    chat = deep.chat(picture, pruner=FastV(tokens=20))
    first = chat.ask(QUESTION, max_new_tokens=2)
    chat.ask(LONGER, max_new_tokens=2)
    assert len(left) == 2
    assert not torch.equal(left[0].visual, left[1].visual)
    assert (first.tokens_total, first.tokens_kept) == (144, round((2 * 144 + 4 * 20) / 6, 1))


@pytest.mark.parametrize(
    ("method", "read"),
    [
        (FastV(keep=0.25), (2 * 144 + 4 * 36) / 6),
        (FastV(keep=1.0), 144),
        (FastV(tokens=30, layer=5), (5 * 144 + 30) / 6),
        (PyramidDrop(), (144 + 2 * 72 + 36 + 2 * 18) / 6),
        (DivPrune(keep=0.5), 72),
    ],
    ids=repr,
)
def test_tokens_read_is_the_mean_over_layers(deep, picture, method, read):
    assert tokens_read(deep.model, method(deep.encode(picture, QUESTION))) == pytest.approx(read)


@pytest.mark.parametrize("layer", [0, 6, 7])
def test_a_layer_that_the_model_has_not_is_refused_with_its_depth(deep, picture, layer):
    message = rf"FastV drops tokens after layer {layer}, but .* deep has 6 layers: expected one from 1 to 5"
    with pytest.raises(UsageError, match=message):
        deep.chat(picture, pruner=FastV(layer=layer))
    with pytest.raises(UsageError, match=message):
        deep.logits([FastV(layer=layer)(deep.encode(picture, QUESTION))])


def test_a_language_model_without_layers_is_refused(deep, monkeypatch):
    monkeypatch.setattr(deep.model, "get_decoder", lambda: torch.nn.Identity())
    with pytest.raises(
        UsageError, match=r"LlavaForConditionalGeneration \(llava\): its language model is no stack of layers"
    ):
        FastV().check(deep)


def test_attention_that_cannot_be_captured_is_refused(deep, picture, monkeypatch):
    prompt = deep.encode(picture, QUESTION)
    attention = decoder_layers(deep.model)[1].self_attn

    def forward(hidden_states, **given):
        return torch.zeros_like(hidden_states), None

    monkeypatch.setattr(attention, "forward", forward)
    with pytest.raises(UsageError, match="LlamaDecoderLayer computes attention by code of its own"):
        deep.logits([FastV()(prompt)])
