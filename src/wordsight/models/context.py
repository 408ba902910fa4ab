"""Context: the positions that a prompt takes, against those that its language model was made for.

Beyond them a model with rotary positions answers, but garbage, and one with learned positions ends in an
error. A token that is kept stays at its position: dropping others makes room only where gaps are closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor
from typing import Any

from torch import Tensor

from wordsight._utils.numbers import counted
from wordsight.errors import UsageError

SCALED = ("linear", "dynamic")  # rotary positions whose stated number is that before they were stretched


@dataclass(frozen=True)
class PromptLength:
    """How many positions a prompt takes, up to its last one, and what of.

    text     its tokens that are not visual; earlier turns are among them.
    visual   its visual tokens. With several axes (M-RoPE) they take fewer positions than they are.
    item     what is looked at, a picture or a frame; items, how many of them, 0 if it is not known.
    turns    how many earlier questions there are.
    """

    positions: int
    text: int
    visual: int
    has_axes: bool
    item: str = "picture"
    items: int = 0
    turns: int = 0

    @classmethod
    def of(cls, positions: Tensor, is_visual: Tensor, **known: Any) -> PromptLength:
        """That of a prompt with these positions, (L,) or (4, L), and placeholders (L,)."""
        has_axes = positions.ndim > 1
        last = int(positions[1:].max() if has_axes else positions.max())
        visual = int(is_visual.sum())
        return cls(last + 1, len(is_visual) - visual, visual, has_axes, **known)


def context_length(config: Any) -> int | None:
    """How many positions the language model of this config was made for, None where it does not say."""
    text = config.get_text_config()
    stated = getattr(text, "max_position_embeddings", None)
    if not isinstance(stated, int) or stated < 1:
        return None
    rope = getattr(text, "rope_parameters", None) or {}
    kind, factor = rope.get("rope_type"), rope.get("factor") or 1
    if kind in SCALED:
        return int(stated * factor)
    if kind == "yarn":
        return max(stated, int(rope.get("original_max_position_embeddings", stated) * factor))
    return stated


def check_length(name: str, config: Any, length: PromptLength, new_tokens: int = 0) -> None:
    """Raises UsageError if the prompt and an answer of so many tokens exceed the context of the model, which
    errors call `name`; it says what would fit.
    """
    context = context_length(config)
    if context is None or length.positions + new_tokens <= context:
        return
    answer = f" and its answer up to {new_tokens:,} more" if new_tokens else ""
    turns = f" with {counted(length.turns, 'earlier turn')}" if length.turns else ""
    advice = ", or ".join(_what_fits(length, context, new_tokens))
    raise UsageError(
        f"the prompt{turns} takes {length.positions:,} positions{answer}, but {name} was made for "
        f"{context:,}: {advice}"
    )


def _what_fits(length: PromptLength, context: int, new_tokens: int) -> Iterator[str]:
    """What would make a prompt fit that is too long, each in words."""
    room, seen = context - new_tokens - length.text, length.positions - length.text
    if length.turns:
        yield "begin a new chat"
    if length.text > seen:
        yield f"ask something shorter (the text alone takes {length.text:,})"
    if fitting := max(0, room * length.items // max(1, seen)):
        yield f"give fewer {length.item}s ({fitting} of {length.items} fit)"
    elif seen > length.text:
        yield f"give fewer or smaller {length.item}s"
    if not length.has_axes and (share := max(0, floor(100 * room / max(1, length.visual)) / 100)):
        yield (
            f"prune with keep={share:g} and positions=contiguous (at original positions, dropping tokens "
            "makes no room)"
        )
    if length.positions < context:
        yield f"let max_new_tokens be {context - length.positions:,}"
