"""What no family can work with ends in one sentence that says what is wrong."""

import re
import shutil

import facts
import pytest
import transformers as hf

from wordsight import UsageError
from wordsight.models.conversation import Conversation
from wordsight.models.vlm import VLM

QUESTION = "what color is the cat?"


@pytest.fixture
def copied(checkpoint, request, tmp_path):
    """The folder of a family's checkpoint, to be damaged."""

    def copy(name):
        return shutil.copytree(checkpoint(name), tmp_path / name)

    return copy


def test_a_very_wide_picture_is_read_or_refused(vlm, picture):
    """20,000 x 10 pixels: most processors scale it; some refuse such shapes."""
    wide = picture(20_000, 10, 0)
    if facts.kind(vlm) in facts.REFUSE_LONG_SHAPES:
        with pytest.raises(UsageError, match=r"cannot prepare these pictures \(20000x10\)"):
            vlm.encode(wide, QUESTION)
    else:
        assert len(vlm.encode(wide, QUESTION).visual)


def test_a_picture_of_one_pixel_is_read_or_refused(vlm, picture):
    try:
        assert len(vlm.encode(picture(1, 1, 0), QUESTION).visual)
    except UsageError as error:
        assert re.search("1x1|cannot read this prompt", str(error))  # noqa: PT017  # either is right


def test_a_question_with_a_placeholder_is_refused(vlm, picture):
    with pytest.raises(UsageError, match="leave it out"):
        vlm.encode(picture(40, 40, 0), f"what is {vlm.processor.image_token}?")


def test_a_prompt_longer_than_the_context_is_refused_before_the_tower_runs(vlm, picture, monkeypatch):
    """To the position: what fills the context is answered, one token more is not."""
    from wordsight.media.inputs import MediaInput

    media = MediaInput.of([picture(90, 40, 0), picture(50, 50, 1)])
    length = vlm.length_of(vlm.process(Conversation.about(media, QUESTION), new_tokens=None))
    text = vlm.model.config.get_text_config()
    monkeypatch.setattr(text, "max_position_embeddings", length.positions + 3)
    assert vlm.answer(media, QUESTION, max_new_tokens=3).tokens_total == length.visual
    monkeypatch.setattr("wordsight.models.vlm.encode_images", lambda *_: pytest.fail("the tower ran"))
    with pytest.raises(UsageError, match=f"{length.positions:,} positions .* was made for"):
        vlm.answer(media, QUESTION, max_new_tokens=4)


def test_a_control_token_in_a_question_is_refused(vlm, picture):
    for mark in vlm.processor.tokenizer.all_special_tokens:
        with pytest.raises(UsageError, match="leave it out"):
            vlm.encode(picture(40, 40, 0), f"what {mark} is it?")


def test_a_template_that_forgets_the_picture_is_refused(vlm, picture):
    if not vlm.processor.chat_template:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vlm.processor, "chat_template", "{{ messages[0]['content'][-1]['text'] }}")
        with pytest.raises(UsageError, match=r"cannot prepare these pictures|no placeholder"):
            vlm.encode(picture(40, 40, 0), QUESTION)


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json", "tokenizer.json", "preprocessor"])
@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "smolvlm"])
def test_a_checkpoint_with_a_missing_file_is_refused(copied, name, lost):
    folder = copied(name)
    for path in folder.glob("*processor*.json" if lost == "preprocessor" else lost):
        path.unlink()
    with pytest.raises(UsageError, match="cannot load model"):
        VLM.from_pretrained(str(folder))


def test_a_checkpoint_with_missing_weights_is_refused(copied):
    from safetensors.torch import load_file, save_file

    folder = copied("llava")
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if "multi_modal_projector" in name)
    del weights[gone]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match="1 of its weights are in none of its files"):
        VLM.from_pretrained(str(folder))


def test_a_model_without_the_seam_is_refused(loaded):
    """Mllama reads pictures by cross attention: its prompts have no placeholders."""
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 2, "vocab_size": 64, "cross_attention_layers": [1], "pad_token_id": 0}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "attention_heads": 2}
    vision |= {"num_global_layers": 1, "image_size": 32, "patch_size": 8, "intermediate_layers_indices": [0]}
    vision |= {"vision_output_dim": 32}
    model = hf.MllamaForConditionalGeneration(hf.MllamaConfig(vision_config=vision, text_config=text))
    with pytest.raises(UsageError, match=r"cannot take visual tokens encoded before; .*5\.19 or later"):
        VLM(model, loaded("llava").processor, "mllama")
