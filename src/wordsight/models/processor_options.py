"""Options of a processor and variables of its chat template, checked and then made its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image
from transformers import AutoProcessor

from wordsight._utils.notes import tell
from wordsight.errors import UsageError, unknown
from wordsight.models.failures import as_model_error
from wordsight.models.load_options import LoadOptions

OURS = (  # what a processor is given for every picture, but not by its user
    "data_format",
    "device",
    "disable_grouping",
    "do_sample_frames",
    "input_data_format",
    "return_metadata",
    "return_row_col_info",
    "return_tensors",
    "video_metadata",
)
USUAL = {"enable_thinking": False, "thinking": False}  # where a template knows them: the first word counts
EDGES = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}  # what Qwen's sizes call them by now
SIDE = 64  # pixels of the picture that options are tried on


def load_processor(source: str, options: LoadOptions, given: Mapping[str, Any]) -> Any:
    """The processor of a checkpoint, with these options. Raises UsageError if it does not take one."""
    processor = AutoProcessor.from_pretrained(source, **given)
    if options.processor:
        check_processor_options(processor, options.processor)
        edges = {EDGES[name]: value for name, value in options.processor.items() if name in EDGES}
        others = {name: value for name, value in options.processor.items() if name not in EDGES}
        processor = AutoProcessor.from_pretrained(source, **given, **others)
        for part in _parts(processor) if edges else ():
            part.size = {**dict(part.size), **edges}
        listed = ", ".join(f"{name}={value}" for name, value in options.processor.items())
        with as_model_error(f"{type(processor).__name__} cannot prepare pictures with {listed}"):
            processor.image_processor(Image.new("RGB", (SIDE, SIDE)), return_tensors="pt")
    if hasattr(processor, "tokenizer"):
        set_template_variables(processor, options.template)
    return processor


def check_processor_options(processor: Any, options: Mapping[str, Any]) -> None:
    """Raises UsageError for one that neither the image processor nor the video processor takes."""
    known = set(_taken(processor)) - set(OURS)
    for name in options:
        if name not in known:
            raise unknown(f"option of {type(processor).__name__}", name, known)


def _taken(processor: Any) -> Iterator[str]:
    for part in _parts(processor):
        yield from getattr(getattr(part, "valid_kwargs", None), "__annotations__", ())


def _parts(processor: Any) -> list[Any]:
    """Those of a processor that prepare pictures and videos."""
    parts = (getattr(processor, name, None) for name in ("image_processor", "video_processor"))
    return [part for part in parts if part is not None]


def set_template_variables(processor: Any, given: Mapping[str, Any]) -> None:
    """Makes these the values that variables of the chat template have where a call gives no others; a thought
    is turned off where nothing is said of it.

    Raises UsageError for a variable that the template does not read.
    """
    template = processor.chat_template
    if not isinstance(template, str):
        if given:
            raise UsageError(
                f"{type(processor).__name__} has no chat template that could take {', '.join(given)}"
            )
        return
    for name in given:
        if not _reads(template, name):
            raise UsageError(f"the chat template of {type(processor).__name__} does not read {name!r}")
    usual = {name: value for name, value in USUAL.items() if name not in given and _reads(template, name)}
    for name in usual:
        tell(
            f"thinking is off ({name}=false), since first words are read; --template {name}=true turns it on"
        )
    values = {**usual, **given}
    lines = (
        f"{{%- set {name} = {name} if {name} is defined else {_literal(value)} -%}}"
        for name, value in values.items()
    )
    processor.chat_template = "".join(lines) + template


def _reads(template: str, name: str) -> bool:
    return bool(re.search(rf"\b{re.escape(name)}\b", template))


def _literal(value: Any) -> str:
    return "none" if value is None else json.dumps(value)
