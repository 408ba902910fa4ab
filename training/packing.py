"""One picture, many conversations: packed into one row with a mask, so that the picture is read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from model import build_tokenizer
from wordsight.synthetic.questions import Question
from wordsight.synthetic.scenes import GRID

VISUAL = GRID * GRID
IGNORED = -100
LENGTHS = (1, 1, 1, 2, 3, 4)  # how many turns conversations have
TOKENIZER = build_tokenizer()


@cache
def ids_of(text: str) -> list[int]:
    """The tokens of a text in the middle of a prompt."""
    ids: list[int] = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    return ids


@dataclass(frozen=True)
class Packed:
    """A batch of packed conversations: (B, T) each; `conversation` numbers those of a row from 1, `question`
    the questions; 0 is padding. `place` counts the tokens of a conversation.
    """

    ids: Tensor
    conversation: Tensor
    question: Tensor
    place: Tensor
    target: Tensor

    def to(self, device: torch.device) -> Packed:
        parts = (self.ids, self.conversation, self.question, self.place, self.target)
        return Packed(*(part.to(device) for part in parts))


def in_turns(rng: np.random.Generator, questions: Sequence[Question]) -> list[Sequence[Question]]:
    """The questions in random order, as conversations of one to four turns."""
    order, start, found = rng.permutation(len(questions)), 0, []
    while start < len(order):
        length = int(rng.choice(LENGTHS))
        found.append([questions[i] for i in order[start : start + length]])
        start += length
    return found


def pack(rows: Sequence[Sequence[Sequence[Question]]], *, limit: int) -> Packed:
    """Rows of at most `limit` tokens, of conversations about the same pictures; questions that no longer fit
    are left out.
    """
    built = [_row(conversations, limit) for conversations in rows]
    longest = max(1, *(len(row) for row in built))
    table = torch.zeros(len(built), longest, 5, dtype=torch.long)
    table[..., 4] = IGNORED
    for i, row in enumerate(built):
        if row:
            table[i, : len(row)] = torch.tensor(row)
    return Packed(*table.unbind(-1))


def _row(conversations: Sequence[Sequence[Question]], limit: int) -> list[tuple[int, int, int, int, int]]:
    row: list[tuple[int, int, int, int, int]] = []
    asked = 0
    for number, conversation in enumerate(conversations, 1):
        place = 0
        for question in conversation:
            asked += 1
            turn = list(_turn(question, is_first=place == 0))
            if len(row) + len(turn) <= limit:
                row += [(token, number, asked, place + i, aim) for i, (token, aim) in enumerate(turn)]
                place += len(turn)
    return row


def _turn(question: Question, *, is_first: bool) -> Iterator[tuple[int, int]]:
    """What the chat template makes of a question and its answer, and what follows each token if that is the
    model's to say.
    """
    asked = ids_of(f"{'' if is_first else 'user: '}{question.text} assistant:")
    answer = ids_of(question.answer)
    following = [*[IGNORED] * (len(asked) - 1), *answer, TOKENIZER.eos_token_id]
    return zip([*asked, *answer], following, strict=True)


def hidden_states(
    model: LlavaForConditionalGeneration, visual: Tensor, slots: Tensor, packed: Packed
) -> Tensor:
    """What the language model computes at every packed text token, (B, T, D).

    visual (B, I, K, D) are projected tokens of I pictures a prompt, slots (B, I, K) their places among the
    placeholders of their picture. Several pictures are numbered, as in the chat template. Slots below K - as
    in a prompt that really holds K tokens a picture - close the gaps, otherwise everything stays where whole
    pictures put it.
    """
    batch, pictures, kept = slots.shape
    device, embed = visual.device, model.get_input_embeddings()
    room = VISUAL if kept and int(slots.max()) >= kept else kept
    slots = slots.to(device)
    parts, positions, place = list[Tensor](), list[Tensor](), 0
    for i in range(pictures):
        before = (ids_of("<s>user:") if i == 0 else []) + (ids_of(f"{i + 1}:") if pictures > 1 else [])
        text = torch.tensor(before, dtype=torch.long, device=device).expand(batch, -1)
        parts += [embed(text), visual[:, i].to(embed.weight.dtype)]
        positions += [(place + torch.arange(len(before), device=device)).expand(batch, -1)]
        place += len(before)
        positions.append(place + slots[:, i])
        place += room
    inputs = torch.cat([*parts, embed(packed.ids)], 1)  # (B, L, D)
    places = torch.cat([*positions, place + packed.place], 1)  # (B, L)
    shared = inputs.shape[1] - packed.ids.shape[1]
    owner = torch.cat([packed.ids.new_zeros(batch, shared), packed.conversation], 1)  # (B, L)
    length = owner.shape[1]
    is_shared = torch.arange(length, device=device) < shared
    visible = is_shared[None, None] | (owner[:, None] == owner[:, :, None])
    visible &= torch.ones(length, length, dtype=torch.bool, device=device).tril()
    mask = torch.zeros(batch, 1, length, length, device=device).masked_fill_(~visible[:, None], -1e4)
    states = model.model.language_model(
        inputs_embeds=inputs, attention_mask=mask, position_ids=places, use_cache=False
    ).last_hidden_state
    return states[:, shared:]
