"""Pruned prompts against the whole model with a mask, and against prefills that are built by hand."""

from dataclasses import replace

import pytest
import torch

from wordsight.errors import UsageError
from wordsight.models.layer_hooks import cache_name
from wordsight.models.prompt import Prompt, collate, collate_after, shared_prefix_length
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.fastv import FastV

QUESTION = "what is the background?"
SUBSETS = {
    "one": [77],
    "first and last": [0, 143],
    "every second": list(range(0, 144, 2)),
    "a block with gaps": [3, 4, 5, 60, 61, 100],
    "all but one": [i for i in range(144) if i != 70],
    "random tenth": torch.randperm(144, generator=torch.Generator().manual_seed(1))[:14].tolist(),
    "random half": torch.randperm(144, generator=torch.Generator().manual_seed(2))[:72].tolist(),
}
subsets = pytest.mark.parametrize("kept", SUBSETS.values(), ids=SUBSETS)


def pruned(prompt, kept):
    return replace(prompt, visual=prompt.visual.take(torch.tensor(kept, dtype=torch.long)))


def untouched_inputs(vlm, picture):
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}
    text = vlm.processor.apply_chat_template([turn], add_generation_prompt=True)
    return dict(vlm.processor(images=picture, text=text, add_special_tokens=False, return_tensors="pt"))


def masked_inputs(vlm, picture, kept):
    """What the unpruned model reads, with the dropped placeholders masked out."""
    inputs = untouched_inputs(vlm, picture)
    placeholders = (inputs["input_ids"][0] == 4).nonzero()[:, 0]
    for slot, place in enumerate(placeholders.tolist()):
        inputs["attention_mask"][0, place] = int(slot in kept)
    return inputs | {"position_ids": torch.arange(inputs["input_ids"].shape[1])[None]}


@torch.no_grad()
def masked_logits(vlm, picture, kept):
    return vlm.model(**masked_inputs(vlm, picture, kept)).logits[0, -1]


@torch.no_grad()
def masked_greedy(vlm, picture, kept, count):
    """The words of the unpruned model under a mask: one whole pass for every word, no cache."""
    inputs, said = masked_inputs(vlm, picture, kept), []
    for _ in range(count):
        said.append(int(vlm.model(**inputs, use_cache=False).logits[0, -1].argmax()))
        one = torch.tensor([[1]])
        inputs["input_ids"] = torch.cat([inputs["input_ids"], one * said[-1]], 1)
        inputs["attention_mask"] = torch.cat([inputs["attention_mask"], one], 1)
        inputs["position_ids"] = torch.cat([inputs["position_ids"], inputs["position_ids"][:, -1:] + 1], 1)
    return said


@torch.no_grad()
def logits(vlm, inputs):
    return vlm.model(**inputs).logits[:, -1]


@torch.no_grad()
def greedy(vlm, prompts, count, **options):
    inputs = collate(prompts)
    out = vlm.model.generate(**inputs, max_new_tokens=count, min_new_tokens=count, do_sample=False, **options)
    return out[:, inputs["input_ids"].shape[1] :].tolist()


@torch.no_grad()
def test_keep_all_leaves_the_logits_unchanged(tiny, prompt, picture):
    untouched = tiny.model(**untouched_inputs(tiny, picture)).logits
    torch.testing.assert_close(tiny.model(**prompt.inputs()).logits, untouched, rtol=0, atol=1e-6)


@subsets
def test_a_pruned_prompt_equals_the_whole_model_with_a_mask(tiny, prompt, picture, kept):
    oracle = masked_logits(tiny, picture, kept)
    torch.testing.assert_close(logits(tiny, pruned(prompt, kept).inputs())[0], oracle, rtol=1e-5, atol=1e-5)


