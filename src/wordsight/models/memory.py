"""Memory: how many prompts one pass may hold, in bytes, and fewer once there was not enough for them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from wordsight._utils.notes import tell
from wordsight.errors import ModelError
from wordsight.models.failures import causes

T = TypeVar("T")
R = TypeVar("R")
EXHAUSTED = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
GIB = 2**30


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this, or what it came from, says that memory ran out, on a GPU or not."""
    return any(
        isinstance(one, (torch.OutOfMemoryError, MemoryError))
        or (isinstance(one, RuntimeError) and EXHAUSTED.search(str(one)))
        for one in causes(error)
    )


def free_pass_bytes(device: torch.device) -> int:
    """What a pass may take where nobody says: 4 GiB, or where half of what is free on a GPU, or of all memory
    beside a CPU, is less than that, so much, as a power of two.
    """
    if device.type == "cuda":
        room: int = torch.cuda.mem_get_info(device)[0]
    else:
        room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 * GIB
    return min(4 * GIB, 1 << max(0, (room // 2).bit_length() - 1))


def row_bytes(config: Any, tokens: int, kept: int, *, itemsize: int = 2) -> int:
    """About how many bytes a row of a batch takes that reads so many tokens: the keys and values of those
    that it keeps, what one layer holds at a time, and the logits of its last token.
    """
    text = config.get_text_config()
    layers, vocabulary = (getattr(text, name, None) or 0 for name in ("num_hidden_layers", "vocab_size"))
    width, heads = (getattr(text, name, None) or 1 for name in ("hidden_size", "num_attention_heads"))
    head = _widest(text, "head_dim") or width // heads
    groups = _widest(text, "num_key_value_heads") or heads
    inner = _widest(text, "intermediate_size") or 4 * width
    cache = 2 * head * kept * (layers * groups + heads)  # once more in a layer, for every head
    layer = tokens * (6 * width + max(3 * inner, 8 * heads * head))
    scores = 12 * tokens * kept * (heads if config._attn_implementation == "eager" else 1)
    logits = 8 * vocabulary  # in float32, and a copy
    return int(itemsize * (cache + layer) + scores + logits)


def _widest(text: Any, name: str) -> int:
    """The largest value of what may vary from layer to layer, 0 where the config does not say."""
    values = [getattr(layer, name, None) or 0 for layer in getattr(text, "per_layer_config", None) or [text]]
    return max(max(value) if isinstance(value, (list, tuple)) else value for value in values)


@dataclass
class PassMemory:
    """The bytes that a pass may take; less, once one took too much."""

    limit: int

    def passes(
        self, work: Callable[[Sequence[T]], R], items: Sequence[T], each: int, beside: int = 0
    ) -> Iterator[tuple[Sequence[T], R]]:
        """What `work` makes of the items, of which each takes so many bytes, `beside` what all of them share:
        of as many at a time as fit.

        Where memory runs out, a pass is halved, and so are all that come after it. Raises ModelError if one
        item alone does not fit.
        """
        start = 0
        while start < len(items):
            piece = items[start : start + max(1, (self.limit - beside) // each)]
            try:
                result = work(piece)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(piece) == 1:
                    raise ModelError(_too_large(each, error)) from error
            else:
                yield piece, result
                start += len(piece)
                continue
            # Only here, where nothing holds what the failed pass had made.
            self._halve(len(piece), each, beside)

    def _halve(self, rows: int, each: int, beside: int) -> None:
        self.limit = beside + each * (rows // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        tell("memory ran out: passes are halved from here on, which changes nothing but last digits")


def _too_large(each: int, error: Exception) -> str:
    said = next((str(one) for one in causes(error) if EXHAUSTED.search(str(one))), "")
    return (
        f"out of memory with a single prompt in a pass, which takes about {each / GIB:.1f} GiB beside the "
        f"model{f' ({_first_sentences(said)})' if said else ''}: take fewer or smaller pictures, a pruner, "
        "dtype=bfloat16 or a quantization"
    )


def _first_sentences(text: str, most: int = 200) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most].rpartition(' ')[0]} ..."
