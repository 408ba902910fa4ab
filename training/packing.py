"""One picture, many questions: packed into one row with a mask, so that the picture is read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from model import build_tokenizer
from wordsight.synthetic.questions import Question
from wordsight.synthetic.scenes import GRID

VISUAL = GRID * GRID
IGNORED = -100


@dataclass(frozen=True, eq=False)
class Dialect:
    """What a chat template writes before the first picture and after the question, and in which tokens.

    Between the two it is the same for every model: several pictures are numbered, "1: <image> 2: <image>",
    and a space stands after each picture.
    """

    tokenizer: PreTrainedTokenizerFast
    opening: str
    closing: str

    def label(self, picture: int) -> list[int]:
        """The tokens before a picture, counted from 0, where there are several."""
        return _ids(self.tokenizer, f"{' ' * (picture > 0)}{picture + 1}: ")

    def before(self) -> list[int]:
        return _ids(self.tokenizer, self.opening)

    def asked(self, question: str) -> list[int]:
        return _ids(self.tokenizer, f" {question}{self.closing}")

    def answered(self, answer: str) -> list[int]:
        return [*_ids(self.tokenizer, answer), self.tokenizer.eos_token_id]


@lru_cache(maxsize=200_000)
def _ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


TOKENIZER = build_tokenizer()
SMALL = Dialect(TOKENIZER, "<s>user: ", " assistant:")


@dataclass(frozen=True)
class Packed:
    """A batch of packed questions: (B, T) each; `question` numbers the questions of a row from 1, 0 is
    padding.
    """

    ids: Tensor
    question: Tensor
    offset: Tensor
    target: Tensor

    def to(self, device: torch.device) -> Packed:
        return Packed(*(part.to(device) for part in (self.ids, self.question, self.offset, self.target)))


def pack(rows: list[list[Question]], *, limit: int, dialect: Dialect = SMALL) -> Packed:
    """Rows of at most `limit` tokens; questions that no longer fit are left out."""
    built = [_row(questions, limit, dialect) for questions in rows]
    longest = max(1, *(len(row) for row in built))
    table = torch.zeros(len(built), longest, 4, dtype=torch.long)
    table[..., 3] = IGNORED
    for i, row in enumerate(built):
        if row:
            table[i, : len(row)] = torch.tensor(row)
    return Packed(*table.unbind(-1))


def _row(questions: list[Question], limit: int, dialect: Dialect) -> list[tuple[int, int, int, int]]:
    row: list[tuple[int, int, int, int]] = []
    for number, question in enumerate(questions, 1):
        asked, answered = dialect.asked(question.text), dialect.answered(question.answer)
        if len(row) + len(asked) + len(answered) - 1 > limit:
            continue
        ids = [*asked, *answered[:-1]]
        target = [IGNORED] * (len(asked) - 1) + answered
        row += [
            (token, number, place, aim) for place, (token, aim) in enumerate(zip(ids, target, strict=True))
        ]
    return row


def hidden_states(
    model: LlavaForConditionalGeneration,
    visual: Tensor,
    slots: Tensor,
    packed: Packed,
    dialect: Dialect = SMALL,
) -> Tensor:
    """What the language model computes at every packed text token, (B, T, D).

    visual (B, I, K, D) are projected tokens of I pictures a prompt, slots (B, I, K) their places among the
    placeholders of their picture. Several pictures are numbered, as in the chat template. Slots below K - as
    in a prompt that really holds K tokens a picture - close the gaps, otherwise everything stays where whole
    pictures put it.
    """
    batch, pictures, kept = slots.shape
    device, embed = visual.device, model.get_input_embeddings()
    room = VISUAL if int(slots.max()) >= kept else kept
    opening = dialect.before()
    parts = [embed(torch.tensor(opening, device=device)).expand(batch, -1, -1)]
    positions = [torch.arange(len(opening), device=device).expand(batch, -1)]
    place = len(opening)
    for i in range(pictures):
        if pictures > 1:
            label = torch.tensor(dialect.label(i), device=device)
            parts.append(embed(label).expand(batch, -1, -1))
            positions.append((place + torch.arange(len(label), device=device)).expand(batch, -1))
            place += len(label)
        parts.append(visual[:, i].to(parts[0].dtype))
        positions.append(place + slots[:, i])
        place += room
    inputs = torch.cat([*parts, embed(packed.ids)], 1)  # (B, L, D)
    places = torch.cat([*positions, place + packed.offset], 1)  # (B, L)
    shared = inputs.shape[1] - packed.ids.shape[1]
    owner = torch.cat([packed.ids.new_zeros(batch, shared), packed.question], 1)  # (B, L)
    length = owner.shape[1]
    is_shared = torch.arange(length, device=device) < shared
    visible = is_shared[None, None] | (owner[:, None] == owner[:, :, None])
    visible &= torch.ones(length, length, dtype=torch.bool, device=device).tril()
    mask = torch.zeros(batch, 1, length, length, device=device).masked_fill_(~visible[:, None], -1e4)
    states = model.model.language_model(
        inputs_embeds=inputs, attention_mask=mask, position_ids=places, use_cache=False
    ).last_hidden_state
    return states[:, shared:]