@subsets
@torch.no_grad()
def test_a_contiguous_prompt_equals_a_prefill_built_by_hand(tiny, prompt, picture, kept):
    inputs = untouched_inputs(tiny, picture)
    embeds = tiny.model.get_input_embeddings()(inputs["input_ids"][0]).clone()
    features = tiny.model.get_image_features(inputs["pixel_values"]).pooler_output[0]
    start = inputs["input_ids"][0].tolist().index(4)
    read = torch.cat([embeds[:start], features[sorted(kept)], embeds[start + 144 :]])
    oracle = tiny.model(inputs_embeds=read[None], position_ids=torch.arange(len(read))[None]).logits
    ours = tiny.model(**pruned(prompt, kept).contiguous().inputs()).logits
    torch.testing.assert_close(ours, oracle, rtol=1e-5, atol=1e-5)


def test_closing_the_gaps_changes_what_the_model_reads(tiny, prompt):
    gaps = pruned(prompt, SUBSETS["random tenth"])
    assert not torch.allclose(
        logits(tiny, gaps.inputs()), logits(tiny, gaps.contiguous().inputs()), atol=0.01
    )


def test_a_prompt_without_any_visual_token_equals_the_fully_masked_picture(tiny, prompt, picture):
    oracle = masked_logits(tiny, picture, [])
    torch.testing.assert_close(logits(tiny, pruned(prompt, []).inputs())[0], oracle, rtol=1e-5, atol=1e-5)


def test_a_ragged_batch_has_the_logits_of_single_runs(tiny, prompt):
    prompts = [pruned(prompt, kept) for kept in SUBSETS.values()] + [prompt, pruned(prompt, [])]
    singles = torch.cat([logits(tiny, one.inputs()) for one in prompts])
    torch.testing.assert_close(logits(tiny, collate(prompts)), singles, rtol=1e-5, atol=1e-5)


def test_a_ragged_batch_generates_what_single_runs_do(tiny, prompt):
    prompts = [pruned(prompt, kept) for kept in SUBSETS.values()] + [prompt, pruned(prompt, [])]
    assert greedy(tiny, prompts, 6) == [greedy(tiny, [one], 6)[0] for one in prompts]


@subsets
def test_greedy_generation_is_that_of_the_masked_model(tiny, prompt, picture, kept):
    assert greedy(tiny, [pruned(prompt, kept)], 6)[0] == masked_greedy(tiny, picture, kept, 6)


@subsets
@torch.no_grad()
def test_generation_with_a_cache_is_that_of_passes_without_one(tiny, prompt, kept):
    longer, said = pruned(prompt, kept), []
    for _ in range(6):
        said.append(int(tiny.model(**longer.inputs(), use_cache=False).logits[0, -1].argmax()))
        longer = longer.followed_by(said[-1])
    assert greedy(tiny, [pruned(prompt, kept)], 6)[0] == said


def test_generate_in_a_ragged_batch_needs_no_cache(tiny, prompt):
    prompts = [pruned(prompt, SUBSETS["one"]), pruned(prompt, SUBSETS["every second"])]
    # The shorter row has padding, so that transformers keeps the mask.
    assert greedy(tiny, prompts, 6, use_cache=False)[0] == greedy(tiny, prompts, 6)[0]


def test_generate_with_contiguous_positions_needs_no_cache(tiny, prompt):
    closed = pruned(prompt, SUBSETS["every second"]).contiguous()
    assert greedy(tiny, [closed], 6, use_cache=False) == greedy(tiny, [closed], 6)


@torch.no_grad()
def test_without_the_mask_gaps_are_read_as_packed_sequences(tiny, prompt, picture):
    kept = SUBSETS["every second"]
    inputs = pruned(prompt, kept).inputs()
    del inputs["attention_mask"]
    packed = tiny.model(**inputs, use_cache=False).logits[0, -1]
    assert (packed - masked_logits(tiny, picture, kept)).abs().max() > 0.1


