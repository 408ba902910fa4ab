"""Loading a checkpoint: its model and its processor, whole or not at all, and no code that it brings."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
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
    AutoProcessor,
    PretrainedConfig,
)
from transformers.utils.peft_utils import find_adapter_config_file

from wordsight import demo
from wordsight.errors import ModelError
from wordsight.models import photos
from wordsight.models.failures import as_model_error, in_one_line

BUILT_IN: dict[str, Callable[[], Path]] = {"demo": lambda: demo.MODEL, photos.NAME: photos.checkpoint}
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
log = logging.getLogger(__name__)


def load(name: str, dtype: str | torch.dtype, device_map: Any) -> tuple[Any, Any]:
    """The model and the processor of a name, see `VLM.from_pretrained`."""
    precision = torch.float32 if name in BUILT_IN and dtype == "auto" else dtype
    placement = {} if device_map is None else {"device_map": device_map}
    with as_model_error(f"cannot load model {name!r}"):
        source = _source(name)
        _check_name(source)
        given = {"trust_remote_code": False, "local_files_only": _only_cached(source)}
        _check_type(source, given)
        processor = AutoProcessor.from_pretrained(source, **given)
        if not hasattr(processor, "tokenizer"):
            raise ModelError(
                f"cannot load model {name!r}: its files make a {type(processor).__name__}, not a processor "
                "of pictures and text; is its processor_config.json or preprocessor_config.json damaged?"
            )
        model, report = AutoModelForImageTextToText.from_pretrained(
            source, dtype=precision, output_loading_info=True, **given, **placement
        )
    if missing := report["missing_keys"]:
        raise ModelError(
            f"cannot load model {name!r}: {len(missing)} of its weights are in none of its files, as "
            f"{sorted(missing)[0]}; a file of the checkpoint is missing"
        )
    return model, processor


def embedding_width(name: str) -> int | None:
    """D of a model that is here, by its config alone; None of one that is not, as of a hub name."""
    source = _source(name)
    if not os.path.isdir(source):
        return None
    with as_model_error(f"cannot read the config of model {name!r}"):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    width = getattr(config.get_text_config(), "hidden_size", None)
    return None if width is None else int(width)


def _source(name: str) -> str | Path:
    """The folder of a model that comes with this package or its extras; any other name as it is."""
    return BUILT_IN[name]() if name in BUILT_IN else name


def _check_name(source: str | Path) -> None:
    """Raises ModelError for what is no folder and no name on the hub, whose client would ask for minutes."""
    if os.path.exists(source) or HUB_NAME.fullmatch(str(source)):
        return
    name, at, revision = str(source).partition("@")
    if at and HUB_NAME.fullmatch(name):
        raise ModelError(
            f"no model {source!r}: a revision is no part of a name; fetch it with `hf download {name} "
            f"--revision {revision} --local-dir FOLDER` and give that folder"
        )
    raise ModelError(
        f"no model {source!r}: there is no such folder, and a hub name has an owner, as owner/name"
    )


def _only_cached(source: str | Path) -> bool:
    """Whether the files of a hub name can come from the cache alone, since the hub is out of reach: asked
    once, where its client would try again for minutes, file by file.

    Raises what the hub says, or ModelError if it does not answer, of a model that is not in the cache.
    """
    if os.path.exists(source):
        return False
    try:
        get_hf_file_metadata(hf_hub_url(str(source), "config.json"))
    except EntryNotFoundError:
        return False
    except Exception as error:
        if isinstance(try_to_load_from_cache(str(source), "config.json"), str):
            log.warning("%s: only its files in the cache are read: %s", source, in_one_line(error))
            return True
        if isinstance(error, (HfHubHTTPError, OfflineModeIsEnabled)):
            raise
        raise ModelError(
            f"cannot load model {str(source)!r}: it is not in the cache, and the hub cannot be reached "
            f"({in_one_line(error)}); check the network and HTTPS_PROXY"
        ) from error
    return False


def _check_type(source: str | Path, given: Mapping[str, bool]) -> None:
    """Raises ModelError for an adapter, and for a type that is none of transformers' own with pictures."""
    local = {"local_files_only": given["local_files_only"]}
    config: dict[str, Any] = PretrainedConfig.get_config_dict(source, **local)[0]
    kind = config.get("model_type")
    if not config and find_adapter_config_file(str(source), **local):
        raise ModelError(
            f"{str(source)!r} is an adapter, not a whole model: merge it into the model it adapts (peft's "
            "`merge_and_unload`), save model and processor into one folder, and give that"
        )
    if not kind:
        raise ModelError(f"cannot load model {str(source)!r}: it has no config.json that names a model_type")
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


def _what(source: str | Path, kind: Any) -> str:
    return f"cannot load model {str(source)!r}: its model_type {kind!r}"


def _own_checkpoint(source: str | Path, kind: Any) -> str:
    """The name of the same model for transformers, where it is known."""
    return f": that of InternVL is called {Path(source).name}-hf" if kind == "internvl_chat" else ""
