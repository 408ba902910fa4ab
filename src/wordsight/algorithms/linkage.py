"""Single linkage: things that are connected by links of similar ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor


class Link(NamedTuple):
    """Of a thing to the most similar of those linked before it."""

    thing: int
    other: int
    similarity: float


def linkage(alike: Tensor) -> list[Link]:
    """The links of the maximum spanning tree of a similarity (N, N), grown from the first thing on."""
    rows = alike.cpu().numpy()  # a call of numpy takes a tenth of the time that one of torch does
    nearest, other = rows[0].copy(), np.zeros(len(rows), dtype=np.int64)
    free = np.arange(len(rows)) > 0
    links: list[Link] = []
    for _ in range(len(rows) - 1):
        nearest[~free] = -np.inf
        thing = int(nearest.argmax())
        links.append(Link(thing, int(other[thing]), float(nearest[thing])))
        free[thing] = False
        nearer = free & (rows[thing] > nearest)
        nearest[nearer] = rows[thing][nearer]
        other[nearer] = thing
    return links


def components(links: Sequence[Link], threshold: float) -> list[int]:
    """The component of each thing, numbered from 0, if links above a threshold connect."""
    return _numbered(links, [link.similarity <= threshold for link in links])


def divided(links: Sequence[Link], count: int) -> list[int]:
    """The component of each thing, numbered from 0, if all links but the weakest connect: so many components,
    at most as many as there are things.
    """
    weakest = set(sorted(range(len(links)), key=lambda i: links[i].similarity)[: count - 1])
    return _numbered(links, [i in weakest for i in range(len(links))])


def _numbered(links: Sequence[Link], is_cut: Sequence[bool]) -> list[int]:
    found = [0] * (len(links) + 1)
    new = 0
    for link, cut in zip(links, is_cut, strict=True):
        new += cut
        found[link.thing] = new if cut else found[link.other]
    return found
