"""Loading a checkpoint: its model and its processor, whole or not at all, and no code that it brings."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForImageTextToText,
    PretrainedConfig,
)
from transformers.utils.peft_utils import find_adapter_config_file

from wordsight.errors import ModelError, UsageError
from wordsight.models.adapters import apply_adapter, base_of, check_adapter
from wordsight.models.failures import as_model_error, in_one_line
from wordsight.models.load_options import BUILT_IN, LoadOptions, source_of
from wordsight.models.placement import find_device, tell_device
from wordsight.models.processor_options import load_processor
from wordsight.models.quantization import check_quantization, quantization_config

HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
log = logging.getLogger(__name__)


def load(name: str, options: LoadOptions, *, layers: int | None = None) -> tuple[Any, Any]:
    """The model and the processor of a name, see `VLM.from_pretrained`; of the layers of its language model
    the first so many, None for all.
    """
    with as_model_error(f"cannot load model {name!r}"):
        source = source_of(name)
        _check_name(source)
        if options.revision and os.path.isdir(source):
            raise UsageError(f"revision is of a model on the hub, and {name} is a folder; leave it out")
        check_quantization(options.quantization)
        check_adapter(options)
        device = find_device(options)
        given = {"trust_remote_code": False, "local_files_only": _only_cached(source, options), **options.hub}
        _check_type(source, given)
        processor = load_processor(source, options, given)
        if not hasattr(processor, "tokenizer"):
            raise ModelError(
                f"cannot load model {name!r}: its files make a {type(processor).__name__}, not a processor "
                "of pictures and text; is its processor_config.json or preprocessor_config.json damaged?"
            )
        config = AutoConfig.from_pretrained(source, **given)
        if layers is not None:
            _keep_layers(config.get_text_config(), layers)
        with nullcontext() if layers is None else _unreported():
            model, report = AutoModelForImageTextToText.from_pretrained(
                source,
                config=config,
                output_loading_info=True,
                **given,
                **_how(name, options, config, device),
            )
    if missing := report["missing_keys"]:
        raise ModelError(
            f"cannot load model {name!r}: {len(missing)} of its weights are in none of its files, as "
            f"{sorted(missing)[0]}; a file of the checkpoint is missing"
        )
    with as_model_error(f"cannot load model {name!r} onto {device}"):
        if not getattr(model, "is_quantized", False) and device is not None:
            model = model.to(device)
    tell_device(name, options, device)
    return apply_adapter(model, options), processor


def _keep_layers(text: Any, layers: int) -> None:
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]


@contextmanager
def _unreported() -> Iterator[None]:
    """While open, transformers does not report weights that nothing wants."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)


def _how(name: str, options: LoadOptions, config: Any, device: torch.device | None) -> dict[str, Any]:
    """How the weights are read, as transformers takes it; one that is quantized cannot be moved later."""
    how: dict[str, Any] = {"dtype": options.dtype}
    if name in BUILT_IN and options.dtype == "auto":
        how["dtype"] = torch.float32
    if options.attention:
        how["attn_implementation"] = options.attention
    if options.quantization:
        how["quantization_config"] = quantization_config(options.quantization, config)
    if options.device_map is not None:
        how["device_map"] = options.device_map
    elif options.quantization or getattr(config, "quantization_config", None):
        how["device_map"] = {"": device}
    return how


def embedding_width(name: str) -> int | None:
    """D of a model that is here, by its config alone; None of one on the hub. Raises ModelError for what is
    neither a folder nor a name that the hub could know.
    """
    source = source_of(name)
    _check_name(source)
    if not os.path.isdir(source):
        return None
    with as_model_error(f"cannot read the config of model {name!r}"):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    width = getattr(config.get_text_config(), "hidden_size", None)
    return None if width is None else int(width)


def _check_name(source: str) -> None:
    """Raises ModelError for what is no folder and no name on the hub, whose client would ask for minutes."""
    if os.path.isfile(source):
        raise ModelError(
            f"no model {source!r}: it is a file; expected a folder with a config.json and weights, or a name "
            "on the hub"
        )
    if os.path.exists(source) or HUB_NAME.fullmatch(source):
        return
    name, at, revision = source.partition("@")
    if at and HUB_NAME.fullmatch(name):
        raise ModelError(
            f"no model {source!r}: a revision is no part of a name; give {name} and --revision {revision}, "
            "or revision of LoadOptions"
        )
    raise ModelError(
        f"no model {source!r}: there is no such folder, and a hub name has an owner, as owner/name"
    )


def _only_cached(source: str, options: LoadOptions) -> bool:
    """Whether the files of a hub name can come from the cache alone, since the hub is out of reach: asked
    once, where its client would try again for minutes, file by file.

    Raises what the hub says, or ModelError if it does not answer, of a model that is not in the cache.
    """
    if os.path.exists(source):
        return False
    try:
        url = hf_hub_url(source, "config.json", revision=options.revision)
        get_hf_file_metadata(url, token=options.token)
    except EntryNotFoundError:
        return False
    except Exception as error:
        places: dict[str, Any] = {"cache_dir": options.cache_dir, "revision": options.revision}
        if isinstance(try_to_load_from_cache(source, "config.json", **places), str):
            log.warning("%s: only its files in the cache are read: %s", source, in_one_line(error))
            return True
        if isinstance(error, (HfHubHTTPError, OfflineModeIsEnabled)):
            raise
        raise ModelError(
            f"cannot load model {source!r}: it is not in the cache, and the hub cannot be reached "
            f"({in_one_line(error)}); check the network and HTTPS_PROXY"
        ) from error
    return False


def _check_type(source: str, given: Mapping[str, Any]) -> None:
    """Raises ModelError for an adapter, and for a type that is none of transformers' own with pictures."""
    local = {name: value for name, value in given.items() if name != "trust_remote_code"}
    config: dict[str, Any] = PretrainedConfig.get_config_dict(source, **local)[0]
    kind = config.get("model_type")
    if not config and find_adapter_config_file(source, **local):
        raise ModelError(
            f"{source!r} is an adapter, not a whole model: give it as --adapter (adapter of LoadOptions), "
            f"and the model that it adapts{_adapted(source)} as the model"
        )
    if not kind:
        raise ModelError(f"cannot load model {source!r}: it has no config.json that names a model_type")
    if kind in CONFIG_MAPPING:
        if CONFIG_MAPPING[kind] not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            raise ModelError(f"{_what(source, kind)} is none of image-text-to-text models")
    elif config.get("auto_map"):
        raise ModelError(
            f"{_what(source, kind)} runs code of its own, which wordsight does not; take a checkpoint that "
            f"transformers can read itself{_own_checkpoint(source, kind)}"
        )
    else:
        raise ModelError(
            f"{_what(source, kind)} is unknown to transformers {transformers.__version__}; a later one may "
            "know it"
        )


def _what(source: str, kind: Any) -> str:
    return f"cannot load model {source!r}: its model_type {kind!r}"


def _own_checkpoint(source: str, kind: Any) -> str:
    """The name of the same model for transformers, where it is known."""
    return f": that of InternVL is called {Path(source).name}-hf" if kind == "internvl_chat" else ""


def _adapted(source: str) -> str:
    """What an adapter adapts, in parentheses, if its folder says so."""
    return f" ({base})" if (base := base_of(source)) else ""
