"""DPC-KNN against the rules written as plain loops, ties and degenerate sets included."""

import math
from itertools import product

import pytest
import torch

from wordsight.algorithms import clustering as cluster
from wordsight.algorithms.clustering import dpc_knn
from wordsight.errors import UsageError

SCALES = ("mean", "sqrt_dim")


def slow_dpc_knn(points, clusters, neighbors=5, scale="mean"):
    """The rules of the paper, one point at a time."""
    points, count = points.tolist(), len(points)
    if count <= clusters:
        return list(range(count))
    distance = [[math.dist(a, b) for b in points] for a in points]
    pairs = [distance[i][j] for i in range(count) for j in range(count) if i != j]
    unit = sum(pairs) / len(pairs) if scale == "mean" else math.sqrt(len(points[0]))
    unit = unit or 1.0
    density = []
    for i in range(count):
        smallest = sorted(distance[i])[:neighbors]
        density.append(math.exp(-sum((d / unit) ** 2 for d in smallest) / len(smallest)))
    order = sorted(range(count), key=lambda i: (-density[i], i))
    delta = [0.0] * count
    for place, i in enumerate(order):
        delta[i] = min((distance[i][j] for j in order[:place]), default=max(map(max, distance)))
    centers = sorted(range(count), key=lambda i: (-density[i] * delta[i], i))[:clusters]
    labels = [min(range(clusters), key=lambda c: (distance[i][centers[c]], c)) for i in range(count)]
    for label, center in enumerate(centers):
        labels[center] = label
    return labels


def whole_dpc_knn(points, clusters, neighbors, scale):
    """The same rules on the whole matrix of distances, for more points."""
    x, count = points.double(), len(points)
    lengths = x.square().sum(1)[:, None] + x.square().sum(1)
    squares = lengths - 2 * x @ x.T
    distance = squares.masked_fill(squares < 1e-13 * lengths, 0).sqrt()
    unit = distance.sum() / (count * (count - 1)) if scale == "mean" else x.shape[1] ** 0.5
    density = (-(distance.sort().values[:, :neighbors] / unit).square().mean(1)).exp()
    is_first = torch.ones(count, count, dtype=torch.bool).tril(-1)
    is_denser = (density > density[:, None]) | (density == density[:, None]) & is_first
    delta = distance.masked_fill(~is_denser, torch.inf).amin(1).clamp(max=distance.max())
    centers = (density * delta).argsort(descending=True, stable=True)[:clusters]
    labels = distance[:, centers].argmin(1)
    labels[centers] = torch.arange(clusters)
    return labels.tolist()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("block", [90, 512])
def test_points_of_many_blocks_get_the_clusters_of_the_whole_matrix(block, scale, monkeypatch):
    monkeypatch.setattr(cluster, "BLOCK", block)
    generator = torch.Generator().manual_seed(block)
    for count, width, neighbors in product((200, 600), (3, 48), (1, 5, 20)):
        drawn = torch.randn(count, width, generator=generator)
        even = (drawn * 64).round() / 64  # whose products no order of adding changes
        copies = even[torch.randint(count // 3, (count,), generator=generator)]
        for points in (drawn, even, copies, drawn * 1e-3 + 5, drawn.bfloat16()):
            found = dpc_knn(points, 24, neighbors, scale).tolist()
            assert found == whole_dpc_knn(points, 24, neighbors, scale), (count, width, neighbors)


def random_points(seed, largest=40):
    generator = torch.Generator().manual_seed(seed)
    count, width, blobs = (int(torch.randint(low, largest, (), generator=generator)) for low in (2, 1, 1))
    middles = torch.randn(blobs, width, generator=generator) * 2
    which = torch.randint(blobs, (count,), generator=generator)
    return middles[which] + torch.randn(count, width, generator=generator) * 0.4


@pytest.mark.parametrize("scale", SCALES)
def test_every_point_gets_the_cluster_of_the_slow_loops(scale):
    for seed in range(30):
        points, clusters = random_points(seed), 1 + seed % 8
        found = dpc_knn(points, clusters, scale=scale)
        assert found.tolist() == slow_dpc_knn(points, clusters, scale=scale), seed


@pytest.mark.parametrize("neighbors", [1, 2, 9, 100])
def test_any_number_of_neighbors_agrees_with_the_slow_loops(neighbors):
    points = random_points(5)
    assert dpc_knn(points, 4, neighbors).tolist() == slow_dpc_knn(points, 4, neighbors)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("clusters", [2, 3, 5, 8])
def test_ties_on_an_even_lattice_are_broken_by_index(clusters, scale):
    points = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0))
    assert dpc_knn(points, clusters, scale=scale).tolist() == slow_dpc_knn(points, clusters, scale=scale)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("clusters", [2, 4, 6])
