"""One picture, many questions: packed into one row with a mask, so that the picture is read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from model import build_tokenizer
from wordsight.demo.questions import Question
from wordsight.demo.scenes import GRID

VISUAL = GRID * GRID
IGNORED = -100
TOKENIZER = build_tokenizer()
PREFIX = TOKENIZER("user:")["input_ids"]  # <s> user :


@lru_cache(maxsize=200_000)
def _ids(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


@dataclass(frozen=True)
class Packed:
    """A batch of packed questions: (B, T) each; `question` numbers the questions of a row from 1, 0 is
    padding.
    """

    ids: Tensor
    question: Tensor
    offset: Tensor
    target: Tensor


def pack(rows: list[list[Question]], *, limit: int) -> Packed:
    """Rows of at most `limit` tokens; questions that no longer fit are left out."""
    built = [_row(questions, limit) for questions in rows]
    longest = max(1, *(len(row) for row in built))
    table = torch.zeros(len(built), longest, 4, dtype=torch.long)
    table[..., 3] = IGNORED
    for i, row in enumerate(built):
        if row:
            table[i, : len(row)] = torch.tensor(row)
    return Packed(*table.unbind(-1))


def _row(questions: list[Question], limit: int) -> list[tuple[int, int, int, int]]:
    row: list[tuple[int, int, int, int]] = []
    for number, question in enumerate(questions, 1):
        asked = _ids(f"{question.text} assistant:")
        answered = [*_ids(question.answer), TOKENIZER.eos_token_id]
        if len(row) + len(asked) + len(answered) - 1 > limit:
            continue
        ids = [*asked, *answered[:-1]]
        target = [IGNORED] * (len(asked) - 1) + answered
        row += [
            (token, number, place, aim) for place, (token, aim) in enumerate(zip(ids, target, strict=True))
        ]
    return row


def hidden_states(
    model: LlavaForConditionalGeneration, visual: Tensor, slots: Tensor, packed: Packed
) -> Tensor:
    """What the language model computes at every packed text token, (B, T, D).

    visual (B, K, D) are projected tokens, slots (B, K) their places among the placeholders. Slots below K -
    as in a prompt that really holds K tokens - put the text right behind them, otherwise it stays where a
    whole picture puts it.
    """
    batch, kept = slots.shape
    start = len(PREFIX)
    after = start + (VISUAL if int(slots.max()) >= kept else kept)
    embed = model.get_input_embeddings()
    prefix = embed(torch.tensor(PREFIX)).expand(batch, -1, -1)
    inputs = torch.cat([prefix, visual.to(prefix.dtype), embed(packed.ids)], 1)  # (B, L, D)
    positions = torch.cat(
        [torch.arange(start).expand(batch, -1), start + slots, after + packed.offset], 1
    )  # (B, L)
    owner = torch.cat([packed.ids.new_zeros(batch, start + kept), packed.question], 1)  # (B, L)
    length = owner.shape[1]
    shared = torch.arange(length) < start + kept
    visible = shared[None, None] | (owner[:, None] == owner[:, :, None])
    visible &= torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(batch, 1, length, length).masked_fill_(~visible[:, None], -1e4)
    states = model.model.language_model(
        inputs_embeds=inputs, attention_mask=mask, position_ids=positions, use_cache=False
    ).last_hidden_state
    return states[:, start + kept :]
