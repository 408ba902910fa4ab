"""DPC-KNN: density peaks clustering with k nearest neighbors, deterministic and in blocks.

"Study on density peaks clustering based on k-nearest neighbors and principal component analysis" (Du, Ding,
Jia 2016), as used in arXiv 2503.20540. Differs from the released code: ties are broken by index instead of
random noise.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from wordsight.errors import UsageError

Scale = Literal["mean", "sqrt_dim"]
BLOCK = 1024  # points: distances of so many to as many others are in memory at a time
EQUAL = 1e-13  # of the squared lengths: a squared distance below it is what rounding leaves of 0


def dpc_knn(points: Tensor, clusters: int, neighbors: int = 5, scale: Scale = "mean") -> Tensor:
    """The cluster (N,) of each of the points (N, D), numbered from 0, the most prominent center first.

    Every point joins the nearest of the `dpc_centers`.
    """
    return nearest_centers(points, dpc_centers(points, clusters, neighbors, scale))


def nearest_centers(points: Tensor, centers: Tensor) -> Tensor:
    """Which (N,) of the centers, indices (M,) of the points (N, D), each point is nearest to."""
    x = points.detach().double()
    labels = torch.cat([centers[:0], *(_distances(rows, x[centers]).argmin(-1) for rows in _blocks(x))])
    labels[centers] = torch.arange(len(centers), device=x.device)
    return labels


def dpc_centers(points: Tensor, clusters: int, neighbors: int = 5, scale: Scale = "mean") -> Tensor:
    """The indices (clusters,) of the points (N, D) that are centers of clusters, the most prominent first.

    density = exp(-mean of the `neighbors` smallest squared distances, the point itself included); delta =
    distance to the nearest denser point; centers = the largest density * delta. `scale` divides the
    Euclidean distances: "mean" by their mean over pairs of different points, "sqrt_dim" by sqrt(D) as the
    authors do, which is informative only where norms are of the order of sqrt(D). Fewer points than clusters
    are centers all. Time grows with N * N; in memory are the points in double precision, and some 60 MB.
    """
    if points.ndim != 2 or clusters < 1 or neighbors < 1:
        raise UsageError(
            "expected points (N, D), clusters >= 1 and neighbors >= 1, "
            f"got {tuple(points.shape)}, {clusters} and {neighbors}"
        )
    if scale not in ("mean", "sqrt_dim"):
        raise UsageError(f"scale must be 'mean' or 'sqrt_dim', got {scale!r}")
    x = points.detach().double()
    count = len(x)
    if count <= clusters:
        return torch.arange(count, device=x.device)
    near = _nearest(x, min(neighbors, count))
    unit = near.mean.clamp(min=torch.finfo(x.dtype).tiny) if scale == "mean" else x.shape[1] ** 0.5
    density = (-(near.distances / unit).square().mean(-1)).exp()  # (N,)
    delta = _to_denser(x, near, density).clamp(max=near.largest)
    return (density * delta).argsort(descending=True, stable=True)[:clusters]


class _Nearest(NamedTuple):
    """The distances (N, K) of every point to those nearest to it, itself included, and their indices; and of
    all pairs of different points the mean and the largest distance.
    """

    distances: Tensor
    indices: Tensor
    mean: Tensor
    largest: Tensor


def _nearest(x: Tensor, neighbors: int) -> _Nearest:
    """Of the points (N, D); each distance is computed once."""
    count = len(x)
    distances = x.new_full((count, neighbors), torch.inf)
    indices = torch.zeros_like(distances, dtype=torch.long)
    total, largest = x.new_zeros(()), x.new_zeros(())
    blocks = _blocks(torch.arange(count, device=x.device))
    for i, rows in enumerate(blocks):
        for columns in blocks[i:]:
            tile = _distances(x[rows], x[columns])
            largest = torch.maximum(largest, tile.max())
            total += tile.sum() if rows is columns else 2 * tile.sum()
            _insert(distances, indices, tile, rows, columns)
            if rows is not columns:
                _insert(distances, indices, tile.T, columns, rows)
    return _Nearest(distances, indices, total / (count * (count - 1)), largest)


def _insert(distances: Tensor, indices: Tensor, tile: Tensor, rows: Tensor, columns: Tensor) -> None:
    """Put the distances of the rows to the columns among the smallest so far (N, K), if they are smaller."""
    closer = (tile.amin(1) < distances[rows, -1]).nonzero()[:, 0]
    rows, neighbors = rows[closer], distances.shape[1]
    found = tile[closer].topk(min(neighbors, len(columns)), largest=False)
    both = torch.cat([distances[rows], found.values], 1)
    places = torch.cat([indices[rows], columns[found.indices]], 1)
    distances[rows], order = both.topk(neighbors, largest=False)
    indices[rows] = places.gather(1, order)


def _to_denser(x: Tensor, near: _Nearest, density: Tensor) -> Tensor:
    """(N,) the distance of every point to the nearest denser one, the lower index denser among equals;
    infinite for the densest.
    """
    order = density.argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=x.device)
    # No point is nearer than a neighbor, so that only those with no denser neighbor are compared with others.
    delta = near.distances.masked_fill(rank[near.indices] >= rank[:, None], torch.inf).amin(-1)
    for rows in _blocks(order[delta[order].isinf()]):
        for columns in _blocks(order[: rank[rows[-1]] + 1]):
            tile = _distances(x[rows], x[columns]).masked_fill_(rank[columns] >= rank[rows, None], torch.inf)
            delta[rows] = torch.minimum(delta[rows], tile.amin(-1))
    return delta


def _blocks(rows: Tensor) -> list[Tensor]:
    return [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances (N, M) of x (N, D) to y (M, D)."""
    lengths = x.square().sum(-1, keepdim=True) + y.square().sum(-1)  # (N, M)
    squares = (x @ y.T).mul_(-2).add_(lengths)
    # Equal points are at distance 0, not at what rounding leaves of the difference.
    return squares.masked_fill_(squares < lengths.mul_(EQUAL), 0).sqrt_()
