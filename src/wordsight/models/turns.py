"""Turns: which part of a prompt is the last question, told from its tokens by how the chat template lays
turns out.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from torch import Tensor

from wordsight.errors import UsageError

MARKS = ("wordsightfirst", "wordsightsecond", "wordsightthird")  # texts that no template holds


def last_questions(processor: Any, inputs: Mapping[str, Any]) -> list[str]:
    """The last question of each row of a batch: the text after its pictures, or all of it if none follows.

    Raises UsageError for a row that does not end as the template ends a question.
    """
    mask = inputs.get("attention_mask")
    rows = inputs["input_ids"]
    return [
        _last_question(processor, ids if mask is None else ids[mask[i] > 0]) for i, ids in enumerate(rows)
    ]


def _last_question(processor: Any, ids: Tensor) -> str:
    tokenizer = processor.tokenizer
    if not processor.chat_template:
        return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
    head, tail = (_as_read(tokenizer, part) for part in _around_question(processor))
    text = str(tokenizer.decode(ids))
    end = text.rfind(tail.strip()) if tail.strip() else len(text)
    start = text.rfind(head.strip(), 0, end) if head.strip() else 0
    if end < 0 or start < 0 or text[end:].strip() != tail.strip():
        raise UsageError(
            f"the question of a prompt that ends in {text[-60:]!r} is not known: expected the end of a "
            f"question by the chat template, {tail!r}; lay it out with add_generation_prompt=True, or take a "
            "pruner that reads no question"
        )
    asked = text[start + len(head.strip()) : end]
    own = (getattr(processor, name, None) for name in ("image_token", "video_token"))
    after = max((asked.rfind(str(token)) for token in own if token), default=-1)
    if after >= 0:  # and behind what a processor writes of its own: time stamps, numbers of frames and tiles
        marks = [token for token in tokenizer.get_added_vocab() if token in asked]
        after = max(asked.rfind(token) + len(token) for token in marks)
    return _plain(tokenizer, asked[max(0, after) :]) or _plain(tokenizer, asked)


def _plain(tokenizer: Any, text: str) -> str:
    """A text without control tokens and places of pictures."""
    for token in sorted(tokenizer.get_added_vocab(), key=len, reverse=True):
        text = text.replace(token, "")
    return text.strip()


def _around_question(processor: Any) -> tuple[str, str]:
    """What the template puts before and after a question, whichever turn it is."""
    first, second, third = MARKS
    alone = _laid_out(processor, [("user", first)])
    several = _laid_out(processor, [("user", first), ("assistant", second), ("user", third)])
    before = [alone.split(first)[0], several.split(second)[1].split(third)[0]]
    same = takewhile(lambda pair: pair[0] == pair[1], zip(*map(reversed, before), strict=False))
    return "".join(mine for mine, _ in same)[::-1], several.split(third)[1]


def _laid_out(processor: Any, turns: list[tuple[str, str]]) -> str:
    messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    return str(processor.apply_chat_template(messages, add_generation_prompt=True))


def _as_read(tokenizer: Any, text: str) -> str:
    """A text as it comes back from the tokenizer."""
    return str(tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]))
