"""DPC-KNN: density peaks clustering with k nearest neighbors, deterministic and in blocks.

"Study on density peaks clustering based on k-nearest neighbors and principal component analysis" (Du, Ding,
Jia 2016), as used in arXiv 2503.20540. Differs from the released code: ties are broken by index instead of
random noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from wordsight.errors import UsageError

Scale = Literal["mean", "sqrt_dim"]
BLOCK = 2048


def dpc_knn(points: Tensor, clusters: int, neighbors: int = 5, scale: Scale = "mean") -> Tensor:
    """The cluster (N,) of each of the points (N, D), numbered from 0, the most prominent center first.

    Every point joins the nearest of the `dpc_centers`.
    """
    return nearest_centers(points, dpc_centers(points, clusters, neighbors, scale))


def nearest_centers(points: Tensor, centers: Tensor) -> Tensor:
    """Which (N,) of the centers, indices (M,) of the points (N, D), each point is nearest to."""
    x = points.detach().double()
    labels = torch.cat([centers[:0], *(distances.argmin(-1) for distances in _blocks(x, x[centers]))])
    labels[centers] = torch.arange(len(centers), device=x.device)
    return labels


def dpc_centers(points: Tensor, clusters: int, neighbors: int = 5, scale: Scale = "mean") -> Tensor:
    """The indices (clusters,) of the points (N, D) that are centers of clusters, the most prominent first.

    density = exp(-mean of the `neighbors` smallest squared distances, the point itself included); delta =
    distance to the nearest denser point; centers = the largest density * delta. `scale` divides the
    Euclidean distances: "mean" by their mean over pairs of different points, "sqrt_dim" by sqrt(D) as the
    authors do, which is informative only where norms are of the order of sqrt(D). Fewer points than clusters
    are centers all. Memory is O(N * 2048).
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
    total, largest, closest = x.new_zeros(()), x.new_zeros(()), []
    for distances in _blocks(x, x):
        total, largest = total + distances.sum(), torch.maximum(largest, distances.max())
        closest.append(distances.topk(min(neighbors, count), largest=False).values)
    mean = total / (count * (count - 1))
    unit = mean.clamp(min=torch.finfo(x.dtype).tiny) if scale == "mean" else x.new_tensor(x.shape[1] ** 0.5)
    density = (-(torch.cat(closest) / unit).square().mean(-1)).exp()  # (N,)
    # rank[i] is the place of point i from dense to sparse, the lower index first among equals.
    rank = torch.empty(count, dtype=torch.long, device=x.device)
    rank[density.argsort(descending=True, stable=True)] = torch.arange(count, device=x.device)
    delta = []
    for start, distances in zip(range(0, count, BLOCK), _blocks(x, x), strict=True):
        denser = rank[None] < rank[start : start + len(distances), None]
        delta.append(distances.masked_fill(~denser, torch.inf).amin(-1).clamp(max=largest))
    return (density * torch.cat(delta)).argsort(descending=True, stable=True)[:clusters]


def _blocks(x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """Euclidean distances (rows, M) of blocks of rows of x (N, D) to all of y (M, D)."""
    norms = y.square().sum(-1)
    for start in range(0, len(x), BLOCK):
        rows = x[start : start + BLOCK]
        lengths = rows.square().sum(-1, keepdim=True) + norms  # (rows, M)
        squares = lengths - 2 * rows @ y.T
        # Equal points are at distance 0, not at what rounding leaves of the difference.
        yield squares.masked_fill(squares < 1e-13 * lengths, 0).sqrt()