@torch.no_grad()
def test_with_the_mask_gaps_are_safe_without_a_cache(tiny, prompt, picture):
    kept = SUBSETS["every second"]
    read = tiny.model(**pruned(prompt, kept).inputs(), use_cache=False).logits[0, -1]
    torch.testing.assert_close(read, masked_logits(tiny, picture, kept), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kept", [[], [77], list(range(144))], ids=["none", "one", "all"])
def test_every_batch_has_a_mask(prompt, kept):
    assert collate([pruned(prompt, kept)])["attention_mask"].all()


def test_followed_by_reads_one_more_word_at_the_next_position(tiny, prompt, picture):
    kept = SUBSETS["random half"]
    inputs = masked_inputs(tiny, picture, kept)
    length = inputs["input_ids"].shape[1]
    for name, value in {"input_ids": 85, "attention_mask": 1, "position_ids": length}.items():
        inputs[name] = torch.cat([inputs[name], torch.tensor([[value]])], 1)
    longer = pruned(prompt, kept).followed_by(85)
    torch.testing.assert_close(logits(tiny, longer.inputs()), logits(tiny, inputs), rtol=1e-5, atol=1e-5)


def test_followed_by_leaves_the_prompt_as_it_was(prompt):
    before = {name: values.clone() for name, values in prompt.sequence.items()}
    prompt.followed_by(85)
    assert all(torch.equal(prompt.sequence[name], values) for name, values in before.items())


def test_followed_by_continues_contiguous_positions(prompt):
    longer = pruned(prompt, [5, 9]).contiguous().followed_by(85)
    assert longer.inputs()["position_ids"][0].tolist() == list(range(len(prompt.is_visual) - 144 + 2 + 1))


def small(ids, slots=(), positions=None, deep=()):
    """A prompt whose placeholders are the zeros of `ids`; token i has the embedding (i, i)."""
    ids, slot = torch.tensor(ids), torch.tensor(slots, dtype=torch.long)
    embeds = slot[:, None].float().expand(-1, 2)
    visual = VisualTokens(embeds, slot, torch.zeros(len(slot), 4, dtype=torch.long), deep=deep)
    positions = torch.arange(len(ids)) if positions is None else positions
    return Prompt({"input_ids": ids, "position_ids": positions}, ids == 0, visual)


def test_is_kept_marks_the_text_and_the_surviving_placeholders():
    kept = small([7, 0, 0, 8, 0, 9], slots=[1, 2]).is_kept()
    assert kept.tolist() == [True, False, True, True, True, True]


def test_contiguous_counts_the_kept_positions():
    batch = small([7, 0, 0, 8, 0, 9], slots=[1, 2]).contiguous().inputs()
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4]]


def test_collate_pads_on_the_left():
    batch = collate([small([7, 0, 8], slots=[]), small([7, 0, 0, 8], slots=[0, 1])])
    assert batch["input_ids"].tolist() == [[0, 0, 7, 8], [7, 0, 0, 8]]


