"""Options of a caller's generate, with a pruner attached: as the untouched model on the pruned prompt."""

import copy
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    TextStreamer,
    pipeline,
)

from wordsight import MMTok, Random, UsageError, attach
from wordsight.media.inputs import MediaInput
from wordsight.models.conversation import Conversation
from wordsight.models.layer_hooks import cache_name
from wordsight.models.processing import process
from wordsight.models.prompt import collate
from wordsight.pruners import make

QUESTION = "what color is the cat?"
PRUNER = Random(keep=0.2)


@pytest.fixture
def inputs(tiny, picture):
    return dict(process(tiny.processor, Conversation.about(MediaInput.of(picture), QUESTION)).inputs)


@pytest.fixture
def pruned(tiny, picture):
    return collate([PRUNER(tiny.encode(picture, QUESTION))])


OPTIONS = {
    "greedy": {},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "sampling": {"do_sample": True, "num_return_sequences": 3, "temperature": 0.7, "top_k": 5},
    "static cache": {"cache_implementation": "static"},
    "no repetition": {"no_repeat_ngram_size": 1},
    "minimum": {"min_new_tokens": 6},
    "dictionary": {"return_dict_in_generate": True, "output_scores": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_are_those_of_the_untouched_model_on_the_pruned_prompt(tiny, inputs, pruned, options):
    options = {"max_new_tokens": 6, "do_sample": False, **options}
    torch.manual_seed(5)
    expected = tiny.model.generate(**pruned, **options)
    torch.manual_seed(5)
    with attach(tiny.model, tiny.processor, PRUNER):
        output = tiny.model.generate(**inputs, **options)
    if options.get("return_dict_in_generate"):
        for mine, theirs in zip(output.scores, expected.scores, strict=True):
            assert torch.equal(mine, theirs)
        output, expected = output.sequences, expected.sequences
    length = inputs["input_ids"].shape[1]
    assert torch.equal(output[:, :length], inputs["input_ids"].expand(len(output), -1))
    assert torch.equal(output[:, length:], expected[:, pruned["input_ids"].shape[1] :])


NO_CACHE = {
    "argument": {"use_cache": False},
    "config": {"generation_config": GenerationConfig(use_cache=False, do_sample=False)},
}


@pytest.mark.parametrize("options", NO_CACHE.values(), ids=NO_CACHE)
def test_positions_have_their_gaps_where_no_cache_is_wanted(tiny, inputs, options):
    with attach(tiny.model, tiny.processor, PRUNER):
        expected = tiny.model.generate(**inputs, max_new_tokens=6, do_sample=False)
        output = tiny.model.generate(**inputs, max_new_tokens=6, **options)
    assert torch.equal(output, expected)


def test_padding_is_told_from_the_ids_where_no_mask_is_given(tiny, inputs):
    ids = torch.nn.functional.pad(inputs["input_ids"], (7, 0), value=tiny.processor.tokenizer.pad_token_id)
    given = {"input_ids": ids, "pixel_values": inputs["pixel_values"], "max_new_tokens": 6}
    with attach(tiny.model, tiny.processor, PRUNER):
        output = tiny.model.generate(**given, do_sample=False)
        expected = tiny.model.generate(**inputs, max_new_tokens=6, do_sample=False)
    assert torch.equal(output[:, 7:], expected)


def test_arguments_may_be_given_by_place_and_as_none(tiny, inputs):
    pixels = inputs["pixel_values"]
    options = {"max_new_tokens": 4, "do_sample": False}
    with attach(tiny.model, tiny.processor, PRUNER):
        expected = tiny.model.generate(**inputs, **options)
        more = {"input_ids": None, "position_ids": None, cache_name(tiny.model): None}
        output = tiny.model.generate(inputs["input_ids"], pixel_values=pixels, **more, **options)
    assert torch.equal(output, expected)


@pytest.mark.parametrize("way", ["argument", "config"])
def test_max_length_counts_the_whole_prompt(tiny, inputs, way):
    length = inputs["input_ids"].shape[1] + 3
    given = {"max_length": length, "do_sample": False}
    if way == "config":
        given = {"generation_config": GenerationConfig(max_length=length, eos_token_id=None)}
    with attach(tiny.model, tiny.processor, PRUNER):
        output = tiny.model.generate(**inputs, **given)
    assert output.shape[1] == length


def test_a_max_length_within_the_prompt_is_refused(tiny, inputs):
    with attach(tiny.model, tiny.processor, PRUNER), pytest.raises(UsageError, match="nothing is left"):
        tiny.model.generate(**inputs, max_length=20)


@pytest.mark.parametrize("ids", [None, [[1, 4]]], ids=["none", "list"])
def test_pictures_without_a_tensor_of_ids_are_refused(tiny, inputs, ids):
    with (
        attach(tiny.model, tiny.processor, PRUNER),
        pytest.raises(UsageError, match="no tensor of input_ids"),
    ):
        tiny.model.generate(input_ids=ids, pixel_values=inputs["pixel_values"])


class Seen(StoppingCriteria):
    """Notes what it is shown."""

    def __init__(self):
        self.ids = []

    def __call__(self, ids, scores, **more):
        self.ids.append(ids.clone())
        return torch.zeros(len(ids), dtype=torch.bool)


class SeenScores(LogitsProcessor):
    """Notes what it is shown."""

    def __init__(self):
        self.ids = []

    def __call__(self, ids, scores):
        self.ids.append(ids.clone())
        return scores


def test_criteria_and_processors_are_shown_the_whole_prompt(tiny, inputs):
    stop, scores = Seen(), SeenScores()
    with attach(tiny.model, tiny.processor, PRUNER):
        output = tiny.model.generate(
            **inputs,
            max_new_tokens=3,
            do_sample=False,
            stopping_criteria=[stop],
            logits_processor=[scores],
        )
    for number, ids in enumerate(stop.ids):
        assert torch.equal(ids, output[:, : inputs["input_ids"].shape[1] + 1 + number])
    assert torch.equal(scores.ids[0], inputs["input_ids"])


def test_a_processor_takes_the_place_of_the_one_that_an_option_makes(tiny, inputs, pruned):
    """As in transformers, so that it is applied once."""
    options = {"max_new_tokens": 2, "do_sample": False, "repetition_penalty": 3.0}
    options |= {"output_scores": True, "return_dict_in_generate": True}
    own = {"logits_processor": [RepetitionPenaltyLogitsProcessor(1.5)]}
    expected = tiny.model.generate(**pruned, **options, **own)
    with attach(tiny.model, tiny.processor, PRUNER):
        output = tiny.model.generate(**inputs, **options, **own)
    for mine, theirs in zip(output.scores, expected.scores, strict=True):
        assert torch.equal(mine, theirs)
    assert "_merge_criteria_processor_list" not in vars(tiny.model)


def test_threads_that_generate_with_one_model_wait_for_each_other(tiny, inputs):
    def shown(_):
        stop = Seen()
        tiny.model.generate(**inputs, max_new_tokens=3, do_sample=False, stopping_criteria=[stop])
        return [len(ids[0]) for ids in stop.ids]

    with attach(tiny.model, tiny.processor, PRUNER):
        alone = shown(None)
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(shown, range(12))) == [alone] * 12
    assert "_merge_criteria_processor_list" not in vars(tiny.model)


def test_allowed_tokens_are_asked_with_the_whole_prompt(tiny, inputs):
    asked = []

    def allowed(row, ids):
        asked.append(ids)
        return [7, 9]

    with attach(tiny.model, tiny.processor, PRUNER):
        output = tiny.model.generate(**inputs, max_new_tokens=3, prefix_allowed_tokens_fn=allowed)
    assert torch.equal(asked[0], inputs["input_ids"][0])
    assert set(output[0, inputs["input_ids"].shape[1] :].tolist()) <= {7, 9}


def test_a_streamer_skips_the_prompt(tiny, inputs, capsys):
    streamer = TextStreamer(tiny.processor.tokenizer, skip_prompt=True)
    with attach(tiny.model, tiny.processor, PRUNER):
        output = tiny.model.generate(**inputs, max_new_tokens=4, do_sample=False, streamer=streamer)
    new = output[0, inputs["input_ids"].shape[1] :]
    assert capsys.readouterr().out.strip() == tiny.processor.decode(new).strip()


REFUSED = {
    "assistant_model": lambda tiny: tiny.model,
    "prompt_lookup_num_tokens": lambda tiny: 3,
    "guidance_scale": lambda tiny: 1.5,
    "position_ids": lambda tiny: torch.arange(4)[None],
    "custom_generate": lambda tiny: lambda **given: None,
    "token_healing": lambda tiny: True,
    "use_mtp": lambda tiny: True,
    "cache_implementation": lambda tiny: "paged",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_reads_the_prompt_by_itself_is_refused(tiny, inputs, name):
    with attach(tiny.model, tiny.processor, PRUNER), pytest.raises(UsageError, match=name):
        tiny.model.generate(**inputs, **{name: REFUSED[name](tiny)})


def test_a_second_turn_goes_on_with_the_callers_cache(tiny, picture):
    """As without a cache: turn by turn, the pruned prompt of turn one begins that of turn two."""
    one = dict(process(tiny.processor, Conversation.about(MediaInput.of(picture), QUESTION)).inputs)
    with attach(tiny.model, tiny.processor, PRUNER):
        cache = DynamicCache(config=tiny.model.config)
        first = tiny.model.generate(
            **one, max_new_tokens=3, do_sample=False, **{cache_name(tiny.model): cache}
        )
        held = cache.get_seq_length()
        rest = tiny.processor.tokenizer(" and the dog?", add_special_tokens=False, return_tensors="pt")
        ids = torch.cat([first, rest["input_ids"]], 1)
        two = {**one, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
        expected = tiny.model.generate(**two, max_new_tokens=4, do_sample=False)
        output = tiny.model.generate(
            **two, max_new_tokens=4, do_sample=False, **{cache_name(tiny.model): cache}
        )
    assert held < one["input_ids"].shape[1]  # it holds the pruned prompt
    assert torch.equal(output, expected)


@pytest.mark.parametrize("pruner", [MMTok(keep=0.2), make("fastv:keep=0.5,layer=1")], ids=["mmtok", "fastv"])
def test_a_cache_of_another_turn_is_refused_where_the_choice_may_change(tiny, inputs, pruner):
    cache = DynamicCache(config=tiny.model.config)
    tiny.model(input_ids=inputs["input_ids"][:, :2], **{cache_name(tiny.model): cache})
    with attach(tiny.model, tiny.processor, pruner), pytest.raises(UsageError, match="cache"):
        tiny.model.generate(**inputs, **{cache_name(tiny.model): cache})


def test_a_cache_is_gone_on_with_by_the_pruner_that_filled_it(tiny, inputs):
    """By none it would hold other tokens, and another one would have kept others."""
    ids = torch.cat([inputs["input_ids"], torch.full((1, 200), 9)], 1)
    longer = {"input_ids": ids, "pixel_values": inputs["pixel_values"], "max_new_tokens": 2}
    cache = DynamicCache(config=tiny.model.config)
    tiny.model(**inputs, **{cache_name(tiny.model): cache})
    with attach(tiny.model, tiny.processor, PRUNER), pytest.raises(UsageError, match="did not choose"):
        tiny.model.generate(**longer, **{cache_name(tiny.model): cache})
    with attach(tiny.model, tiny.processor, PRUNER):
        output = tiny.model.generate(**inputs, max_new_tokens=2, return_dict_in_generate=True)
    cache = output[cache_name(tiny.model)]
    with attach(tiny.model, tiny.processor, Random(keep=0.3)), pytest.raises(UsageError, match="not choose"):
        tiny.model.generate(**longer, **{cache_name(tiny.model): cache})


def test_a_pruned_cache_is_refused_without_the_pictures(tiny, inputs):
    with attach(tiny.model, tiny.processor, PRUNER):
        output = tiny.model.generate(**inputs, max_new_tokens=2, return_dict_in_generate=True)
        cache = {cache_name(tiny.model): output[cache_name(tiny.model)]}
        with pytest.raises(UsageError, match="its pictures and videos too"):
            tiny.model.generate(input_ids=output.sequences, **cache, max_new_tokens=2)


def test_a_prompt_without_pictures_is_generated_as_before(tiny):
    ids = tiny.processor.tokenizer("what is two and two?", return_tensors="pt")
    expected = tiny.model.generate(**ids, max_new_tokens=4, do_sample=False)
    with attach(tiny.model, tiny.processor, PRUNER):
        assert torch.equal(tiny.model.generate(**ids, max_new_tokens=4, do_sample=False), expected)


def test_a_pipeline_is_pruned(tiny, picture):
    asks = pipeline("image-text-to-text", model=tiny.model, processor=tiny.processor)
    content = [{"type": "image", "image": picture}, {"type": "text", "text": QUESTION}]
    messages = [{"role": "user", "content": content}]
    options = {"max_new_tokens": 4, "do_sample": False}
    with warnings.catch_warnings(), PRUNER.on(tiny.model, tiny.processor):
        warnings.simplefilter("ignore")
        said = asks(text=messages, return_full_text=False, generate_kwargs=options)
    expected = tiny.answer(picture, QUESTION, pruner=PRUNER, max_new_tokens=4)
    assert said[0]["generated_text"].strip() == expected.text


def test_stats_say_how_many_tokens_there_were_before_and_after(tiny, inputs):
    pruner = Random(keep=0.25)
    with attach(tiny.model, tiny.processor, pruner):
        tiny.model.generate(**inputs, max_new_tokens=1)
        tiny.model.generate(**inputs, max_new_tokens=1)
    assert (pruner.stats.prompts, pruner.stats.before, pruner.stats.after) == (2, 288, 72)
    assert pruner.stats.last == [(144, 36)]
    assert pruner.stats.kept == 0.25
    assert repr(pruner) == repr(Random(keep=0.25))
    assert pruner == Random(keep=0.25)


def test_a_model_is_attached_once(tiny):
    with attach(tiny.model, tiny.processor, PRUNER), pytest.raises(UsageError, match="attached already"):
        attach(tiny.model, tiny.processor, PRUNER)
    attach(tiny.model, tiny.processor, PRUNER).detach()


def test_detaching_puts_a_generate_of_the_objects_own_back(tiny, inputs):
    model = copy.copy(tiny.model)
    own = model.generate

    def mine(*args, **given):
        return own(*args, **given)

    model.generate = mine
    attached = attach(model, tiny.processor, PRUNER)
    assert attached.is_attached
    stats = attached.pruner.stats.prompts
    model.generate(**inputs, max_new_tokens=1)
    assert attached.pruner.stats.prompts == stats + 1
    attached.detach()
    attached.detach()
    assert model.generate is mine


def test_once_detached_a_generate_that_was_wrapped_on_the_way_prunes_no_more(tiny, inputs):
    model = copy.deepcopy(tiny.model)
    pruner = Random(keep=0.2)
    attached = attach(model, tiny.processor, pruner)
    ours = model.generate
    model.generate = lambda **given: ours(**given)
    attached.detach()
    model.generate(**inputs, max_new_tokens=1)
    assert pruner.stats.prompts == 0
    assert not attached.is_attached


def test_training_mode_stays(tiny):
    model = copy.deepcopy(tiny.model).train()
    with attach(model, tiny.processor, PRUNER):
        assert all(module.training for module in model.modules())


@pytest.mark.parametrize("model", [None, "demo", 7])
def test_what_is_no_model_cannot_be_attached(tiny, model):
    with pytest.raises(UsageError, match="model"):
        attach(model, tiny.processor, PRUNER)


def test_no_pruner_cannot_be_attached(tiny):
    with pytest.raises(UsageError, match="takes a pruner"):
        attach(tiny.model, tiny.processor, None)


def test_a_class_in_place_of_a_pruner_is_refused_and_nothing_is_attached(tiny):
    with pytest.raises(UsageError, match="must be an object"):
        attach(tiny.model, tiny.processor, Random)
    assert "generate" not in vars(tiny.model)


def test_a_tokenizer_in_place_of_a_processor_is_refused_and_nothing_is_attached(tiny):
    with pytest.raises(UsageError, match="AutoProcessor"):
        attach(tiny.model, tiny.processor.tokenizer, PRUNER)
    assert "generate" not in vars(tiny.model)


class Wrapper(torch.nn.Module):
    """As DistributedDataParallel holds a model."""

    def __init__(self, model):
        super().__init__()
        self.module = model


class Adapted(torch.nn.Module):
    """As peft holds a model: whatever it lacks is the model's, a base_model among it."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def __getattr__(self, name):
        own = self.__dict__["_modules"]
        return own[name] if name in own else getattr(own["model"], name)


@pytest.mark.parametrize("wrapper", [Wrapper, Adapted])
def test_a_wrapped_model_is_unwrapped(tiny, inputs, wrapper):
    with attach(wrapper(tiny.model), tiny.processor, PRUNER):
        pruned = tiny.model.generate(**inputs, max_new_tokens=2)
    assert pruned.shape[1] <= inputs["input_ids"].shape[1] + 2
    assert PRUNER.stats.last == [(144, 29)]
