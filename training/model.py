"""The architecture, the tokenizer and the processor of the embedded model: a stock LLaVA, made small."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from muon import Muon
from schedule import Together
from wordsight._utils.files import replacing
from wordsight.redundancy.probe import QUESTIONS
from wordsight.synthetic.clips import render_clip
from wordsight.synthetic.questions import NUMBERS, ORDINALS, ask, ask_about_clip, ask_about_pictures
from wordsight.synthetic.scenes import CLASSES, GRID, NOUNS, PATCH, SIZE, render

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
VISION_WIDTH, VISION_LAYERS = 192, 4
# Not the last layer: its patches know a little of the whole picture (locality.py), like its [CLS].
FEATURE_LAYER = -2
WIDTH, LAYERS, HEAD = 256, 4, 64
COPY = 0.25  # how much of what an attention layer looks at it copies at the start, as the root of it
TOWER, RELEASED_TOWER = "vision_tower.", "vision_tower.vision_model."
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: "
    "{% set pictures = message['content'] | selectattr('type', 'in', ['image', 'video']) | list %}"
    "{% for part in pictures %}{% if pictures | length > 1 %}{{ loop.index }}: {% endif %}<image> "
    "{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }} {% endfor %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
EXTRA_WORDS = """
user assistant it no not same object before after who when why are be was were of to with for from by frame
video
"""


def words() -> list[str]:
    """Every word that the questions and answers use, in alphabetical order; plurals are left to the word
    pieces.
    """
    found = {
        *EXTRA_WORDS.split(),
        *ORDINALS,
        *NUMBERS,
        *" ".join(CLASSES).split(),
        *NOUNS,
        *_split(" ".join(QUESTIONS)),
    }
    for seed in range(400):
        pair = [render(seed), render(seed + 1)]
        about_pictures = [*ask_about_pictures(pair, seed), *ask_about_pictures([*pair, pair[0]], seed)]
        for question in (*ask(pair[0], seed), *about_pictures, *ask_about_clip(render_clip(seed), seed)):
            found.update(_split(f"{question.text} {question.answer}"))
    plurals = {f"{noun}s" for noun in NOUNS}
    return sorted(found - plurals)


def _split(text: str) -> list[str]:
    return [word for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text.lower())]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Lower-case word pieces: whole words for the vocabulary of the scenes, letters for everything else."""
    letters = [*string.ascii_lowercase, *string.digits, *".,?!:;'-()/"]
    tokens = dict.fromkeys([*SPECIAL, *words(), *letters, *(f"##{letter}" for letter in letters)])
    vocabulary = {token: i for i, token in enumerate(tokens)}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>"))
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    core.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
        padding_side="left",
        model_max_length=4096,
    )


def build_processor() -> LlavaProcessor:
    pictures = CLIPImageProcessor(
        size={"height": SIZE, "width": SIZE}, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return LlavaProcessor(
        pictures,
        build_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(vocabulary: int) -> LlavaForConditionalGeneration:
    """An untrained model; the positions of the tower start as sines and cosines, which trains sooner.

    The attention of the language model starts as one that has learned to look up: queries equal keys and the
    output undoes the values, so that a word attends to what looks like it and copies it (mimetic
    initialization, Trockman & Kolter, arXiv 2305.09828). Without that the model learns which things are in
    the picture long before where they are or what color they have.
    """
    vision = CLIPVisionConfig(
        hidden_size=VISION_WIDTH,
        intermediate_size=4 * VISION_WIDTH,
        num_hidden_layers=VISION_LAYERS,
        num_attention_heads=VISION_WIDTH // 32,
        image_size=SIZE,
        patch_size=PATCH,
        projection_dim=VISION_WIDTH,
    )
    text = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=WIDTH // HEAD,
        num_key_value_heads=WIDTH // HEAD,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=SPECIAL.index("<image>"),
        vision_feature_layer=FEATURE_LAYER,
        vision_feature_select_strategy="default",
        image_seq_length=GRID * GRID,
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration._from_config(config)
    with torch.no_grad():
        model.model.vision_tower.embeddings.position_embedding.weight[1:] = 0.3 * sines(VISION_WIDTH)
        model.get_input_embeddings().weight.normal_(0, 0.06)
        for attention in (layer.self_attn for layer in model.model.language_model.layers):
            attention.q_proj.weight.normal_(0, 0.05)
            attention.k_proj.weight.copy_(attention.q_proj.weight)
            torch.nn.init.orthogonal_(attention.v_proj.weight, gain=COPY)
            attention.o_proj.weight.copy_(attention.v_proj.weight.T)
    return model


def sines(width: int) -> Tensor:
    """Sines and cosines of row and column, (GRID * GRID, width)."""
    rates = 100 ** (-torch.arange(width // 4) / (width // 4))
    angle = torch.arange(GRID)[:, None] * rates
    line = torch.cat([angle.sin(), angle.cos()], 1)  # (GRID, width / 2)
    rows, columns = line[:, None].expand(-1, GRID, -1), line[None].expand(GRID, -1, -1)
    return torch.cat([rows, columns], -1).reshape(GRID * GRID, width)


def optimizers(modules: list[nn.Module], *, rate: float) -> Together:
    """Muon for the matrices inside the blocks, AdamW for embeddings, norms and biases."""
    named = [(name, p) for module in modules for name, p in module.named_parameters() if p.requires_grad]
    inner = [p for name, p in named if p.ndim == 2 and "embed" not in name]
    outer = [p for name, p in named if not (p.ndim == 2 and "embed" not in name)]
    return Together(
        Muon(inner, lr=rate, weight_decay=0.05),
        torch.optim.AdamW(outer, lr=rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    )


def save(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """The standard Hugging Face layout in float16; the tower's weights by the names that LLaVA's released
    checkpoints have, which transformers reads like its own, and vLLM alone.
    """
    model.half().save_pretrained(folder)
    file = folder / "model.safetensors"
    weights = {name.replace(TOWER, RELEASED_TOWER): weight for name, weight in load_file(file).items()}
    with replacing(file) as draft:
        save_file(weights, draft, metadata={"format": "pt"})
    build_processor().save_pretrained(folder)
