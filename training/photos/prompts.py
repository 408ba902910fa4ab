"""Conversations about pictures as the language model reads them, laid out as the chat template does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from questions import Question

IGNORED = -100
VISUAL = -1  # stands for a visual token
IMAGE = "<image>"
BEGIN, END, ANSWER = "<|im_start|>user\n", "<|im_end|>\n", "<|im_start|>assistant\nAnswer:"
# As in `Layout`. The model's answer comes after "Answer:", so that its first word is one with its space.
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{{ 'Answer: ' if message['role'] == 'assistant' else '' }}"
    "{% for part in message['content'] if part['type'] in ['image', 'video'] %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\nAnswer:' }}{% endif %}"
)


@dataclass(frozen=True)
class Row:
    """A conversation: ids (VISUAL where a visual token is), what is to be said next (IGNORED where nothing
    is), and positions.
    """

    ids: list[int]
    wanted: list[int]
    positions: list[int]


@dataclass(frozen=True)
class Layout:
    """Spells conversations with a tokenizer, each piece of text once."""

    tokenizer: Any
    _spelled: dict[str, list[int]] = field(default_factory=dict)

    def row(self, slots: Sequence[Sequence[int]], whole: int, turns: Sequence[Question]) -> Row:
        """Pictures whose tokens stand at `slots` of `whole` ones, and questions with their answers. Positions
        of tokens that are left out stay empty.
        """
        ids, positions, start = self.spell(BEGIN)[:], [], 0
        positions += range(len(ids))
        start = len(ids)
        wanted = [IGNORED] * start
        for number, shown in enumerate(slots):
            ids += [VISUAL] * len(shown)
            positions += [start + slot for slot in shown]
            start += whole
            wanted += [IGNORED] * len(shown)
            if number < len(slots) - 1:
                start = self._say("\n", ids, wanted, positions, start)
        for number, turn in enumerate(turns):
            before = "\n" if number == 0 else f"\n{BEGIN}"
            start = self._say(f"{before}{turn.text}{END}{ANSWER}", ids, wanted, positions, start)
            answer = self.spell(f" {turn.answer}{END.strip()}")
            wanted[-1:] = answer
            ids += answer
            wanted += [IGNORED]
            positions += range(start, start + len(answer))
            start += len(answer)
        return Row(ids, wanted, positions)

    def _say(self, text: str, ids: list[int], wanted: list[int], positions: list[int], start: int) -> int:
        spelled = self.spell(text)
        ids += spelled
        wanted += [IGNORED] * len(spelled)
        positions += range(start, start + len(spelled))
        return start + len(spelled)

    def spell(self, text: str) -> list[int]:
        """The ids of a piece of text."""
        if text not in self._spelled:
            self._spelled[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._spelled[text]


def stack(rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids, what is wanted, positions and mask (B, L), filled up on the right."""
    longest = max(len(row.ids) for row in rows)

    def filled(values: list[int], filler: int) -> list[int]:
        return values + [filler] * (longest - len(values))

    ids = torch.tensor([filled(row.ids, 0) for row in rows])
    wanted = torch.tensor([filled(row.wanted, IGNORED) for row in rows])
    mask = torch.tensor([filled([1] * len(row.ids), 0) for row in rows])
    return ids, wanted, torch.tensor([filled(row.positions, 0) for row in rows]), mask
