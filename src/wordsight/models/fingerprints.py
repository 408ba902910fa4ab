"""Fingerprints: what tells a checkpoint from others, in whatever dtype, on whatever device and in however
many files it is.

They are of its files, so that no model has to be loaded; a model that came from none is read itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key
from typing_extensions import TypedDict

from wordsight.models.families import Family, family
from wordsight.models.load_options import LoadOptions, source_of
from wordsight.models.offloading import onloaded

SAMPLES = 1024  # values of every weight outside of the token space that its digest is of
INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
WHENCE = ("base_model_name_or_path", "revision", "peft_version", "inference_mode")  # nothing about the values
PEFT_PREFIX = "base_model.model."
Weight = tuple[str, Callable[[], Tensor]]


class Parts(TypedDict):
    """Digests of what a model is beside its token space, each of evenly spread values of every weight."""

    vision_tower: str
    language_model: str


@dataclass(frozen=True)
class Fingerprint:
    """What tells a checkpoint from others.

    space  a digest of the projector and the input embeddings, every value in bfloat16: the space that visual
           tokens live in.
    parts  None where they are not known, as of weights that were quantized or put elsewhere.
    """

    space: str
    parts: Parts | None


def fingerprint_of_model(model: Any, family: Family) -> Fingerprint:
    """That of a model by its weights in memory, wherever they came from."""
    projector, embeddings = family.projector(model), model.get_input_embeddings()
    with onloaded(projector), onloaded(embeddings):
        space = projector.state_dict() | {"embeddings": embeddings.weight}
        digest = _space_digest({name: partial(Tensor.detach, weight) for name, weight in space.items()})
    is_whole = not any(weight.is_meta for weight in model.parameters())
    if getattr(model, "hf_quantizer", None) is not None or not is_whole:
        return Fingerprint(digest, None)
    names = _Names.of(model, family)
    saved = model.state_dict()  # some buffers, too: biases of routers, scales of layers
    buffers = [(name, buffer) for name, buffer in model.named_buffers() if name in saved]
    every = [*model.named_parameters(), *buffers]
    weights = [(name, partial(Tensor.detach, weight)) for name, weight in every]
    return Fingerprint(digest, names.parts_digests(weights))


def fingerprint_of_files(name: str, options: LoadOptions) -> Fingerprint | None:
    """That of a checkpoint that is here, in a folder or the cache, by its files alone; None if they are not
    safetensors, or lay the token space out otherwise than the model does.
    """
    source, places = source_of(name), {"revision": options.revision, "cache_dir": options.cache_dir}
    files = weight_files(source, **places)
    if not files:
        return None
    config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False, **places)
    with torch.device("meta"):
        skeleton = AutoModelForImageTextToText.from_config(config)
    names = _Names.of(skeleton, family(config.model_type))
    with ExitStack() as stack:
        weights = [pair for file in files for pair in _opened(stack, file, names)]
        if not names.space <= {name for name, _ in weights}:
            return None
        if options.adapter:
            added = _of_adapter(stack, options, names)
            if not added:
                return None
            weights += added
        space = {names.in_space(name): weight for name, weight in weights if names.in_space(name)}
        return Fingerprint(_space_digest(space), names.parts_digests(weights))


def differing(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which parts two records say otherwise, in words, "" if none or they do not say."""
    old, new = there.get("parts"), now.get("parts")
    if not old or not new:
        return ""
    return " and ".join(name.replace("_", " ") for name in old if old[name] != new[name])


def weight_files(source: str, **places: Any) -> list[Path]:
    """The safetensors files of a checkpoint in a folder or the cache, none if there are no such files."""
    if single := _local(source, WEIGHTS, **places):
        return [single]
    index = _local(source, INDEX, **places)
    if not index:
        return []
    shards = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    found = [_local(source, shard, **places) for shard in shards]
    return [] if None in found else [file for file in found if file]


def _local(source: str, file: str, **places: Any) -> Path | None:
    """Where a file of a checkpoint is, None if it is not here."""
    if Path(source).is_dir():
        path = Path(source) / file
        return path if path.is_file() else None
    cached = try_to_load_from_cache(source, file, **places)
    return Path(cached) if isinstance(cached, str) else None


def _opened(stack: ExitStack, file: Path, names: _Names) -> list[Weight]:
    """The weights in a file by the names that they have in the model; each is read when it is called."""
    opened = stack.enter_context(safe_open(file, "pt"))
    keys = list(opened.keys())
    return [(names.of_key(key), partial(opened.get_tensor, key)) for key in keys]


