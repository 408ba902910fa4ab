"""Times against a clock that the test winds, work against what it comes to by hand."""

from itertools import product
from statistics import median

import pytest
import torch

from wordsight.errors import UsageError
from wordsight.evaluation import latency as timed
from wordsight.evaluation.latency import Timing, is_gain, kv_cache_bytes, median_interval, prefill_flops
from wordsight.models.chat import TokenClock
from wordsight.pruners.cls_topk import ClsTopK
from wordsight.pruners.uniform import Uniform
from wordsight.tasks.scenes import Scenes

EXAMPLES = Scenes(pictures=2).first(8)
TIMING = Timing(rounds=6, batch=3, new_tokens=4)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when somebody lets them."""
    now = [0.0]
    monkeypatch.setattr(timed, "perf_counter", lambda: now[0])
    monkeypatch.setattr("wordsight.models.chat.perf_counter", lambda: now[0])

    def passes(seconds):
        now[0] += seconds

    return passes


@pytest.fixture
def slow(tiny, clock, monkeypatch):
    """The tiny model on a machine that takes 1 s to encode, 2 s to prune, 4 ms a token read, 8 s a new one;
    and the prompts it was given, in order.
    """
    encode, place, generate, given = tiny.encode, Uniform.__call__, tiny.generate, []

    def encoding(*arguments, **options):
        clock(1)
        return encode(*arguments, **options)

    def pruning(self, prompt):
        clock(2)
        return place(self, prompt)

    def generating(prompts, *, max_new_tokens, min_new_tokens=0, clock: TokenClock | None = None):
        given.append(prompts)
        passes(0.004 * sum(prompt.length for prompt in prompts))
        if clock:
            clock(torch.zeros(1, 1), None)
        passes(8.0 * (max_new_tokens - 1))
        return generate(prompts, max_new_tokens=1) if not clock else []

    passes = clock
    monkeypatch.setattr(tiny, "encode", encoding)
    monkeypatch.setattr(Uniform, "__call__", pruning)
    monkeypatch.setattr(tiny, "generate", generating)
    return tiny, given


def test_times_are_told_by_stage_for_a_question(slow):
    vlm, _ = slow
    one, three = TIMING.measure(vlm, EXAMPLES, Uniform(tokens=14))["batches"]
    lengths = [vlm.encode(each.images, each.question).length - 130 for each in EXAMPLES]
    for taken in (one, three):
        spans = taken["milliseconds"]
        assert (spans["vision"], spans["selection"]) == pytest.approx((1000, 2000))
        assert 4 * min(lengths) <= spans["prefill"] <= 4 * max(lengths)
        assert spans["decode"] == pytest.approx(3 * 8000 / taken["batch"])
    assert (one["batch"], three["batch"]) == (1, 3)
    assert one["milliseconds"]["total"] == pytest.approx(1000 + 2000 + one["milliseconds"]["prefill"] + 24000)


def test_ratios_are_those_to_the_unpruned_model_on_the_same_question(slow):
    vlm, _ = slow
    (one, _) = TIMING.measure(vlm, EXAMPLES, Uniform(tokens=14))["batches"]
    lengths = [vlm.encode(each.images, each.question).length for each in timed._spread(EXAMPLES, 6)]
    shares = [(length - 130) / length for length in lengths]
    assert one["ratio"]["prefill"] == pytest.approx([median(shares), min(shares), max(shares)])
    assert [*one["ratio"]["vision"], *one["ratio"]["decode"]] == pytest.approx([1] * 6)
    assert one["ratio"]["total"][0] > 1  # what is saved is less than the selection takes


def test_unpruned_and_pruned_take_turns_and_each_goes_first_as_often(slow):
    vlm, given = slow
    Timing(rounds=6, batch=1, new_tokens=2).measure(vlm, EXAMPLES, Uniform(tokens=14))
    rounds = [len(prompts[0].visual) for prompts in given[2:14]]  # after one unmeasured pass of each
    assert rounds == [144, 14, 14, 144] * 3


def test_the_unpruned_model_is_timed_alone_and_has_no_ratio(slow):
    vlm, given = slow
    record = Timing(rounds=6, batch=1).measure(vlm, EXAMPLES, None)
    assert record["batches"][0]["ratio"] is None
    assert {len(prompt.visual) for prompts in given for prompt in prompts} == {144}


def test_answers_are_of_the_same_length_however_little_the_model_would_say(tiny, monkeypatch):
    said = []

    def decode(processor, new, **options):
        said.append(new.shape[1])
        return [""] * len(new)

    monkeypatch.setattr(type(tiny.processor), "batch_decode", decode)
    monkeypatch.setattr(tiny.model.generation_config, "eos_token_id", list(range(5, 256)))
    prompts = [tiny.encode(EXAMPLES[0].images, "what?")]
    tiny.generate(prompts, max_new_tokens=5)
    tiny.generate(prompts, max_new_tokens=5, min_new_tokens=5)
    assert said[0] < said[1] == 5


def test_the_signals_that_a_pruner_needs_are_part_of_its_time(tiny, monkeypatch):
    asked = []
    encode = tiny.encode
    monkeypatch.setattr(
        tiny, "encode", lambda *given, **named: asked.append(named["signals"]) or encode(*given, **named)
    )
    Timing(rounds=6, batch=1, new_tokens=2).measure(tiny, EXAMPLES[:1], ClsTopK(tokens=14))
    assert asked.count(ClsTopK.required_signals) >= asked.count(frozenset()) > 0


def test_there_is_no_peak_memory_on_a_cpu_and_it_is_said_why(tiny):
    taken = Timing(rounds=6, batch=1, new_tokens=2).measure(tiny, EXAMPLES[:1], None)["batches"][0]
    assert taken["peak_memory_bytes"] is None
    assert "GPU" in taken["peak_memory_note"]


@pytest.mark.parametrize("count", [144, 14])
def test_the_cache_holds_a_key_and_a_value_for_every_token_read(tiny, count):
    prompts = [Uniform(tokens=count)(tiny.encode(EXAMPLES[0].images, "what?")) for _ in range(2)]
    layers, width, single = 2, 32, 4
    assert kv_cache_bytes(tiny, prompts) == 2 * prompts[0].length * layers * 2 * width * single


@pytest.mark.parametrize("count", [144, 14])
def test_the_work_of_a_prefill_is_what_its_matrices_come_to(tiny, count):
    prompt = Uniform(tokens=count)(tiny.encode(EXAMPLES[0].images, "what?"))
    length, width, inner, words, layers = prompt.length, 32, 64, 256, 2
    weights = 4 * width * width + 3 * width * inner  # queries, keys, values, output; gate, up, down
    attention = 2 * length * length * width  # scores, and values weighted by them
    assert prefill_flops(tiny, [prompt]) == 2 * (layers * (length * weights + attention) + width * words)


@pytest.mark.parametrize("count", range(6, 13))
def test_the_interval_of_the_median_is_the_narrowest_that_holds_it_with_95_percent(count):
    low, high = median_interval(list(range(count)))
    cut = int(low)
    assert high == count - 1 - cut

    def missed(cut):
        """How often, of all ways to lie below or above the median, it is not between these two."""
        below = [sum(way) for way in product((0, 1), repeat=count)]
        return sum(b <= cut or b >= count - cut for b in below) / len(below)

    assert missed(cut) <= 0.05 < missed(cut + 1)


@pytest.mark.parametrize(
    ("ratio", "gain"), [([0.5, 0.4, 0.99], True), ([0.9, 0.8, 1.0], False), ([2, 1, 3], False)]
)
def test_a_gain_is_below_one_all_through(ratio, gain):
    assert is_gain(ratio) is gain


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rounds": 5}, "rounds must be a whole number in .6, 10000., got 5"),
        ({"batch": 0}, "batch must be a whole number in .1, 10000., got 0"),
        ({"new_tokens": 1}, "new_tokens must be a whole number in .2, 10000., got 1"),
    ],
)
def test_what_cannot_be_timed_is_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        Timing(**wrong)


def test_questions_are_spread_and_repeated_where_they_are_too_few():
    assert timed._spread(list(range(10)), 5) == [0, 2, 4, 6, 8]
    assert timed._spread(list(range(2)), 5) == [0, 1, 0, 1, 0]
