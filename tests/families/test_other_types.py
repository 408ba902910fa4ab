"""Model types without a family file: what they can do is tried, and what they cannot is one sentence."""

import copy
import json
import shutil

import checkpoints
import pytest
import torch
import transformers as hf
from tokenizers import AddedToken

from wordsight import UsageError, Video, pruners
from wordsight.analysis.model_info import describe_model
from wordsight.media.inputs import MediaInput
from wordsight.models.conversation import Conversation
from wordsight.models.families import Unmapped
from wordsight.models.processing import prompt_text
from wordsight.models.vlm import VLM

QUESTION = "what color is the cat?"
pytestmark = pytest.mark.filterwarnings("ignore:model type .* has no picture map")


def video_llava():
    """Of the same tower as LLaVA, for pictures and for films."""
    made = checkpoints.tokenizer("<image>", "<video>")
    config = hf.VideoLlavaConfig(
        vision_config=hf.CLIPVisionConfig(**checkpoints.TOWER),
        text_config=hf.LlamaConfig(**checkpoints.SMALL, vocab_size=len(made)),
        **checkpoints.ids(made, image_token_id="<image>", video_token_id="<video>"),
    )
    pixels = {"size": {"shortest_edge": checkpoints.SIDE}, "crop_size": checkpoints.SQUARE}
    images, videos = hf.VideoLlavaImageProcessor(**pixels), hf.VideoLlavaVideoProcessor(**pixels)
    reads = {"patch_size": checkpoints.PATCH, "chat_template": checkpoints.template()}
    return config, hf.VideoLlavaProcessor(images, videos, made, **reads)


@pytest.fixture(scope="module")
def other():
    torch.manual_seed(0)
    try:
        config, processor = video_llava()
    except ImportError as error:
        pytest.skip(f"{str(error).strip().splitlines()[0]} `make test` installs it.")
    with pytest.warns(UserWarning, match="no picture map"):
        return VLM(hf.AutoModelForImageTextToText.from_config(config).float(), processor, "other")


def test_a_video_that_is_taken_in_an_unknown_way_is_refused(other, picture, monkeypatch):
    for modality in ("image", "video"):
        monkeypatch.delattr(type(other.model.model), f"get_{modality}_features")
    film = Video.of([picture(60, 40, seed) for seed in range(4)], fps=2)
    with pytest.raises(UsageError, match=r"\(video_llava\) takes videos in a way that wordsight does not"):
        other.answer(film, QUESTION)


def test_info_says_what_works_as_tried(other):
    record = describe_model(other)
    assert record["tried"]["one picture"] is None
    assert record["tried"]["a video"] is None
    assert "read whole" in record["tried"]["a shared beginning"]
    assert record["pruners"]["fastv"] is None or "has" in record["pruners"]["fastv"]


def test_every_input_of_a_token_that_the_model_takes_is_passed_on(loaded, picture):
    """Gemma 3 reads pictures in both directions by its token types, whether its type is known or not."""
    vlm = loaded("gemma3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vlm, "family", Unmapped())
        prompt = vlm.encode(picture(40, 40, 0), QUESTION)
    assert set(prompt.sequence) == {"input_ids", "position_ids", "token_type_ids"}
    assert torch.equal(
        prompt.sequence["token_type_ids"],
        vlm.encode(picture(40, 40, 0), QUESTION).sequence["token_type_ids"],
    )


def test_a_model_whose_tokens_are_queries_is_refused(loaded):
    """BLIP-2: its processor adds their places, and each of them reads the whole picture."""
    text = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "ffn_dim": 32}
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = hf.Blip2Config(
        vision_config={**small, "image_size": 32, "patch_size": 8},
        qformer_config={**small, "vocab_size": 64, "encoder_hidden_size": 32},
        text_config=hf.OPTConfig(**text, num_attention_heads=2, word_embed_proj_dim=32),
        image_token_index=3,
    )
    model = hf.AutoModelForImageTextToText.from_config(config)
    with pytest.raises(UsageError, match="are queries, each of which reads the whole picture"):
        VLM(model, loaded("llava").processor, "blip")


def test_a_model_whose_tokens_are_as_wide_before_they_are_projected_is_refused():
    """Llama 4 projects what it is given, and passes on what is projected by its width."""
    config, processor = checkpoints.llama4()
    config.vision_config.vision_output_dim = config.text_config.hidden_size
    with pytest.raises(UsageError, match="32 values before and after they are projected"):
        VLM(hf.AutoModelForImageTextToText.from_config(config).float(), processor, "llama")


def test_a_model_that_projects_what_it_is_given_still_projects_pictures(loaded, picture):
    """A copy by its own weights, and a second VLM changes nothing more."""
    vlm = loaded("llama4")
    model = copy.deepcopy(vlm.model)
    usual = model.multi_modal_projector.forward
    torch.nn.init.zeros_(model.multi_modal_projector.linear_1.weight)
    assert VLM(model, vlm.processor, "llama").encode(picture(40, 40, 0), QUESTION).visual.embeds.eq(0).all()
    assert model.multi_modal_projector.forward is usual
    assert vlm.encode(picture(40, 40, 0), QUESTION).visual.embeds.ne(0).any()


def test_layers_that_take_more_than_values_of_every_token_are_refused(loaded, picture, monkeypatch):
    """As those of Gemma 3n, which read several versions of every state, do beside sharing keys."""
    vlm = loaded("llava")
    layers = vlm.model.model.language_model.layers
    for layer in layers:
        usual = layer.forward
        monkeypatch.setattr(
            layer, "forward", lambda state, extra=None, usual=usual, **given: usual(state, **given)
        )
        call = layer.__class__.__call__
    monkeypatch.setattr(
        type(layers[0]), "__call__", lambda self, state, **given: call(self, state, state[None], **given)
    )
    prompt = vlm.encode(picture(40, 40, 0), QUESTION)
    assert vlm.logits([prompt]).isfinite().all()
    with pytest.raises(UsageError, match="LlamaDecoderLayer takes more than values of every token"):
        vlm.logits([pruners.make("fastv:layer=1")(prompt)])


def test_a_placeholder_that_is_no_plain_text_is_known(loaded, picture, monkeypatch):
    """As that of BLIP-2, whose processor keeps it as a token of the tokenizer."""
    processor = loaded("paligemma").processor
    monkeypatch.setattr(processor, "image_token", AddedToken("<image>"))
    media = MediaInput.of(picture(40, 40, 0))
    assert prompt_text(processor, Conversation.about(media, QUESTION)) == f"<image>{QUESTION}"
    with pytest.raises(UsageError, match="the question holds '<image>'"):
        prompt_text(processor, Conversation.about(media, "what is <image>?"))


def test_pictures_that_processor_and_model_split_otherwise_are_refused(checkpoint, tmp_path, picture):
    """Its pinpoints are in the config of the processor alone."""
    folder = shutil.copytree(checkpoint("llava_next"), tmp_path / "split")
    config = json.loads((folder / "config.json").read_text())
    del config["image_grid_pinpoints"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"\(llava_next\) cannot read this prompt"):
        VLM.from_pretrained(str(folder)).encode(picture(90, 40, 0), QUESTION)
