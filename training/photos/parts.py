"""What was trained, as `wordsight.models.assembly` puts it together with the language model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, InternVLConfig, LlavaProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from lora import ADAPTED, ALPHA, RANK
from prompts import IMAGE, TEMPLATE
from vision import MEAN, PATCH, SIDE, STD, TOKENS, vision_config
from wheels import language_folder
from wordsight._utils.artifacts import write_tensors
from wordsight.models.assembly import LANGUAGE, LORA_A, LORA_B, SCALE, TRAINED, write_manifest


def write_parts(checkpoint: Path, folder: Path, seeing: Mapping[str, Tensor]) -> None:
    """Write what a checkpoint of stage 2 holds, and a tower, into an empty folder."""
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
    language = AutoConfig.from_pretrained(language_folder())
    tokenizer = with_image(AutoTokenizer.from_pretrained(language_folder(), padding_side="left"))
    config(language, tokenizer).save_pretrained(folder)
    processor(tokenizer).save_pretrained(folder)
    weights = trained(saved["trained"]) | {f"vision_tower.{name}": weight for name, weight in seeing.items()}
    write_tensors(folder / TRAINED, weights)
    write_manifest(folder, {"recipe": saved["made_of"]["recipe"], "steps": saved["step"]})


def quantized(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices in 8 bits, symmetric around 0, with a scale for every row; all else in float16."""
    found = {}
    for name, weight in weights.items():
        if weight.ndim < 2 or not name.endswith(".weight"):
            found[name] = weight.half()
            continue
        rows = weight.flatten(1)
        scale = rows.abs().amax(1).clamp(min=1e-12) / 127
        found[name] = (rows / scale[:, None]).round().to(torch.int8).view_as(weight)
        found[name + SCALE] = scale
    return found


def trained(saved: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Projector and LoRA in float16, by the names of the weights that they are, or are added to."""
    found = {}
    for key, weight in saved.items():
        kind, _, name = key.partition(".")
        if kind == "projector":
            found[f"multi_modal_projector.{name}"] = weight.half()
            continue
        number, _, matrix = name.partition(".")
        layer, linear = divmod(int(number), len(ADAPTED))
        of = f"{LANGUAGE}layers.{layer}.self_attn.{ADAPTED[linear]}.weight"
        found |= (
            {of + LORA_A: weight.half()} if matrix == "a" else {of + LORA_B: (weight * ALPHA / RANK).half()}
        )
    return found


def with_image(tokenizer: Any) -> Any:
    """The tokenizer with tokens for pictures and for padding."""
    tokenizer.init_kwargs.pop("local_files_only", None)  # how it was loaded here, which its file would say
    tokenizer.add_special_tokens({"pad_token": "<pad>", "extra_special_tokens": [IMAGE]})
    return tokenizer


def config(language: Any, tokenizer: Any) -> InternVLConfig:
    """The config of the whole model; its vocabulary is as long as the tokenizer's."""
    text = language.to_dict() | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    text = {name: value for name, value in text.items() if not name.endswith("name_or_path")}
    return InternVLConfig(
        architectures=["InternVLForConditionalGeneration"],
        dtype="float16",
        vision_config=vision_config().to_dict(),
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=TOKENS,
        downsample_ratio=0.5,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )


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
