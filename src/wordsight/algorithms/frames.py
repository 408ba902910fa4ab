"""Frames: tokens at the same place of the frames of a film, and what of them stays the same for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def frame_table(cell: Tensor) -> Tensor:
    """(frames, places) which token each frame has at each crop, row and column, of cells (N, 4); -1 where it
    has none. Tokens that share a cell have places of their own.
    """
    frames, frame = torch.unique(cell[:, 0], return_inverse=True)
    same = torch.unique(cell, dim=0, return_inverse=True)[1]
    order = same.argsort(stable=True)
    repeat = torch.empty_like(order)
    repeat[order] = torch.arange(len(cell), device=cell.device) - torch.searchsorted(same[order], same[order])
    keys = torch.cat([cell[:, 1:], repeat[:, None]], 1)
    places, place = torch.unique(keys, dim=0, return_inverse=True)
    table = cell.new_full((len(frames), len(places)), -1)
    table[frame, place] = torch.arange(len(cell), device=cell.device)
    return table


def place_cosine(embeds: Tensor, some: Tensor, others: Tensor) -> Tensor:
    """The cosine of the tokens (N, D) that two parts of a table have at each place; -1 where one has none."""
    unit = torch.nn.functional.normalize(embeds.float(), dim=-1)
    return (unit[some] * unit[others]).sum(-1).masked_fill((some < 0) | (others < 0), -1)


def frame_means(embeds: Tensor, table: Tensor) -> Tensor:
    """(frames, D) the mean of the tokens of each frame."""
    return torch.stack([embeds[row[row >= 0]].float().mean(0) for row in table])


def leave_enough(still: Sequence[Tensor], lengths: Sequence[int], left: int) -> list[Tensor]:
    """Which places stay the same (places,) in each of some windows of frames, of those given, so that no more
    than `left` tokens go when each of them is merged over its window: windows that save least give up first.
    """
    saved = [int(mask.sum()) * (length - 1) for mask, length in zip(still, lengths, strict=True)]
    found, total = list(still), sum(saved)
    for i in sorted(range(len(saved)), key=saved.__getitem__):
        if total > left:
            found[i], total = torch.zeros_like(still[i]), total - saved[i]
    return found


def window_groups(table: Tensor, lengths: Sequence[int], still: Sequence[Tensor]) -> Iterator[Tensor]:
    """Groups of tokens (M, 1) of each frame, and (M, length) of each window of frames what is at places that
    stay the same in it, to be one each; every token is in one of them.
    """
    for rows, mask in zip(torch.split(table, list(lengths)), still, strict=True):
        if mask.any():
            yield rows[:, mask].T
        yield from (row[~mask & (row >= 0)][:, None] for row in rows if (~mask & (row >= 0)).any())


def spread(mixed: Tensor, group: Tensor, total: int) -> Tensor:
    """(K, total) how much of every token is in something, of (K, M) how much of each of a group (M, frames)
    is: each of those is the mean of its tokens.
    """
    rows = mixed[:, :, None].expand(-1, -1, group.shape[1]) / group.shape[1]  # (K, M, frames)
    return mixed.new_zeros(len(mixed), total).index_add(1, group.flatten(), rows.flatten(1))
