"""VLM: many prompts against one by one, what encode runs and refuses, and what a checkpoint must have."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from PIL import Image
from transformers import LlamaConfig, LlamaForCausalLM

from wordsight.errors import UsageError
from wordsight.models import processor_options
from wordsight.models.vlm import VLM
from wordsight.pruners.base import ScorePruner
from wordsight.pruners.divprune import DivPrune
from wordsight.redundancy.ablation import ablate_regional
from wordsight.reports.drawing import boxes

QUESTION = "what is the background?"


@dataclass(kw_only=True)
class MostAttended(ScorePruner):
    required_signals = frozenset({"cls_attention"})

    def score(self, tokens):
        return tokens.signals["cls_attention"]


@pytest.fixture
def prompts(tiny, prompt, picture):
    """Two questions about whole and pruned pictures, some with the first word of an answer."""
    other = tiny.encode(picture, "is there a cat?", visual=prompt.visual)
    kept = [torch.arange(0), torch.arange(50), torch.arange(0, 144, 7), torch.arange(60, 144)]
    pruned = [replace(one, visual=one.visual.take(index)) for one in (prompt, other) for index in kept]
    return [prompt, other, prompt.followed_by(85), *pruned, prompt]


@pytest.fixture
def checkpoint(tiny, tmp_path):
    """A folder with the tiny model as Hugging Face saves it."""
    tiny.model.save_pretrained(tmp_path)
    tiny.processor.save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def tower_passes(tiny):
    """One entry for every pass of the vision tower while the test runs."""
    passed = []
    hook = tiny.model.model.vision_tower.register_forward_hook(lambda *_: passed.append(1))
    yield passed
    hook.remove()


def one_by_one(vlm, prompts):
    with torch.no_grad():
        return torch.cat([vlm.model(**prompt.inputs()).logits[:, -1] for prompt in prompts])


@pytest.mark.parametrize("pass_tokens", [1, 160, 500, 4096])
def test_logits_of_many_prompts_equal_those_one_by_one(tiny, prompts, pass_tokens):
    vlm = VLM(tiny.model, tiny.processor, "tiny", pass_tokens=pass_tokens)
    torch.testing.assert_close(vlm.logits(prompts), one_by_one(tiny, prompts), rtol=1e-5, atol=1e-5)


def test_logits_of_prompts_that_share_their_first_visual_tokens_equal_those_one_by_one(tiny, prompt):
    alike = [
        replace(prompt, visual=prompt.visual.take(torch.cat([torch.arange(100), torch.tensor(late).long()])))
        for late in ([101], [110, 120], [130, 131, 143], [])
    ]
    torch.testing.assert_close(tiny.logits(alike), one_by_one(tiny, alike), rtol=1e-5, atol=1e-5)


def test_logits_of_prompts_with_nothing_in_common_equal_those_one_by_one(tiny, prompt):
    ids = prompt.sequence["input_ids"].clone()
    ids[0] = 85
    different = [prompt, replace(prompt, sequence={**prompt.sequence, "input_ids": ids})]
    torch.testing.assert_close(tiny.logits(different), one_by_one(tiny, different), rtol=1e-5, atol=1e-5)


def test_logits_reads_the_shared_tokens_once(tiny, prompt, passes):
    tiny.logits([prompt.followed_by(word) for word in range(20, 30)])
    assert passes == [(1, len(prompt.is_visual)), (10, 1)]


def test_a_pass_reads_no_more_than_pass_tokens(tiny, prompt, passes):
    vlm = VLM(tiny.model, tiny.processor, "tiny", pass_tokens=40)
    vlm.logits([prompt.followed_by(20 + i).followed_by(5).followed_by(6) for i in range(30)])
    assert passes[1:] == [(13, 3), (13, 3), (4, 3)]


def test_logits_are_float32_for_a_model_in_half_precision(tiny, prompt):
    vlm = VLM(copy.deepcopy(tiny.model).bfloat16(), tiny.processor, "half")
    assert vlm.logits([prompt, prompt.followed_by(85)]).dtype == torch.float32


def test_encode_runs_the_tower_once(tiny, picture, tower_passes):
    tiny.encode([picture, picture], QUESTION, signals=frozenset({"cls_attention", "cls_similarity"}))
    assert len(tower_passes) == 1


def test_encode_with_the_visual_tokens_of_before_skips_the_tower(tiny, picture, prompt, tower_passes):
    tiny.encode(picture, "is there a cat?", visual=prompt.visual)
    assert not tower_passes


def test_visual_tokens_of_another_number_of_images_are_refused(tiny, picture, prompt):
    with pytest.raises(UsageError, match="288 image placeholders for 144 visual tokens"):
        tiny.encode([picture, picture], "is there a cat?", visual=prompt.visual)


def test_encode_with_the_visual_tokens_of_before_makes_the_same_prompt(tiny, picture, prompt):
    again = tiny.encode(picture, "is there a cat?", visual=prompt.visual)
    fresh = tiny.encode(picture, "is there a cat?")
    assert torch.equal(tiny.logits([again]), tiny.logits([fresh]))


def test_encode_reads_several_images_in_order(tiny, picture):
    other = Image.new("RGB", (192, 192), "red")
    both = tiny.encode([picture, other], QUESTION).visual.embeds
    apart = [tiny.encode(one, QUESTION).visual.embeds for one in (picture, other)]
    torch.testing.assert_close(both, torch.cat(apart))


def test_encode_takes_the_path_of_a_picture(tiny, picture, prompt, tmp_path):
    picture.save(tmp_path / "scene.png")
    assert torch.equal(tiny.encode(str(tmp_path / "scene.png"), QUESTION).visual.embeds, prompt.visual.embeds)


def test_a_signal_the_model_does_not_have_is_refused(tiny, picture):
    with pytest.raises(UsageError, match=r"no signal depth; it has cls_attention, .*similarity, features"):
        tiny.encode(picture, QUESTION, signals=frozenset({"depth"}))


def test_a_question_with_an_image_token_is_refused(tiny, picture):
    with pytest.raises(UsageError, match="image"):
        tiny.encode(picture, "what is <image> ?")


def test_a_question_about_no_image_is_refused(tiny):
    with pytest.raises(UsageError, match="image"):
        tiny.encode([], QUESTION)


def test_a_model_in_half_precision_encodes_in_its_own_precision(tiny, picture):
    vlm = VLM(copy.deepcopy(tiny.model).bfloat16(), tiny.processor, "half")
    assert vlm.encode(picture, QUESTION).visual.embeds.dtype == torch.bfloat16


@pytest.mark.parametrize(("images", "pruner", "kept"), [(1, MostAttended(tokens=30), 30), (2, None, 288)])
def test_answer_counts_the_tokens_before_and_after_pruning(tiny, picture, images, pruner, kept):
    answer = tiny.answer([picture] * images, QUESTION, pruner=pruner, max_new_tokens=1)
    assert (answer.tokens_total, answer.tokens_kept) == (144 * images, kept)


def test_the_answer_is_that_of_the_pruned_prompt(tiny, picture):
    answer = tiny.answer(picture, QUESTION, pruner=MostAttended(tokens=30), max_new_tokens=6)
    prompt, said = tiny.encode(picture, QUESTION, signals=MostAttended.required_signals), []
    best = prompt.visual.signals["cls_attention"].topk(30).indices
    kept = replace(prompt, visual=prompt.visual.take(best))
    for _ in range(6):
        said.append(int(one_by_one(tiny, [kept]).argmax()))
        kept = kept.followed_by(said[-1])
    assert str(answer) == tiny.processor.decode(said, skip_special_tokens=True).strip()


def test_the_spans_of_an_answer_are_the_time_it_took(tiny, picture, monkeypatch):
    # began, encoded, selected; began to generate, first word, done
    clock = iter([10.0, 11.0, 13.0, 13.0, 16.0, 20.0])
    for module in ("chat", "vlm"):
        monkeypatch.setattr(f"wordsight.models.{module}.perf_counter", lambda: next(clock))
    answer = tiny.answer(picture, QUESTION, max_new_tokens=3)
    spans = (answer.vision_ms, answer.selection_ms, answer.prefill_ms, answer.decode_ms)
    assert spans == (1000, 2000, 3000, 4000)


def test_generate_answers_the_same_when_the_checkpoint_turns_the_cache_off(tiny, prompt):
    gaps = replace(prompt, visual=prompt.visual.take(torch.arange(0, 144, 2)))
    uncached = VLM(copy.deepcopy(tiny.model), tiny.processor, "uncached")
    uncached.model.generation_config.use_cache = False
    assert uncached.generate([gaps], max_new_tokens=6) == tiny.generate([gaps], max_new_tokens=6)


def test_generate_answers_every_prompt_as_if_it_were_alone(tiny, prompts):
    alone = [tiny.generate([prompt], max_new_tokens=6)[0] for prompt in prompts]
    assert tiny.generate(prompts, max_new_tokens=6) == alone


def test_the_padding_embedding_is_the_row_of_the_padding_token(tiny):
    assert torch.equal(tiny.pad_embedding, tiny.model.model.language_model.embed_tokens.weight[0])


def test_a_processor_without_padding_token_is_refused(tiny):
    processor = copy.deepcopy(tiny.processor)
    processor.tokenizer.pad_token = None
    with pytest.raises(UsageError, match="no padding token"):
        VLM(tiny.model, processor, "unpadded").pad_embedding  # noqa: B018  # reading it is the test


def changed(vlm, change):
    model = copy.deepcopy(vlm.model)
    with torch.no_grad():
        change(model)
    return VLM(model, vlm.processor, "changed").fingerprint


def nudged(weight):
    def nudge(model):
        model.get_parameter(f"model.{weight}").view(-1)[3] += 0.5

    return nudge


@pytest.mark.parametrize(
    "weight",
    [
        "multi_modal_projector.linear_1.weight",
        "multi_modal_projector.linear_2.weight",
        "multi_modal_projector.linear_2.bias",
        "language_model.embed_tokens.weight",
    ],
)
def test_the_fingerprint_changes_with_one_weight_of_the_visual_space(tiny, weight):
    assert changed(tiny, nudged(weight)) != tiny.fingerprint


@pytest.mark.parametrize(
    "weight", ["language_model.layers.0.self_attn.q_proj.weight", "language_model.norm.weight"]
)
def test_the_fingerprint_does_not_change_with_the_rest_of_the_model(tiny, weight):
    assert changed(tiny, nudged(weight)) == tiny.fingerprint


def test_the_fingerprint_of_half_precision_weights_stays_when_they_are_loaded_in_float32(tiny):
    assert changed(tiny, lambda model: model.half()) == changed(tiny, lambda model: model.half().float())


def test_the_fingerprint_of_float32_weights_stays_when_they_are_loaded_in_bfloat16(tiny):
    assert changed(tiny, lambda model: model.bfloat16()) == tiny.fingerprint


def test_a_saved_checkpoint_loads_with_the_same_logits(tiny, checkpoint, prompt):
    loaded = VLM.from_pretrained(str(checkpoint))
    assert torch.equal(loaded.logits([prompt]), tiny.logits([prompt]))


def test_a_checkpoint_loads_in_the_precision_asked_for(checkpoint):
    assert VLM.from_pretrained(str(checkpoint), dtype="bfloat16").model.dtype == torch.bfloat16


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no model .*nothing here.*there is no such folder"):
        VLM.from_pretrained(str(tmp_path / "nothing here"))


@pytest.mark.parametrize(
    "missing", ["config.json", "model.safetensors", "processor_config.json", "tokenizer.json"]
)
def test_a_folder_without_one_of_its_files_is_refused(checkpoint, missing):
    (checkpoint / missing).unlink()
    with pytest.raises(UsageError, match="cannot load model"):
        VLM.from_pretrained(str(checkpoint))


@pytest.mark.parametrize("length", [0, 1000, 50_000])
def test_weights_that_are_cut_short_are_refused(checkpoint, length):
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(UsageError, match="cannot load model"):
        VLM.from_pretrained(str(checkpoint))


SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


def test_a_language_model_is_refused_by_from_pretrained(checkpoint):
    LlamaForCausalLM(LlamaConfig(**SMALL, vocab_size=256)).save_pretrained(checkpoint)
    with pytest.raises(UsageError, match="image-text-to-text"):
        VLM.from_pretrained(str(checkpoint))


def test_the_repr_of_a_model_is_a_line_with_its_name_and_no_layer(tiny):
    assert repr(tiny).startswith("VLM(name='tiny', ")
    assert "\n" not in repr(tiny)


def test_a_model_without_the_seam_is_refused(tiny):
    with pytest.raises(UsageError, match="text only: LlamaForCausalLM cannot take visual tokens"):
        VLM(LlamaForCausalLM(LlamaConfig(**SMALL, vocab_size=256)), tiny.processor, "text only")


def test_what_is_no_model_or_no_processor_of_one_is_refused(tiny):
    for model in (None, "tiny", tiny.processor, type(tiny.model)):
        with pytest.raises(UsageError, match="model must be a loaded model"):
            VLM(model, tiny.processor, "none")
    for processor in (None, tiny.processor.tokenizer, tiny.processor.image_processor):
        with pytest.raises(UsageError, match="processor must be one of pictures and text"):
            VLM(tiny.model, processor, "none")


@pytest.mark.parametrize("inputs", [None, "what?", [{"role": "user", "content": "what?"}]])
def test_what_no_processor_returned_is_not_read(tiny, inputs):
    with pytest.raises(UsageError, match="inputs must be what a processor returns"):
        tiny.read(inputs)


@pytest.fixture
def unmapped(tiny):
    """A model of a type that has no file."""
    model = copy.deepcopy(tiny.model)
    model.config.model_type = "not_a_family"
    with pytest.warns(UserWarning, match="'not_a_family' has no picture map"):
        return VLM(model, tiny.processor, "other")


def test_a_model_of_an_unknown_type_prunes(tiny, unmapped, picture):
    pruner = DivPrune(tokens=30)
    assert (
        unmapped.answer(picture, QUESTION, pruner=pruner).text
        == tiny.answer(picture, QUESTION, pruner=pruner).text
    )
    assert len(unmapped.fingerprint) == 16


def test_a_model_of_an_unknown_type_has_no_neighborhoods_and_is_not_drawn(unmapped, picture):
    prompt = unmapped.encode(picture, QUESTION)
    with pytest.raises(UsageError, match=r"other \(not_a_family\) has no picture map"):
        ablate_regional(unmapped, prompt)
    with pytest.raises(UsageError, match="no picture map to draw by"):
        boxes(picture, prompt.visual)


def test_a_model_of_an_unknown_type_that_reads_otherwise_is_refused(unmapped, picture, monkeypatch):
    """Here it counts positions in twos, which wordsight does not know."""
    usual = unmapped.family.positions
    monkeypatch.setattr(unmapped.family, "positions", lambda *given: usual(*given) * 2, raising=False)
    with pytest.raises(UsageError, match=r"not_a_family\): given its own visual tokens, .*logits off by"):
        unmapped.encode(picture, QUESTION)


@pytest.mark.parametrize("name", ["nomodel", "models/that/are-not-there", "/nowhere/model", "a b/c"])
def test_what_can_be_no_model_is_refused_without_asking_the_hub(name, monkeypatch):
    monkeypatch.setattr(
        processor_options.AutoProcessor, "from_pretrained", lambda *given: pytest.fail("it was asked")
    )
    with pytest.raises(UsageError, match=f"no model '{name}': there is no such folder"):
        VLM.from_pretrained(name)
