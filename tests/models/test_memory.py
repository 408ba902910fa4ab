"""Memory: passes that do not fit are halved, and nothing else about the results changes."""

import gc
import weakref
from dataclasses import replace
from inspect import signature
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wordsight._utils.notes import listen_to_notes
from wordsight.errors import ModelError, UsageError
from wordsight.models.load_options import LoadOptions
from wordsight.models.memory import PassMemory, is_out_of_memory, row_bytes
from wordsight.models.vlm import VLM
from wordsight.pruners.random import Random

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    MemoryError(),
]


@pytest.fixture(scope="module")
def prompts(prompt):
    """Seven prompts that begin alike, of several lengths."""
    return [Random(tokens=count, seed=count)(prompt) for count in (20, 25, 30, 35, 40, 45, 50)]


@pytest.fixture
def allocator(tiny, monkeypatch):
    """A function that lets the tiny model's memory run out, with an error, beyond so many rows; the rows of
    the passes that were tried.
    """
    forward = tiny.model.forward

    def limit(rows, error):
        tried = []

        def limited(**given):
            tried.append(len(given["input_ids"]))
            if tried[-1] > rows:
                raise error
            return forward(**given)

        limited.__signature__ = signature(forward)
        monkeypatch.setattr(tiny.model, "forward", limited)
        return tried

    return limit


def fresh(tiny, **options):
    return VLM(tiny.model, tiny.processor, "tiny", **options)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:20])
def test_logits_are_the_same_where_memory_runs_out_and_that_is_said_once(tiny, prompts, allocator, error):
    expected, notes = tiny.logits(prompts), []
    tried, vlm = allocator(2, error), fresh(tiny)
    with listen_to_notes(notes.append):
        found = vlm.logits(prompts)
        first = len(tried)
        assert torch.allclose(found, expected, atol=1e-5)
        assert torch.allclose(vlm.logits(prompts), expected, atol=1e-5)
    assert max(tried[first:]) <= 2  # what was learned is kept
    assert set(notes) == {
        "memory ran out: passes are halved from here on, which changes nothing but last digits"
    }


def test_answers_are_the_same_where_memory_runs_out(tiny, prompts, allocator):
    expected = tiny.answers(prompts, 6)
    tried = allocator(3, ERRORS[0])
    assert fresh(tiny).answers(prompts, 6) == expected
    assert max(tried) > 3


def test_a_single_prompt_that_does_not_fit_is_one_sentence_with_numbers(tiny, prompts, allocator):
    allocator(0, ERRORS[0])
    with pytest.raises(ModelError, match=r"single prompt in a pass, which takes about .* GiB .*20\.00 MiB"):
        fresh(tiny).answers(prompts[:1], 6)


def test_passes_take_no_more_bytes_than_they_may(tiny, prompts, allocator):
    tried = allocator(99, ERRORS[0])
    expected = tiny.logits(prompts)
    assert max(tried) == len(prompts)
    tried.clear()
    longest = prompts[-1].length
    each = row_bytes(tiny.model.config, longest, longest, itemsize=4)
    assert torch.allclose(fresh(tiny, pass_bytes=3 * each).logits(prompts), expected, atol=1e-5)
    assert 1 < max(tried) < len(prompts)


def test_a_repeated_cache_counts_for_every_row():
    """LLaVA-1.5-7B: 32 layers, 4,096 wide, in 16 bits: half a MiB of keys and values for every token."""
    text = SimpleNamespace(
        hidden_size=4096,
        num_attention_heads=32,
        num_hidden_layers=32,
        intermediate_size=11008,
        vocab_size=32064,
    )
    config = SimpleNamespace(get_text_config=lambda: text, _attn_implementation="sdpa")
    assert row_bytes(config, 15, 615) - row_bytes(config, 15, 15) >= 600 * 2**19
    assert row_bytes(config, 15, 615) < 1.1 * 615 * 2**19


