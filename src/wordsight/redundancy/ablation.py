"""Context-centric: how much do the model's words change when a token leaves its neighborhood, or that the
image?

"Beyond Intermediate States: Explaining Visual Redundancy through Language",
https://arxiv.org/abs/2503.20540, regional and global leave-one-out experiments. Differs from the released
code: every token is examined, batched; and the first token said is read, be it an article, unless `articles`
are given to be read over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from wordsight._utils.progress import subtask, subtasks
from wordsight.algorithms.divergence import TOP, Divergence, jensen_shannon
from wordsight.algorithms.ranking import correlation
from wordsight.errors import ModelError
from wordsight.models.prompt import Prompt
from wordsight.models.vlm import VLM
from wordsight.redundancy.probe import Keep, first_words, keep_only


@dataclass(frozen=True)
class LogitPair:
    """First-word logits (N, V) of the intact and the ablated prompt, for each of N visual tokens; or (N, top)
    of the words that are likeliest in the intact one.
    """

    intact: Tensor
    ablated: Tensor

    def divergence(self, measure: Divergence) -> Tensor:
        """(N,) how far the words moved."""
        return measure(self.intact, self.ablated)


def neighborhoods(cell: Tensor) -> Tensor:
    """(N, 9) the indices of each token's 3x3 neighborhood in its own crop, in reading order.

    At the border the window shifts inward, so that it always has its tokens; a crop smaller than 3x3 gives
    all of itself, repeating nothing: then -1 fills the row. A line break stands alone.
    """
    rows = torch.full((len(cell), 9), -1, dtype=torch.long)
    places = {tuple(place): i for i, place in enumerate(cell.tolist())}
    crops = torch.unique(cell[:, :2], dim=0)
    for image, crop in crops.tolist():
        inside = (cell[:, 0] == image) & (cell[:, 1] == crop) & (cell[:, 3] >= 0)
        height, width = (cell[inside, 2:].max(0).values + 1).tolist() if inside.any() else (0, 0)
        for i in inside.nonzero()[:, 0].tolist():
            ys, xs = _span(int(cell[i, 2]), height), _span(int(cell[i, 3]), width)
            around = [places[image, crop, y, x] for y in ys for x in xs if (image, crop, y, x) in places]
            rows[i, : len(around)] = torch.tensor(around)
    lone = rows[:, 0] < 0
    rows[lone, 0] = torch.arange(len(cell))[lone]
    return rows


def _span(middle: int, size: int) -> range:
    start = min(max(middle - 1, 0), max(size - 3, 0))
    return range(start, min(start + 3, size))


def check_picture_map(vlm: VLM) -> None:
    """Raises ModelError if it is not known where in a picture the model's tokens are."""
    if not vlm.family.has_picture_map:
        raise ModelError(
            f"{vlm.name} ({vlm.model.config.model_type}) has no picture map, so that its tokens have no "
            f"place in a picture and no neighbors: {vlm.family.no_map}"
        )


def ablate_regional(
    vlm: VLM,
    prompt: Prompt,
    tokens: Sequence[int] | None = None,
    *,
    articles: Sequence[str] = (),
    top: int | None = None,
) -> LogitPair:
    """Each token's neighborhood alone, against the same with the token replaced by the padding embedding; of
    all visual tokens, or of those at `tokens`. Of many tokens, the logits of `top` words alone take little
    memory, and a divergence over so many words is the same.
    """
    around = _around(vlm, prompt, tokens)
    rows = list(around.values())
    with subtask(0, 2):
        distinct, where = _distinct([keep_only(prompt, row) for row in rows], rows)
        intact, *best = first_words(vlm, distinct, articles, _likeliest(top))
    with subtask(1, 2):
        padded = [
            _with_padding_at(vlm, keep_only(prompt, row), [row.index(token)]) for token, row in around.items()
        ]
        (ablated,) = first_words(vlm, padded, articles, _among(best, where))
    return LogitPair(intact[where], ablated)


def ablate_global(
    vlm: VLM,
    prompt: Prompt,
    tokens: Sequence[int] | None = None,
    *,
    articles: Sequence[str] = (),
    top: int | None = None,
) -> LogitPair:
    """The whole image, against the image with each token's neighborhood replaced by padding embeddings; of
    all visual tokens, or of those at `tokens`; `top` as in `ablate_regional`.
    """
    around = _around(vlm, prompt, tokens).values()
    whole = vlm.begin(prompt)
    intact, *best = first_words(vlm, [prompt], articles, _likeliest(top), passes=[whole.logits])
    # Windows that start late share a long prefix with the whole image: they are grouped by their first row
    # of tokens.
    distinct = sorted({tuple(row) for row in around})
    parts: dict[tuple[int, ...], Tensor] = {}
    firsts = sorted({_row_start(prompt, row) for row in distinct})
    for first in subtasks(firsts, len(firsts)):
        group = [row for row in distinct if _row_start(prompt, row) == first]
        prompts = [_with_padding_at(vlm, prompt, row) for row in group]
        passes = vlm.logits_by_pass(prompts, after=whole)
        (logits,) = first_words(vlm, prompts, articles, _among(best), passes=passes)
        parts |= dict(zip(group, logits, strict=True))
    ablated = torch.stack([parts[tuple(row)] for row in around])
    return LogitPair(intact.expand_as(ablated), ablated)