def _of_adapter(stack: ExitStack, options: LoadOptions, names: _Names) -> list[Weight]:
    """The weights that an adapter adds, by where it adds them, and in each how; none if its files are no
    safetensors.
    """
    places = {"cache_dir": options.cache_dir}
    file, config = (_local(str(options.adapter), name, **places) for name in (ADAPTER, ADAPTER_CONFIG))
    if file is None or config is None:
        return []
    settings = json.loads(config.read_text("utf-8"))
    text = json.dumps({key: settings[key] for key in sorted(settings) if key not in WHENCE})
    how = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
    opened = stack.enter_context(safe_open(file, "pt"))
    found: list[Weight] = []
    for key in opened.keys():  # noqa: SIM118  # it is no dict
        name = names.of_key(key.removeprefix(PEFT_PREFIX))
        found += [(name, partial(opened.get_tensor, key)), (f"{name}.settings", partial(Tensor.detach, how))]
    return found


@dataclass(frozen=True)
class _Names:
    """The names of a model's weights, and what of the model each belongs to.

    aliases     every name of a weight that has several, as tied ones do, to its first.
    rearranged  weights that may be laid out otherwise in files, as fused experts: no digest is of them.
    """

    projector: str
    embeddings: str
    language: tuple[str, ...]
    space: frozenset[str]
    aliases: Mapping[str, str]
    rearranged: frozenset[str]
    renamed: Callable[[str], str]

    @classmethod
    def of(cls, model: Any, family: Family) -> _Names:
        """Those of a model, whose weights may all be on the meta device."""
        projector = family.projector(model)
        modules = {id(module): name for name, module in model.named_modules()}
        language = [modules.get(id(model.get_decoder())), modules.get(id(model.get_output_embeddings()))]
        prefix, embeddings = modules[id(projector)], modules[id(model.get_input_embeddings())]
        first = {id(weight): name for name, weight in model.named_parameters()}
        every = model.named_parameters(remove_duplicate=False)
        aliases = {name: first[id(weight)] for name, weight in every}
        mapping = get_model_conversion_mapping(model)
        return cls(
            prefix,
            embeddings,
            tuple(name for name in language if name),
            frozenset({f"{prefix}.{name}" for name in projector.state_dict()} | {f"{embeddings}.weight"}),
            aliases,
            frozenset(_rearranged(set(aliases.values()), mapping)),
            _renaming(model, mapping),
        )

    def of_key(self, key: str) -> str:
        """The name of a weight that has this name in a file."""
        name = self.renamed(key)
        return self.aliases.get(name, name)

    def in_space(self, name: str) -> str:
        """What a weight of the token space is called there, "" if it is of something else."""
        if _is_under(name, self.embeddings):
            return "embeddings" + name.removeprefix(self.embeddings).removeprefix(".weight")
        return name.removeprefix(f"{self.projector}.") if _is_under(name, self.projector) else ""

    def parts_digests(self, weights: Iterable[Weight]) -> Parts:
        """Digests of the weights that are not of the token space, whatever order they come in."""
        found: dict[str, set[bytes]] = {"vision_tower": set(), "language_model": set()}
        for name, weight in weights:
            if self.in_space(name) or name in self.rearranged:
                continue
            is_language = any(_is_under(name, prefix) for prefix in self.language)
            values = weight()
            flat = values.reshape(-1)[:: max(1, values.numel() // SAMPLES)]
            digest = hashlib.sha256(json.dumps([*values.shape]).encode() + _bytes(flat).tobytes()).digest()
            found["language_model" if is_language else "vision_tower"].add(digest)
        tower, language = (
            hashlib.sha256(b"".join(sorted(digests))).hexdigest()[:16] for digests in found.values()
        )
        return {"vision_tower": tower, "language_model": language}


def _rearranged(names: Iterable[str], mapping: Iterable[Any]) -> Iterable[str]:
    """Those of the names whose weights transformers makes of others, or of others' parts, while it loads."""
    undone = [each.reverse_transform() for each in mapping if isinstance(each, WeightConverter)]
    return (name for name in names if rename_source_key(name, [], undone, reverse=True)[1] is not None)


def _renaming(model: Any, mapping: Iterable[Any]) -> Callable[[str], str]:
    """What gives a name in a file the name in the model, as transformers does when it loads."""
    mapping = list(mapping)
    renamings, converters = (
        [each for each in mapping if isinstance(each, kind)] for kind in (WeightRenaming, WeightConverter)
    )
    known = model.state_dict()

    def renamed(key: str) -> str:
        given = {"base_model_prefix": model.base_model_prefix, "meta_state_dict": known}
        name: str = rename_source_key(key, renamings, converters, **given)[0]
        if name not in known and key in known:
            name = rename_source_key(key, [], [], **given)[0]
        return name

    return renamed


def _is_under(name: str, prefix: str) -> bool:
    return name.startswith(f"{prefix}.")


def _space_digest(weights: Mapping[str, Callable[[], Tensor]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(_bytes(weights[name]()))
    return digest.hexdigest()[:16]


def _bytes(weight: Tensor) -> Any:
    """What a weight of any shape holds as an array of bytes, floats in bfloat16."""
    if is_traceable_wrapper_subclass(weight):  # as torchao quantizes it
        weight = weight.dequantize()
    return weight.to("cpu", torch.bfloat16).contiguous().reshape(-1).view(torch.uint8).numpy()
