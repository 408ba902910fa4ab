"""LoadOptions: how a model is loaded, and what its processor, its chat template and its answers are given."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from annotated_types import Interval
from typing_extensions import TypedDict

from wordsight import demo
from wordsight._utils.options import (
    Count,
    NewTokens,
    NotNegative,
    Positive,
    Seed,
    check_options,
    parse_option,
)
from wordsight._utils.records import parse_json
from wordsight.errors import UsageError, shown, unknown
from wordsight.models import photos

BUILT_IN: dict[str, Callable[[], Path]] = {"demo": lambda: demo.MODEL, photos.NAME: photos.checkpoint}
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Quantization = Literal["bnb-8bit", "bnb-4bit", "torchao-8bit"]
DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:\d{1,3})?")
SIZE = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?([MG]i?B)")
SCALES = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
NEW_TOKENS = 64  # of an answer, where nothing else is asked for
Values = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """How answers are generated: greedily, unless there is a temperature. None and () leave it to the
    checkpoint's generation_config.json.

    stop  texts, each of which ends an answer. seed is that of sampling.
    """

    max_new_tokens: NewTokens | None = None
    temperature: NotNegative = 0.0
    top_p: Annotated[float, Interval(gt=0, le=1)] | None = None
    top_k: Count | None = None
    repetition_penalty: Positive | None = None
    no_repeat_ngram_size: Annotated[int, Interval(ge=0)] | None = None
    stop: tuple[str, ...] = ()
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_options(self)
        if "" in self.stop:
            raise UsageError("stop must be texts that are not empty: an empty one ends every answer at once")
        if not self.is_sampled and (self.top_p or self.top_k):
            raise UsageError("top_p and top_k are of sampling; give a temperature above 0 too")

    @classmethod
    def parse(cls, texts: Iterable[str]) -> GenerationOptions:
        """Those that texts NAME=VALUE give, as max_new_tokens=200; stop may be given several times."""
        given: dict[str, Any] = {}
        known = {each.name for each in fields(cls)}
        for name, value in (_pair("--generation", text) for text in texts):
            if name not in known:
                raise unknown("option of generation", name, known)
            if name == "stop":
                given["stop"] = (*given.get("stop", ()), value)
            else:
                given[name] = parse_option(cls, name, value)
        return cls(**given)

    @property
    def is_sampled(self) -> bool:
        """Whether answers are drawn, and not the likeliest."""
        return self.temperature > 0


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How a model is loaded, and what it is given.

    device        auto is a GPU where there is one, else the CPU.
    device_map    instead of a device: auto, or where each module goes, as transformers takes it (needs
                  accelerate).
    dtype         auto is that of the checkpoint.
    attention     how attention is computed, as transformers calls it: eager, sdpa, flash_attention_2, ...
    revision      of the model on the hub: a branch, a tag or a commit.
    adapter       a folder or hub name of peft, merged into the model; into a quantized one it is not merged.
    cache_dir     where files of the hub are kept, instead of HF_HUB_CACHE; token, instead of HF_TOKEN.
    processor     options of its image and video processor, as max_pixels.
    template      variables of its chat template, as enable_thinking.
    memory        what a pass may take beside the model, as 4GB; None is at most 4 GiB, see `free_pass_bytes`.
    """

    device: str = "auto"
    device_map: str | dict[str, Any] | None = None
    dtype: Dtype = "auto"
    quantization: Quantization | None = None
    attention: str | None = None
    revision: str | None = None
    adapter: str | None = None
    cache_dir: str | Path | None = None
    token: str | None = field(default=None, repr=False, compare=False)
    processor: Values = field(default_factory=dict)
    template: Values = field(default_factory=dict)
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    memory: str | None = None

    def __post_init__(self) -> None:
        check_options(self)
        if self.memory is not None and not self.pass_bytes:
            raise UsageError(
                f"memory, what a pass may take beside the model, must be a number of {', '.join(SCALES)}, as "
                f"500MB; got {shown(self.memory)}"
            )
        if not DEVICE.fullmatch(self.device):
            raise UsageError(
                f"device must be auto, cpu, mps or cuda, or one of several as cuda:1, got "
                f"{shown(self.device)}"
            )
        if self.device_map is not None and self.device != "auto":
            raise UsageError(f"device is {self.device} and there is a device_map: give one of the two")

    @property
    def hub(self) -> dict[str, Any]:
        """Where files of the hub are and how they are asked for, as transformers takes it."""
        return {name: getattr(self, name) for name in ("revision", "cache_dir", "token")}

    @property
    def pass_bytes(self) -> int | None:
        """The bytes of `memory`, None where it says none."""
        parts = SIZE.fullmatch(self.memory or "")
        return int(float(parts[1]) * SCALES[parts[2]]) or None if parts else None

    def as_json(self) -> LoadRecord:
        """What is asked for beyond what is usual; where a model runs is said elsewhere, and no token is."""
        record = _unusual(self, {"device", "cache_dir", "token", "generation", "memory"})
        if generation := _unusual(self.generation):
            record["generation"] = generation
        return cast(LoadRecord, record)  # its fields are those of the class


def named_values(option: str, texts: Iterable[str]) -> dict[str, Any]:
    """What texts NAME=VALUE give: a value that is JSON, as true or 501760, is that, else it is text."""
    return {name: _value(text) for name, text in (_pair(option, text) for text in texts)}


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"{option} must be NAME=VALUE, got {shown(text)}")
    return name, value


def _value(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return text


def _unusual(options: Any, without: Set[str] = frozenset()) -> dict[str, Any]:
    """The fields that are not as they are by themselves."""
    usual = type(options)()
    found = {each.name: getattr(options, each.name) for each in fields(options) if each.name not in without}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in found.items()
        if value != getattr(usual, name)
    }


class GenerationRecord(TypedDict, total=False):
    """How answers were generated, where it was not greedily as the checkpoint says."""

    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    no_repeat_ngram_size: int
    stop: list[str]
    seed: int


class LoadRecord(TypedDict, total=False):
    """How a model was asked to be loaded, and what it was given, where that is not the usual."""

    device_map: str | dict[str, Any]
    dtype: Annotated[str, "auto, which is not said, is that of the checkpoint"]
    quantization: Annotated[str, "of the language model"]
    attention: str
    revision: Annotated[str, "on the hub"]
    adapter: Annotated[str, "merged into the model, but not if that is quantized"]
    processor: Annotated[dict[str, Any], "options of its image and video processor"]
    template: Annotated[dict[str, Any], "variables of its chat template"]
    generation: GenerationRecord


def source_of(name: str) -> str:
    """Where a model of this name comes from: the folder of a built-in one, which may have to be made; else a
    folder or a hub name.
    """
    return str(BUILT_IN[name]()) if name in BUILT_IN else name