def ablate_global_frozen(
    vlm: VLM,
    prompt: Prompt,
    tokens: Sequence[int] | None = None,
    *,
    articles: Sequence[str] = (),
    top: int | None = None,
) -> LogitPair:
    """About what `ablate_global` says, for a fraction of its work: only a neighborhood and what comes after
    the picture are read anew, as if all other tokens of it were the same without the neighborhood.

    Raises ModelError if the model cannot be read so, see `VLM.reread`.
    """
    around = _around(vlm, prompt, tokens).values()
    whole = vlm.begin(prompt)
    intact, *best = first_words(vlm, [prompt], articles, _likeliest(top), passes=[whole.logits])
    places = prompt.is_visual[prompt.is_kept()].nonzero()[:, 0]  # (N,)
    after = torch.arange(int(places[-1]) + 1, prompt.length, device=places.device)
    distinct = sorted({tuple(row) for row in around}, key=lambda row: (len(row), row))
    parts: dict[tuple[int, ...], Tensor] = {}
    for _, group in groupby(distinct, len):
        windows = list(group)
        columns = torch.stack([torch.cat([places[list(row)], after]) for row in windows])
        prompts = [_with_padding_at(vlm, prompt, row) for row in windows]
        passes = vlm.reread(whole, prompts, columns)
        (logits,) = first_words(vlm, prompts, articles, _among(best), passes=passes)
        parts |= dict(zip(windows, logits, strict=True))
    ablated = torch.stack([parts[tuple(row)] for row in around])
    return LogitPair(intact.expand_as(ablated), ablated)


def frozen_correlation(vlm: VLM, prompt: Prompt) -> float | None:
    """Spearman's rank correlation, over the visual tokens of a prompt, of the Jensen-Shannon divergences by
    `ablate_global_frozen` and by `ablate_global`; None if one of them is constant.
    """
    pairs = (ablate_global_frozen(vlm, prompt, top=TOP), ablate_global(vlm, prompt, top=TOP))
    return correlation(*(pair.divergence(jensen_shannon) for pair in pairs))


def _likeliest(top: int | None) -> Keep:
    """Keeps the logits (R, top) of the likeliest words, and which these are; without `top`, all logits."""
    return lambda rows, logits: [logits] if top is None else logits.topk(min(top, logits.shape[-1]), -1)


def _among(best: Sequence[Tensor], where: Tensor | None = None) -> Keep:
    """Keeps the logits of the words that are best in the intact row that `where` says, or in the only one;
    all logits where all of the intact ones were kept.
    """

    def keep(rows: Tensor, logits: Tensor) -> list[Tensor]:
        if not best:
            return [logits]
        words = best[0].expand(len(logits), -1) if where is None else best[0][where[rows]]
        return [logits.gather(-1, words)]

    return keep


def _around(vlm: VLM, prompt: Prompt, tokens: Sequence[int] | None) -> dict[int, list[int]]:
    """The indices of the neighborhood of each of the tokens, by that of the token."""
    check_picture_map(vlm)
    rows = neighborhoods(prompt.visual.cell.cpu()).tolist()
    chosen = range(len(rows)) if tokens is None else tokens
    return {token: [i for i in rows[token] if i >= 0] for token in chosen}


def _row_start(prompt: Prompt, window: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prompt.visual.cell[window[0], :3].tolist())


def _with_padding_at(vlm: VLM, prompt: Prompt, places: list[int] | tuple[int, ...]) -> Prompt:
    """The prompt with the visual tokens at `places` replaced by the padding embedding, in place."""
    embeds = prompt.visual.embeds.clone()
    embeds[list(places)] = vlm.pad_embedding.to(embeds.dtype)
    deep = tuple(layer.clone() for layer in prompt.visual.deep)
    for layer in deep:
        layer[list(places)] = 0
    return replace(prompt, visual=replace(prompt.visual, embeds=embeds, deep=deep))


def _distinct(prompts: list[Prompt], keys: list[list[int]]) -> tuple[list[Prompt], Tensor]:
    """The prompts with different keys, and for every prompt which of them is its own."""
    rows = {key: i for i, key in enumerate(sorted({tuple(key) for key in keys}))}
    chosen = {tuple(key): prompt for key, prompt in zip(keys, prompts, strict=True)}
    return [chosen[key] for key in rows], torch.tensor([rows[tuple(key)] for key in keys])