class LivingTensors(TorchDispatchMode):
    """The bytes of the tensors that are made while it is open, and their most at any time."""

    def __init__(self):
        super().__init__()
        self.sizes, self.bytes, self.most = {}, 0, 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        self.note((arguments, options), 0)  # what was there before
        made = function(*arguments, **(options or {}))
        self.note(made, 1)
        return made

    def note(self, values, share):
        for storage in (
            one.untyped_storage() for one in tree_leaves(values) if isinstance(one, torch.Tensor)
        ):
            if storage._cdata not in self.sizes:
                self.sizes[storage._cdata] = size = share * storage.nbytes()
                self.bytes += size
                self.most = max(self.most, self.bytes)
                weakref.finalize(storage, self.gone, storage._cdata)

    def gone(self, key):
        self.bytes -= self.sizes.pop(key)


def begun_alike(prompt, count, lengths=1):
    """Prompts that share their first half, and their lengths or not."""
    found = []
    for i in range(count):
        embeds = prompt.visual.embeds.clone()
        embeds[70:] += i
        other = replace(prompt, visual=replace(prompt.visual, embeds=embeds))
        found.append(other if i % lengths == 0 else other.followed_by(7))
        assert found[-1].row  # it is made once, and stays with the prompt
    return found


@pytest.mark.parametrize("lengths", [1, 2], ids=["kept once", "repeated"])
def test_the_peak_of_a_pass_is_that_of_its_bound_and_flat_in_the_number_of_prompts(deep, prompt, lengths):
    vlm, peaks = VLM(deep.model, deep.processor, "deep", pass_tokens=2**22, pass_bytes=2**21), []
    for count in (24, 72):
        prompts = begun_alike(prompt, count, lengths)
        with LivingTensors() as tensors:
            logits = vlm.logits(prompts)
        peaks.append(tensors.most - logits.nbytes)
    assert 0.4 * 2**21 < peaks[0] < 1.2 * 2**21
    assert peaks[1] < 1.05 * peaks[0]


def test_the_peak_of_reading_a_few_tokens_anew_is_that_of_its_bound(deep, prompt):
    vlm, peaks = VLM(deep.model, deep.processor, "deep", pass_tokens=2**22, pass_bytes=2**21), []
    begun = vlm.begin(prompt)
    columns = torch.arange(prompt.length - 20, prompt.length)
    for count in (24, 72):
        prompts = begun_alike(prompt, count)
        with LivingTensors() as tensors:
            logits = torch.cat([*vlm.reread(begun, prompts, columns.expand(count, -1))])
        peaks.append(begun.bytes + tensors.most - logits.nbytes)
    assert 0.4 * 2**21 < peaks[0] < 1.2 * 2**21
    assert peaks[1] < 1.05 * peaks[0]


@pytest.mark.parametrize(
    ("memory", "size"), [("4GB", 4 * 10**9), ("1.5 GiB", 3 * 2**29), ("500MB", 5 * 10**8), (None, None)]
)
def test_memory_is_a_size(memory, size):
    assert LoadOptions(memory=memory).pass_bytes == size


@pytest.mark.parametrize("memory", ["", "4", "lots", "-4GB", "0GB"])
def test_what_is_no_size_is_refused(memory):
    with pytest.raises(UsageError, match="must be a number of MB, GB, MiB, GiB, as 500MB; got"):
        LoadOptions(memory=memory)


def test_a_model_is_loaded_with_the_memory_that_it_is_given():
    assert VLM.from_pretrained(options=LoadOptions(memory="1GiB")).pass_bytes == 2**30


def test_what_is_no_lack_of_memory_is_raised_as_it_is():
    def broken(items):
        raise ValueError("no")

    assert not is_out_of_memory(ValueError("out of range"))
    with pytest.raises(ValueError, match="no"):
        list(PassMemory(100).passes(broken, [1, 2], 1))


def test_memory_is_free_again_before_the_halves_are_tried():
    """What the failed pass held would be in the way."""
    held = []

    class Activation:
        pass

    def work(items):
        assert not any(each() for each in held)
        mine = Activation()
        held.append(weakref.ref(mine))
        if len(items) > 1:
            raise MemoryError
        return items

    gc.disable()
    try:
        assert [piece for piece, _ in PassMemory(100).passes(work, [1, 2], 1)] == [[1], [2]]
    finally:
        gc.enable()