def test_more_clusters_than_different_points_are_broken_by_index(clusters, scale):
    places = torch.randn(3, 7, generator=torch.Generator().manual_seed(1)) * 3
    points = places[torch.tensor([0, 1, 2, 1, 0, 2, 2, 1, 0, 0, 1, 2])]
    assert dpc_knn(points, clusters, scale=scale).tolist() == slow_dpc_knn(points, clusters, scale=scale)


@pytest.mark.parametrize("scale", SCALES)
def test_equal_points_all_join_the_first(scale):
    points = torch.randn(1, 9, generator=torch.Generator().manual_seed(2)).expand(12, -1) * 7
    assert dpc_knn(points, 3, scale=scale).tolist() == [0, 1, 2] + [0] * 9


def test_copies_of_a_point_share_its_cluster():
    points = random_points(3, largest=20)
    labels = dpc_knn(points.repeat(2, 1), 3)
    assert torch.equal(labels[: len(points)], labels[len(points) :])


@pytest.mark.parametrize("clusters", [4, 5, 64])
def test_no_more_points_than_clusters_give_one_cluster_each(clusters):
    assert dpc_knn(torch.randn(4, 3), clusters).tolist() == [0, 1, 2, 3]


def test_a_single_point_is_a_cluster():
    assert dpc_knn(torch.randn(1, 3), 1).tolist() == [0]


def test_no_points_give_no_labels():
    assert dpc_knn(torch.zeros(0, 3), 8).tolist() == []


def test_far_apart_groups_become_the_clusters():
    generator = torch.Generator().manual_seed(0)
    group = torch.arange(30) % 3
    points = torch.eye(3)[group] * 50 + torch.randn(30, 3, generator=generator)
    labels = dpc_knn(points, 3)
    assert len({(int(a), int(b)) for a, b in zip(group, labels, strict=True)}) == 3


def test_a_point_joins_its_nearest_center_and_not_its_denser_neighbor():
    # Two crowds at 0 and 10; 5.2 descends by way of 4.9 from the crowd at 0, but the center at 10 is nearer.
    points = torch.tensor([0, 0.1, -0.1, 0.2, -0.2, 0.05, 1.2, 2.4, 3.6, 4.9, 5.2, 10, 10.1, 9.9, 10.2, 9.8])
    labels = dpc_knn(points[:, None], 2)
    assert labels.tolist() == [0] * 10 + [1] * 6


@pytest.mark.parametrize("block", [9, 64, 199])
def test_the_size_of_a_block_changes_nothing(block, monkeypatch):
    points = torch.randn(200, 24, generator=torch.Generator().manual_seed(4))
    whole = dpc_knn(points, 8)
    monkeypatch.setattr(cluster, "BLOCK", block)
    assert torch.equal(dpc_knn(points, 8), whole)


def test_the_same_points_give_the_same_clusters():
    points = random_points(11)
    assert torch.equal(dpc_knn(points, 6), dpc_knn(points.clone(), 6))


def test_the_mean_scale_does_not_depend_on_the_unit_of_length():
    points = random_points(12)
    assert torch.equal(dpc_knn(points, 6), dpc_knn(points * 1000, 6))


def test_half_precision_points_are_compared_exactly():
    points = random_points(13).bfloat16()
    assert torch.equal(dpc_knn(points, 5), dpc_knn(points.double(), 5))


def test_the_points_are_left_as_they_were():
    points = random_points(14)
    before = points.clone()
    dpc_knn(points, 3)
    assert torch.equal(points, before)


@pytest.mark.parametrize(
    ("points", "clusters", "neighbors"),
    [(torch.ones(6), 2, 5), (torch.ones(6, 2), 0, 5), (torch.ones(6, 2), 2, 0)],
)
def test_points_clusters_and_neighbors_that_make_no_sense_are_refused(points, clusters, neighbors):
    with pytest.raises(UsageError, match="expected points"):
        dpc_knn(points, clusters, neighbors)


def test_an_unknown_scale_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"'mean' or 'sqrt_dim', got 'median'"):
        dpc_knn(torch.ones(6, 2), 2, scale="median")