def test_collate_masks_the_padding():
    batch = collate([small([7, 0, 8], slots=[]), small([7, 0, 0, 8], slots=[0, 1])])
    assert batch["attention_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]


def test_collate_keeps_the_original_positions():
    batch = collate([small([7, 0, 8], slots=[]), small([7, 0, 0, 8], slots=[1])])
    assert batch["position_ids"].tolist() == [[0, 0, 2], [0, 2, 3]]


def test_collate_puts_the_axes_of_rotary_positions_before_the_batch():
    axes = torch.stack([torch.arange(3) + 10 * axis for axis in range(3)])  # (3, L)
    batch = collate([small([7, 0, 8], slots=[0], positions=axes), small([7, 8, 9], positions=axes)])
    assert batch["position_ids"].tolist() == [[row, row] for row in axes.tolist()]


def test_collate_hands_over_the_features_of_every_prompt_in_order():
    batch = collate([small([7, 0, 0, 8], slots=[1]), small([0, 0, 8], slots=[0, 1])])
    features = batch["mm_encoder_outputs"]["image"].pooler_output
    assert torch.cat(list(features))[:, 0].tolist() == [1, 0, 1]


def test_collate_sorts_deepstack_features_by_layer():
    first = small([0, 8], slots=[0], deep=(torch.full((1, 2), 1.0), torch.full((1, 2), 2.0)))
    second = small([0, 8], slots=[0], deep=(torch.full((1, 2), 3.0), torch.full((1, 2), 4.0)))
    layers = collate([first, second])["mm_encoder_outputs"]["image"].deepstack_features
    assert [[rows[0, 0].item() for rows in layer] for layer in layers] == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        (small([7, 8, 9]), small([7, 8, 5]), 2),
        (small([7, 8, 9]), small([7, 8, 9]), 2),
        (small([7, 8]), small([7, 8, 9, 10]), 1),
        (small([7, 8, 9]), small([6, 8, 9]), 0),
        (small([7, 8, 9, 5]), small([7, 8, 9, 5], positions=torch.tensor([0, 1, 3, 4])), 2),
        (small([7, 0, 0, 8, 9], slots=[0, 1]), small([7, 0, 0, 8, 5], slots=[0, 1]), 4),
        (small([7, 0, 0, 8, 9], slots=[0, 1]), small([7, 0, 0, 8, 9], slots=[0]), 2),
        (small([7, 0, 0, 8, 9], slots=[0]), small([7, 0, 0, 8, 9], slots=[1]), 1),
        (small([7, 0, 8, 9], slots=[0]), small([7, 8, 8, 9]), 1),
        (small([0, 0, 8, 9], slots=[0, 1]), small([0, 0, 8, 9], slots=[]), 0),
    ],
)
def test_shared_length_counts_the_equal_first_tokens_and_leaves_one(one, other, shared):
    assert (shared_prefix_length([one, other]), shared_prefix_length([other, one])) == (shared, shared)


def test_shared_length_ends_at_another_embedding_in_the_same_slot():
    one = small([7, 0, 0, 8], slots=[0, 1])
    embeds = one.visual.embeds + torch.tensor([[0.0], [1.0]])
    assert shared_prefix_length([one, replace(one, visual=replace(one.visual, embeds=embeds))]) == 2


def test_shared_length_ends_at_another_deepstack_feature():
    one = small([7, 0, 0, 8], slots=[0, 1], deep=(torch.zeros(2, 2),))
    deep = (torch.tensor([[0.0, 0.0], [0.0, 1.0]]),)
    assert shared_prefix_length([one, replace(one, visual=replace(one.visual, deep=deep))]) == 2


def test_shared_length_of_many_is_that_of_the_least_alike():
    assert shared_prefix_length([small([7, 8, 9, 1]), small([7, 8, 9, 2]), small([7, 5, 9, 1])]) == 1


def test_the_inputs_of_a_prompt_with_a_layerwise_method_are_refused(prompt):
    """The model alone would read all of its tokens, whatever the method says."""
    marked = FastV(tokens=5)(prompt)
    with pytest.raises(
        UsageError, match=r"FastV drops tokens between layers .* VLM\.logits or VLM\.generate"
    ):
        marked.inputs()
    assert torch.equal(collate([marked])["input_ids"], prompt.inputs()["input_ids"])


@pytest.mark.parametrize("length", [1, 3, 40, 80])
@torch.no_grad()
def test_collate_after_splits_a_pass_in_two(tiny, prompt, length):
    prompts = [pruned(prompt, range(90)).followed_by(word) for word in (20, 21, 22)]
    before, rest = collate_after(prompts, length)
    cache = tiny.model(**before, use_cache=True)[cache_name(tiny.model)]
    cache.batch_repeat_interleave(3)
    late = tiny.model(**rest, **{cache_name(tiny.model): cache}).logits[:, -1]
    torch.testing.assert_close(late, logits(tiny, collate(prompts)), rtol=1e-5, atol=1e-5)


def test_collate_after_masks_the_padding_between_the_shared_part_and_the_rest():
    _, rest = collate_after([small([7, 8, 9]), small([7, 8, 9, 1, 2])], 2)
    assert rest["attention_mask"].tolist() == [[1, 1, 0, 0, 1], [1, 1, 1, 1, 1]]


def test_a_batch_of_no_prompts_is_refused(prompt):
    for given in ([], prompt):
        with pytest.raises(UsageError, match="prompts must be a list of at least one prompt"):
            collate(given)
