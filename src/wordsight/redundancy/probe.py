"""Token-centric: what does the model say when it sees one visual token alone, and how surely?

"Beyond Intermediate States: Explaining Visual Redundancy through Language", https://arxiv.org/abs/2503.20540,
single-input experiment. Differs from the released code: every token is probed, all of a picture in one batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from wordsight._utils.progress import report_found
from wordsight.algorithms.divergence import jensen_shannon
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM

QUESTION = "What does this image show? You must provide a single word or phrase that best describes it."
# A token may say nothing to one question and something to another. The first is the paper's.
QUESTIONS = (QUESTION, "What color is it?", "What is the background?")
RELEASED_QUESTION = (  # of the authors' scripts, which read only a first "A" over
    "What does this image show? You must provide a single word that best describes the image."
)
ARTICLES = tuple(
    form
    for word in ("a", "an", "the")
    for form in (word, word.capitalize(), f" {word}", f" {word.capitalize()}")
)
RELEASED_ARTICLES = ("A", " A")
NOISE_FLOOR = 0.02  # nats, see `says_nothing`
Keep = Callable[[Tensor, Tensor], Sequence[Tensor]]  # columns (R, ...) of rows (R,) and their logits (R, V)


@dataclass(frozen=True)
class TokenProbe:
    """What each of N visual tokens says alone.

    tokens            (N, top) vocabulary ids, the likeliest first.
    probabilities     (N, top) their softmax over the top logits, so a row adds up to 1.
    spelled           for every row, the ids of `tokens` as text.
    certainty         (N,) one minus the entropy of the first word over the whole vocabulary, as a share of
                      its maximum, in [0, 1].
    blind_divergence  (N,) the Jensen-Shannon divergence from what the model says without any visual token,
                      in nats: low means that the token tells it nothing that the question did not.
    """

    tokens: Tensor
    probabilities: Tensor
    spelled: tuple[tuple[str, ...], ...]
    certainty: Tensor
    blind_divergence: Tensor

    @property
    def confidence(self) -> Tensor:
        """(N,) the probability of the likeliest word, in (0, 1]: low means that the token says nothing
        recognizable.
        """
        return self.probabilities[:, 0]

    @property
    def says_nothing(self) -> Tensor:
        """(N,) which tokens say nothing to the question."""
        return says_nothing(self.blind_divergence)

    @property
    def words(self) -> list[list[tuple[str, float]]]:
        """Per token its words with their probabilities, the likeliest first."""
        return [
            list(zip(row, chances, strict=True))
            for row, chances in zip(self.spelled, self.probabilities.tolist(), strict=True)
        ]


def says_nothing(blind_divergence: Tensor) -> Tensor:
    """(T,) which tokens say nothing to the question: they hardly move what is said without any visual token,
    so that their likeliest word is the question's own and no claim about a picture.

    "Hardly" is what a reader would call it: whoever reads one word and has to guess whether the model saw the
    token is right at most 60 times of 100 where the divergence is below NOISE_FLOOR (0.029 bit), as Lin's
    bound has it ("Divergence measures based on the Shannon entropy", 1991). Rounding alone makes 4e-4 at
    most, in bfloat16; docs/silence.md has the figures, and what lies near the floor on four models.
    """
    return blind_divergence < NOISE_FLOOR


def articles_of(question: str, usual: Sequence[str]) -> Sequence[str]:
    """The articles that are read over if said first; to the question of released code, those of that."""
    return RELEASED_ARTICLES if question == RELEASED_QUESTION else usual


def probe_tokens(
    vlm: VLM, prompt: Prompt, top: int = 50, *, repeat: int = 1, articles: Sequence[str] = ARTICLES
) -> TokenProbe:
    """Read every visual token of the prompt alone, with the prompt's own question (`QUESTION` is the
    paper's).

    Each token is in its prompt `repeat` times, alone and with contiguous positions: the prompt really
    holds that many tokens. Where the first word said is one of the `articles`, the next one is read. After
    every pass of tokens of a picture, the numbers and words of those whose word is known are reported
    (`report_progress`), None for those that say nothing.
    """
    alone = [keep_only(prompt, [i] * repeat) for i in range(len(prompt.visual))]
    (blind,) = first_words(vlm, [keep_only(prompt, [])], articles)
    read_over = _article_ids(vlm, articles) if articles else set()

    def keep(rows: Tensor, logits: Tensor) -> Sequence[Tensor]:
        tokens, _, _, divergence = columns = _columns(logits, blind, top)
        if prompt.visual.box is not None:  # a prototype lies in no picture
            known = [i for i, token in enumerate(tokens[:, 0].tolist()) if token not in read_over]
            said = likeliest_words(decode_ids(vlm, tokens[known, :1]), divergence[known])
            report_found(dict(zip(rows[known].tolist(), said, strict=True)))
        return columns

    return _probe(vlm, first_words(vlm, alone, articles, keep))


def likeliest_words(words: Sequence[Sequence[str]], blind_divergence: Tensor) -> list[str | None]:
    """Per token the first of its words, None if it says nothing."""
    nothing = says_nothing(blind_divergence).tolist()
    return [None if is_silent else first for (first, *_), is_silent in zip(words, nothing, strict=True)]


def probe_blind(vlm: VLM, prompt: Prompt, top: int = 50) -> TokenProbe:
    """What the model says to the prompt's question without any visual token, as a probe of one row."""
    (blind,) = first_words(vlm, [keep_only(prompt, [])], ARTICLES)
    return _probe(vlm, _columns(blind, blind, top))


