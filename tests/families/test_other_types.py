"""Model types without a family file: what they can do is tried, and what they cannot is one sentence."""

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
from wordsight.models.processing import prompt_text
from wordsight.models.vlm import VLM

QUESTION = "what color is the cat?"
pytestmark = pytest.mark.filterwarnings("ignore:model type .* has no picture map")


def glm4v():
    """Its processor makes image tokens of a video."""
    names = ("image", "video", "image_start", "image_end", "video_start", "video_end")
    marks = [f"<|{name}|>" for name in names]
    made = checkpoints.tokenizer(*marks)
    rope = {
        "rope_type": "default",
        "mrope_section": [1, 1, 2],
        "rope_theta": 1e4,
        "partial_rotary_factor": 1.0,
    }
    tower = {"depth": 2, "hidden_size": 32, "num_heads": 2, "patch_size": 4, "image_size": 32}
    tower |= {
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 32,
        "intermediate_size": 64,
    }
    config = hf.Glm4vConfig(
        text_config={**checkpoints.SMALL, "vocab_size": len(made), "rope_parameters": rope},
        vision_config=tower,
        **checkpoints.ids(
            made, **{f"{name}_token_id": mark for name, mark in zip(names, marks, strict=True)}
        ),
    )
    size = {"shortest_edge": 256, "longest_edge": 2304}
    images = hf.Glm4vImageProcessor(patch_size=4, merge_size=2, size=size)
    videos = hf.Glm4vVideoProcessor(patch_size=4, merge_size=2, size=size | {"longest_edge": 8 * 2304})
    around = "{0}{1}{2}".format
    chat = checkpoints.template(around(marks[2], marks[0], marks[3]), around(marks[4], marks[1], marks[5]))
    return config, hf.Glm4vProcessor(images, made, videos, chat_template=chat)


@pytest.fixture(scope="module")
def glm():
    torch.manual_seed(0)
    try:
        config, processor = glm4v()
    except ImportError as error:
        pytest.skip(f"{str(error).strip().splitlines()[0]} `make test` installs it.")
    with pytest.warns(UserWarning, match="no picture map"):
        return VLM(hf.AutoModelForImageTextToText.from_config(config).float(), processor, "glm")


def test_a_video_that_is_taken_in_an_unknown_way_is_refused(glm, picture):
    film = Video.of([picture(60, 40, seed) for seed in range(4)], fps=2)
    with pytest.raises(UsageError, match=r"\(glm4v\) takes videos in a way that wordsight does not know"):
        glm.answer(film, QUESTION)


def test_info_says_what_works_as_tried(glm):
    record = describe_model(glm)
    assert record["tried"]["one picture"] is None
    assert record["tried"]["several pictures"] is None
    assert "takes videos in a way" in record["tried"]["a video"]
    assert "read whole" in record["tried"]["a shared beginning"]
    assert record["pruners"]["fastv"] is None or "has" in record["pruners"]["fastv"]


def test_layers_that_take_more_than_values_of_every_token_are_refused(loaded, picture, monkeypatch):
    """As those of Gemma 3n, which read several versions of every state."""
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
