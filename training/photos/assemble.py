"""A trained projector and LoRA as an ordinary checkpoint of transformers' internvl."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn
from transformers import InternVLConfig, InternVLForConditionalGeneration, LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from alignment import Aligner
from lora import fresh, merge
from prompts import IMAGE, TEMPLATE
from vision import MEAN, PATCH, SIDE, STD, TOKENS, tower, vision_config
from wheels import language_model, tower_weights
from wordsight._utils.files import replacing


def assemble(checkpoint: Path, folder: Path, tuned: Annotated[Path | None, typer.Option()] = None) -> None:
    """Merge what was trained into tower and language model, and write model and processor.

    A tower with windows (`tuned`) loads without them: the config of internvl has no word for them. Call
    `vision.restrict_attention(model.model.vision_tower)` after loading.
    """
    language, tokenizer = language_model()
    weights = torch.load(checkpoint, weights_only=True, map_location="cpu")["trained"]
    projector, lora = Aligner(language.config.hidden_size).projector, fresh(language)
    nn.ModuleDict({"projector": projector, "lora": lora}).load_state_dict(weights)
    merge(language, lora)
    tokenizer.add_special_tokens({"pad_token": "<pad>", "extra_special_tokens": [IMAGE]})
    tokenizer.padding_side = "left"
    model = build(language, tokenizer)
    seeing = tower(tower_weights()).state_dict()
    if tuned is not None:
        seeing = torch.load(tuned, weights_only=True)["tower"]
    model.model.vision_tower.load_state_dict(seeing)
    model.model.multi_modal_projector.load_state_dict(projector.state_dict())
    with replacing(folder) as draft:
        model.save_pretrained(draft)
        processor(tokenizer).save_pretrained(draft)


def build(language: Any, tokenizer: Any) -> InternVLForConditionalGeneration:
    """The model with the language model's weights, its vocabulary as long as the tokenizer's."""
    text = language.config.to_dict() | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    config = InternVLConfig(
        vision_config=vision_config().to_dict(),
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=TOKENS,
        downsample_ratio=0.5,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    model = InternVLForConditionalGeneration(config).eval()
    words = language.model.state_dict()
    words["embed_tokens.weight"] = longer(words["embed_tokens.weight"], len(tokenizer))
    model.model.language_model.load_state_dict(words)
    model.tie_weights()
    return model


def longer(rows: Tensor, count: int) -> Tensor:
    """So many rows: new ones are the mean of those there are."""
    return torch.cat([rows, rows.mean(0).expand(count - len(rows), -1)])


def processor(tokenizer: Any) -> LlavaProcessor:
    """LLaVA's, because InternVL's own needs torchvision for its videos. A token is a square of 28 pixels."""
    pictures = CLIPImageProcessorPil(
        size={"height": SIDE, "width": SIDE},
        do_center_crop=False,
        image_mean=list(MEAN),
        image_std=list(STD),
    )
    return LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=2 * PATCH,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        image_token=IMAGE,
        chat_template=TEMPLATE,
    )


if __name__ == "__main__":
    typer.run(assemble)