def _columns(logits: Tensor, blind: Tensor, top: int) -> list[Tensor]:
    """Of logits (R, V), those fields of a probe that are tensors."""
    best, tokens = logits.topk(min(top, logits.shape[-1]), -1)
    entropy = torch.special.entr(logits.softmax(-1)).sum(-1)
    divergence = jensen_shannon(logits, blind.expand_as(logits)).float()
    return [tokens, best.softmax(-1), 1 - entropy / math.log(logits.shape[-1]), divergence]


def _probe(vlm: VLM, columns: Sequence[Tensor]) -> TokenProbe:
    tokens, probabilities, certainty, divergence = columns
    return TokenProbe(tokens, probabilities, decode_ids(vlm, tokens), certainty, divergence)


def first_words(
    vlm: VLM,
    prompts: Sequence[Prompt],
    articles: Sequence[str],
    keep: Keep = lambda rows, logits: [logits],
    *,
    passes: Iterable[Tensor] | None = None,
) -> list[Tensor]:
    """Columns (B, ...) of what `keep` makes of the logits (R, V) of a pass, and of which rows (R,) these are:
    of first words, or of second ones where the first is one of the articles. `passes` are of first words.
    """
    ids, late = _article_ids(vlm, articles) if articles else (), dict[int, int]()

    def noted(rows: Tensor, logits: Tensor) -> Sequence[Tensor]:
        if ids:
            said = zip(rows.tolist(), logits.argmax(-1).tolist(), strict=True)
            late.update((row, token) for row, token in said if token in ids)
        return keep(rows, logits)

    first = vlm.logits_by_pass(prompts) if passes is None else passes
    columns = _columns_of(first, torch.arange(len(prompts)), noted)
    if late:
        rows = torch.tensor([*late])
        second = [prompts[row].followed_by(token, vlm.family.generated) for row, token in late.items()]
        for column, new in zip(columns, _columns_of(vlm.logits_by_pass(second), rows, keep), strict=True):
            column[rows.to(column.device)] = new
    return columns


def _columns_of(passes: Iterable[Tensor], rows: Tensor, keep: Keep) -> list[Tensor]:
    """What is kept of the logits of these rows, which come in passes."""
    parts, start = [], 0
    for logits in passes:
        parts.append(keep(rows[start : start + len(logits)], logits))
        start += len(logits)
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def decode_ids(vlm: VLM, tokens: Tensor) -> tuple[tuple[str, ...], ...]:
    """The vocabulary ids (N, K) as text, each on its own."""
    distinct = torch.unique(tokens).tolist()
    decoded = vlm.processor.tokenizer.batch_decode([[token] for token in distinct])
    names = {token: text.strip() for token, text in zip(distinct, decoded, strict=True)}
    return tuple(tuple(names[token] for token in row) for row in tokens.tolist())


def keep_only(prompt: Prompt, indices: Sequence[int]) -> Prompt:
    """The prompt with no visual tokens but those at `indices`, in that order, with contiguous positions.

    With M-RoPE a token keeps its own time, row and column, unless it is repeated: closing the gaps would put
    a neighborhood on a diagonal.
    """
    index = torch.tensor(indices, dtype=torch.long, device=prompt.visual.embeds.device)
    if prompt.sequence["position_ids"].ndim > 1 and list(indices) == sorted(set(indices)):
        return replace(prompt, visual=prompt.visual.take(index))
    slots = torch.arange(len(indices), device=index.device)
    return replace(prompt, visual=gather(prompt.visual, index, slots)).contiguous()


def gather(tokens: VisualTokens, index: Tensor, slots: Tensor) -> VisualTokens:
    """The tokens at `index`, repeated or reordered at will, put into the placeholders `slots`."""
    return replace(
        tokens,
        embeds=tokens.embeds[index],
        slot=slots,
        cell=tokens.cell[index],
        deep=tuple(layer[index] for layer in tokens.deep),
        signals={},
        box=None,
        is_video=None,
    )


def with_embeddings(prompt: Prompt, embeds: Tensor) -> Prompt:
    """The prompt with these embeddings (K, D) for its visual tokens, to be read one by one.

    Each stands where the prompt's first token stood; what a model adds in deeper layers (deepstack) is not
    known of an embedding, and nothing is added.
    """
    first = prompt.visual.take(torch.zeros(1, dtype=torch.long, device=prompt.visual.embeds.device))
    where = torch.zeros(len(embeds), dtype=torch.long, device=first.embeds.device)
    visual = replace(gather(first, where, first.slot[where]), embeds=embeds.to(first.embeds))
    return replace(
        prompt, visual=replace(visual, deep=tuple(torch.zeros_like(layer) for layer in visual.deep))
    )


def _article_ids(vlm: VLM, articles: Sequence[str]) -> set[int]:
    """The ids of the articles that are one token, however the tokenizer marks spaces."""
    tokenizer, spelled = vlm.processor.tokenizer, list(articles)
    coded = tokenizer(spelled, add_special_tokens=False)["input_ids"]
    # Where a text begins with a space of its own, only the vocabulary has the spellings without.
    bare = set(tokenizer.convert_tokens_to_ids(spelled)) - {None, tokenizer.unk_token_id}
    return {ids[0] for ids in coded if len(ids) == 1} | bare
