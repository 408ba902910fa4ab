"""Published methods for films, against slow loops written from their rules and cases worked by hand."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from wordsight.algorithms.clustering import dpc_centers
from wordsight.algorithms.frames import frame_table, leave_enough
from wordsight.algorithms.linkage import components, divided, linkage
from wordsight.algorithms.selection import split_budget
from wordsight.errors import UsageError
from wordsight.models.tokens import VisualTokens
from wordsight.pruners.dycoke import DyCoke
from wordsight.pruners.fastvid import FastVID
from wordsight.pruners.holitom import HoliTom, _windows
from wordsight.pruners.prunevid import PruneVid, _scenes
from wordsight.pruners.scissor import Scissor

COUNTS = (1, 2, 5, 13, 25, 40, 63)
FRAMES, PLACES = range(8), range(8)


@pytest.fixture
def film(tokens):
    """Eight frames of two by four: five of one scene, three of another, where half of the places change."""
    generator = torch.Generator().manual_seed(3)
    scenes = torch.randn(2, 8, 16, generator=generator)
    embeds = torch.stack([scenes[int(frame >= 5)] for frame in FRAMES])
    change = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5])[:, None]
    embeds = embeds + change * torch.randn(8, 8, 16, generator=generator)
    cells = [[frame, 0, place // 4, place % 4] for frame in FRAMES for place in PLACES]
    return replace(tokens, embeds=embeds.flatten(0, 1), cell=torch.tensor(cells))


def cosine(a, b):
    return float(a.double() @ b.double() / a.double().norm() / b.double().norm())


def cosines(rows):
    return [[cosine(a, b) for b in rows] for a in rows]


def falling(items, value):
    return sorted(items, key=lambda i: -float(value[i]))


def check(pruner, tokens, expected):
    """What is kept, against the vectors that are expected by slot."""
    kept = pruner.select(tokens)
    assert kept.slot.tolist() == sorted(expected), pruner
    vectors = torch.stack([expected[slot] for slot in sorted(expected)])
    torch.testing.assert_close(
        kept.embeds, vectors.float(), rtol=1e-4, atol=1e-4, msg=lambda text: f"{pruner}: {text}"
    )


def test_places_are_told_by_crop_row_and_column():
    cell = torch.tensor([[3, 0, 0, 0], [3, 0, 0, 1], [5, 0, 0, 1], [5, 1, 0, 0], [5, 1, 0, 0]])
    assert frame_table(cell).tolist() == [[0, 1, -1, -1], [-1, 2, 3, 4]]


def test_windows_that_save_least_give_up_first():
    still = [torch.tensor(mask) for mask in ([True, True, False], [True, False, False], [True] * 3)]
    # They save 2 * 1, 1 * 2 and 3 * 1 tokens.
    assert [mask.tolist() for mask in leave_enough(still, [2, 3, 2], 7)] == [mask.tolist() for mask in still]
    assert [int(mask.sum()) for mask in leave_enough(still, [2, 3, 2], 6)] == [0, 1, 3]
    assert [int(mask.sum()) for mask in leave_enough(still, [2, 3, 2], 2)] == [0, 0, 0]


def on_a_circle(*frames):
    """Tokens of frames of two cells each, at these angles in degrees."""
    angle = torch.deg2rad(torch.tensor(frames, dtype=torch.float32)).flatten()
    embeds = torch.stack([angle.cos(), angle.sin()], 1) * (1 + torch.arange(len(angle))[:, None])
    cells = [[frame, 0, 0, column] for frame in range(len(frames)) for column in (0, 1)]
    return VisualTokens(embeds, slot=torch.arange(len(angle)), cell=torch.tensor(cells))


@pytest.mark.parametrize(
    ("count", "slots"),
    [(1, [1]), (2, [0, 1]), (5, [0, 1, 2, 5, 7]), (6, [0, 1, 2, 3, 5, 7]), (8, list(range(8)))],
)
def test_dycoke_keeps_every_fourth_frame_and_what_changed_most(count, slots):
    # Turned by 40 and 10 from the first; by 5 and 70 from the first; by 0 and 90 from the third.
    tokens = on_a_circle((0, 0), (40, 10), (5, 70), (5, 160))
    assert DyCoke(tokens=count).select(tokens).slot.tolist() == slots


def slow_dycoke(tokens, count):
    """Of eight frames, two of them whole."""
    whole = [frame * 8 + place for frame in (0, 4) for place in PLACES]
    shares = split_budget(count - 16, [8] * 6, [8] * 6)
    found = list(whole)
    for frame, share in zip((1, 2, 3, 5, 6, 7), shares, strict=True):
        other = frame - 2 if frame % 4 == 2 else frame - 1
        alike = [cosine(tokens.embeds[frame * 8 + p], tokens.embeds[other * 8 + p]) for p in PLACES]
        found += [frame * 8 + place for place in sorted(PLACES, key=alike.__getitem__)[:share]]
    return sorted(found)


def test_dycoke_agrees_with_its_rule(film):
    for count in (16, 17, 25, 40, 63):
        assert DyCoke(tokens=count).select(film).slot.tolist() == slow_dycoke(film, count), count


@pytest.mark.parametrize(("frames", "others"), [(4, (1, 3)), (6, (1, 2, 3, 5)), (8, (1, 2, 3, 5, 7))])
def test_dycoke_as_released_keeps_the_third_of_the_last_four_frames(film, frames, others):
    few = film.take(torch.arange(frames * 8))
    rows = few.embeds.view(frames, 8, -1)
    whole = [frame for frame in range(frames) if frame not in others]
    for count in range(8 * len(whole) + 1, frames * 8 + 1, 3):
        shares = split_budget(count - 8 * len(whole), [8] * len(others), [8] * len(others))
        expected = [frame * 8 + place for frame in whole for place in PLACES]
        for frame, share in zip(others, shares, strict=True):
            before = frame - 2 if frame % 4 == 2 else frame - 1
            alike = [cosine(rows[frame, place], rows[before, place]) for place in PLACES]
            expected += [frame * 8 + place for place in sorted(PLACES, key=alike.__getitem__)[:share]]
        assert DyCoke.published(tokens=count).select(few).slot.tolist() == sorted(expected), count


def test_dycoke_of_less_than_the_whole_frames_keeps_some_of_each(film):
    assert DyCoke(tokens=4).select(film).cell[:, 0].tolist() == [0, 0, 4, 4]


def still_places(windows, is_still, count):
    """What stays the same in windows of frames (start, length), if at least so many tokens must be left."""
    still = [[p for p in PLACES if length > 1 and is_still(start, length, p)] for start, length in windows]
    saved = [len(places) * (length - 1) for places, (_, length) in zip(still, windows, strict=True)]
    while 64 - sum(saved) < count:
        least = min((i for i in range(len(saved)) if saved[i]), key=lambda i: saved[i])
        still[least], saved[least] = [], 0
    return still


def slow_groups(windows, still):
    """Groups of lists of tokens that are one."""
    groups = []
    for (start, length), places in zip(windows, still, strict=True):
        groups.append([[frame * 8 + p for frame in range(start, start + length)] for p in places])
        for frame in range(start, start + length):
            groups.append([[frame * 8 + p] for p in PLACES if p not in places])
    return [group for group in groups if group]


def slow_clusters(tokens, group, count, neighbors):
    """The centers among the means of a group's lists, the means, and the members of each center."""
    means = torch.stack([tokens.embeds[members].mean(0) for members in group])
    centers = dpc_centers(means, count, neighbors, "sqrt_dim").tolist()
    members = {center: [center] for center in centers}
    for i in range(len(group)):
        if i not in centers:
            away = {center: float((means[i] - means[center]).double().norm()) for center in centers}
            members[min(centers, key=away.__getitem__)].append(i)
    return means, members


def most_saving(is_still):
    """Of all ways to cut the film that that saves most tokens; of equals that of the shortest last window."""
    cuts = itertools.chain.from_iterable(itertools.combinations(range(1, 8), n) for n in FRAMES)
    every = [[(a, b - a) for a, b in itertools.pairwise([0, *some, 8])] for some in cuts]
    saves = [sum((n - 1) * sum(is_still(s, n, p) for p in PLACES) for s, n in windows) for windows in every]
    best = [windows for windows, saved in zip(every, saves, strict=True) if saved == max(saves)]
    return min(best, key=lambda windows: [length for _, length in windows[::-1]])


def holitom_groups(tokens, count, similarity):
    """Groups of what stays the same in the windows that save most, leaving so many, and of the rest."""
    same = [
        [cosine(tokens.embeds[f * 8 + p], tokens.embeds[f * 8 + 8 + p]) > similarity for p in PLACES]
        for f in range(7)
    ]

    def is_still(start, length, place):
        return all(same[frame][place] for frame in range(start, start + length - 1))

    windows = most_saving(is_still)
    return slow_groups(windows, still_places(windows, is_still, count))


def slow_holitom(tokens, count, similarity, weight):
    groups = holitom_groups(tokens, count, similarity)
    sizes = [len(group) for group in groups]
    attention, expected = tokens.signals["cls_attention"], {}
    for group, few in zip(groups, split_budget(count, sizes, sizes), strict=True):
        if len(group[0]) == 1:
            for i in falling([i for (i,) in group], attention)[:few]:
                expected[i] = tokens.embeds[i]
        elif few:
            means, clusters = slow_clusters(tokens, group, few, min(7, few))
            for center, members in clusters.items():
                others = means[members[1:]].mean(0) if members[1:] else means[center]
                expected[group[center][0]] = weight * means[center] + (1 - weight) * others
    return expected


def slow_released_holitom(tokens, keep, similarity):
    """How many are kept of each frame, and what of each window, by the slots of the centers."""
    groups = holitom_groups(tokens, 0, similarity)
    share = min(keep / (sum(map(len, groups)) / 64), 1)
    attention, kept = tokens.signals["cls_attention"], []
    for group in groups:
        if len(group[0]) == 1:
            few = math.ceil(len(group) * share)
            kept += falling([i for (i,) in group], attention)[:few]
        elif few := round(len(group) * share):
            kept += [group[center][0] for center in slow_clusters(tokens, group, few, min(7, few))[1]]
    return sorted(kept)


@pytest.mark.parametrize("similarity", [0.8, 0.5, 1.0])
def test_holitom_as_released_keeps_the_same_share_of_everything(film, similarity):
    for keep in (0.125, 0.17, 0.25, 0.43, 0.5, 0.75):
        kept = HoliTom.published(keep=keep, similarity=similarity).select(film)
        assert kept.slot.tolist() == slow_released_holitom(film, keep, similarity), keep


def test_of_windows_that_save_the_same_the_last_is_short():
    """One place stays the same from the first to the second of three frames, the other from there on."""
    assert _windows(torch.tensor([[True, False], [False, True]])) == [2, 1]
    assert _windows(torch.tensor([[True, True], [False, True]])) == [2, 1]
    assert _windows(torch.tensor([[False, True], [True, True]])) == [1, 2]


@pytest.mark.parametrize(("similarity", "weight"), [(0.8, 0.6), (0.5, 0.6), (0.95, 0.2), (1.0, 0.6)])
def test_holitom_agrees_with_its_rule(film, similarity, weight):
    for count in COUNTS:
        expected = slow_holitom(film, count, similarity, weight)
        check(HoliTom(tokens=count, similarity=similarity, center=weight), film, expected)


@pytest.mark.parametrize(
    ("labels", "lengths"),
    [
        ([0, 0, 1, 1, 1, 2, 0, 0], [2, 4, 2]),  # both runs of 0 are its longest; 2 joins the longer side
        ([0, 0, 1, 0, 0, 0], [6]),
        ([0, 0, 1, 2, 2], [3, 2]),  # of equals the earlier
        ([0, 0, 1, 2, 2, 2], [2, 4]),
        ([3, 0, 0, 0, 1, 2, 1, 4, 4], [7, 2]),
        ([0, 1, 2], [3]),
        ([0], [1]),
    ],
)
def test_scenes_are_the_longest_runs_of_clusters(labels, lengths):
    assert _scenes(labels) == lengths


def slow_prunevid(tokens, count, similarity, scenes):
    frames = [[list(range(frame * 8, frame * 8 + 8))] for frame in FRAMES]
    _, clusters = slow_clusters(tokens, [frame[0] for frame in frames], scenes, 7)
    labels = {i: label for label, members in clusters.items() for i in members}
    lengths = _scenes([labels[frame] for frame in FRAMES])
    windows = [(sum(lengths[:i]), length) for i, length in enumerate(lengths)]

    def is_still(start, length, place):
        rows = [tokens.embeds[frame * 8 + place] for frame in range(start, start + length)]
        pairs = [cosine(a, b) for a, b in itertools.combinations(rows, 2)]
        return sum(pairs) / len(pairs) > similarity

    groups = slow_groups(windows, still_places(windows, is_still, count))
    sizes, expected = [len(group) for group in groups], {}
    for group, few in zip(groups, split_budget(count, sizes, sizes), strict=True):
        if few:
            means, clusters = slow_clusters(tokens, group, few, 7)
            expected |= {group[c][0]: means[members].mean(0) for c, members in clusters.items()}
    return expected


@pytest.mark.parametrize(
    ("similarity", "share", "scenes"), [(0.8, 0.25, 2), (0.5, 0.25, 2), (0.6, 0.5, 4), (0.8, 0.0, 1)]
)
def test_prunevid_agrees_with_its_rule(film, similarity, share, scenes):
    for count in COUNTS:
        expected = slow_prunevid(film, count, similarity, scenes)
        check(PruneVid(tokens=count, similarity=similarity, scenes=share), film, expected)


def slow_fastvid(tokens, count, segments, similarity):
    """With four frames to an anchor, .4 of the budget merged and .6 the least weight of a center."""
    embeds, attention = tokens.embeds, tokens.signals["cls_attention"]
    means = [embeds[frame * 8 : frame * 8 + 8].mean(0) for frame in FRAMES]
    alike = [cosine(means[frame], means[frame + 1]) for frame in range(7)]
    ends = set(sorted(range(7), key=alike.__getitem__)[: segments - 1])
    ends |= {frame for frame in range(7) if alike[frame] < similarity}
    budgets, expected = split_budget(count, [8] * 8, [8] * 8), {}
    for start, end in itertools.pairwise([-1, *sorted(ends), 7]):
        frames = list(range(start + 1, end + 1))
        merged = sum(math.floor(budgets[frame] * 0.4) for frame in frames)
        salient = {frame: budgets[frame] - math.floor(budgets[frame] * 0.4) for frame in frames}
        anchors = [frame for frame in frames if (end - frame) % 4 == 0]
        room = [8 - salient[frame] for frame in anchors]
        contexts = split_budget(min(merged, sum(room)), [1] * len(anchors), room)
        given = dict(zip(anchors, contexts, strict=True))
        free = [8 - salient[frame] - given.get(frame, 0) for frame in frames]
        for frame, more in zip(frames, split_budget(merged - sum(contexts), free, free), strict=True):
            salient[frame] += more
        kept = [
            i
            for frame in frames
            for i in falling(range(frame * 8, frame * 8 + 8), attention)[: salient[frame]]
        ]
        expected |= {i: embeds[i] for i in kept}
        rest = [i for frame in frames for i in range(frame * 8, frame * 8 + 8) if i not in kept]
        for frame, few in given.items():
            own = [i for i in rest if i // 8 == frame]
            centers = [own[i] for i in dpc_centers(embeds[own], few, 4, "sqrt_dim")] if few else []
            members = {center: [] for center in centers}
            for i in rest if centers else []:
                members[max(centers, key=lambda c: cosine(embeds[i], embeds[c]))].append(i)
            for center, group in members.items():
                weight = max(0.6, 1 / (len(group) + 1))
                expected[center] = weight * embeds[center] + (1 - weight) * embeds[group].mean(0)
    return expected


@pytest.mark.parametrize(("segments", "similarity"), [(8, 0.9), (2, 0.5), (1, -1.0), (4, 0.0)])
def test_fastvid_agrees_with_its_rule(film, segments, similarity):
    for count in COUNTS:
        expected = slow_fastvid(film, count, segments, similarity)
        check(FastVID(tokens=count, segments=segments, similarity=similarity), film, expected)


def grown(alike, threshold):
    """The groups of what is connected by cosines above a threshold, by growing each."""
    groups, left = [], list(range(len(alike)))
    while left:
        group, front = [], [left.pop(0)]
        while front:
            i = front.pop()
            group.append(i)
            near = [j for j in left if alike[i][j] > threshold]
            left = [j for j in left if j not in near]
            front += near
        groups.append(sorted(group))
    return groups


def joined_to(alike, count):
    """Groups of one each, the two with the most similar members joined until there are so many."""
    groups = [[i] for i in range(len(alike))]
    while len(groups) > count:
        links = {
            (a, b): max(alike[i][j] for i in groups[a] for j in groups[b])
            for a, b in itertools.combinations(range(len(groups)), 2)
        }
        a, b = max(links, key=links.get)
        groups = [group for i, group in enumerate(groups) if i not in (a, b)] + [groups[a] + groups[b]]
    return groups


def test_links_connect_what_growing_connects(film):
    alike = cosines(film.embeds[:24])
    links = linkage(torch.tensor(alike))
    for threshold in (-1.0, 0.3, 0.6, 0.9, 1.0):
        labels = components(links, threshold)
        groups = [[i for i in range(24) if labels[i] == label] for label in range(max(labels) + 1)]
        assert sorted(groups) == sorted(grown(alike, threshold)), threshold
    for count in (1, 5, 24):
        labels = divided(links, count)
        groups = [[i for i in range(24) if labels[i] == label] for label in range(count)]
        expected = joined_to(alike, count)
        assert sorted(groups) == sorted(sorted(group) for group in expected), count


def slow_scissor(tokens, count, similarity):
    alike = [cosines(tokens.embeds[f * 8 : f * 8 + 8]) for f in FRAMES]

    def within(threshold):
        frames = [grown(rows, threshold) for rows in alike]
        return [
            [f * 8 + i for i in group] for f, groups in zip(FRAMES, frames, strict=True) for group in groups
        ]

    first = within(similarity)
    while len(first) < count:  # as much higher as it takes, in steps that pass one link at a time
        similarity += 0.001
        first = within(similarity)
    rows = torch.stack([tokens.embeds[group].mean(0) for group in first])
    second = joined_to(cosines(rows), count)
    centers = [rows[group].mean(0) for group in second]
    own = [[i for part in group for i in first[part]] for group in second]
    near = [[cosine(row, center) for center in centers] for row in tokens.embeds]
    expected = {}
    for k, center in enumerate(centers):
        members = [i for i in range(64) if max(range(count), key=near[i].__getitem__) == k]
        place = max(sorted(own[k]), key=lambda i: near[i][k])
        expected[place] = torch.stack([center, *tokens.embeds[members]]).mean(0)
    return expected


@pytest.mark.parametrize("similarity", [0.2, 0.5, 0.9])
def test_scissor_agrees_with_its_rule(film, similarity):
    for count in (1, 13, 40):
        pruner = Scissor(tokens=count, similarity=similarity)
        check(pruner, film, slow_scissor(film, count, similarity))


def frames_of(*frames, attention=None):
    """Frames of vectors in one row each, with what attention their tokens get."""
    cells = [[f, 0, 0, column] for f, frame in enumerate(frames) for column in range(len(frame))]
    slot = torch.arange(len(cells))
    signals = {"cls_attention": torch.tensor(attention or [0.0] * len(cells))}
    return VisualTokens(
        torch.tensor([*itertools.chain(*frames)]), slot=slot, cell=torch.tensor(cells), signals=signals
    )


# Three places stay the same (means (1, 0), (1.2, 0) and (0, 1)), the fourth turns by a right angle.
STILL = ([[0.9, 0.0], [1.2, 0.0], [0.0, 1.0], [0.5, 0.0]], [[1.1, 0.0], [1.2, 0.0], [0.0, 1.0], [0.0, 0.5]])


@pytest.mark.parametrize(
    ("pruner", "first"),
    [(HoliTom(tokens=3), 0.6 * 1.0 + 0.4 * 1.2), (PruneVid(tokens=3), (1.0 + 1.2) / 2)],
)
def test_what_stays_the_same_is_merged(pruner, first):
    """Worked by hand: three places for both frames and one of each make five, of which three are to be kept:
    1.8 of the three, .6 and .6 of the others, so 2, 1 and 0. Of three points the first is densest, the third
    far from it; the second joins the first.
    """
    expected = {0: torch.tensor([first, 0.0]), 2: torch.tensor([0.0, 1.0]), 3: torch.tensor([0.5, 0.0])}
    check(pruner, frames_of(*STILL), expected)


def test_fastvid_merges_a_segment_into_its_last_frame():
    """Worked by hand: three tokens a frame, .4 of which is one for merging; so each keeps the two with most
    attention (4 and 3, 8 and 9), and the last frame has both merged ones. Of its others, (1, 0), (1.2, 0) and
    (0, 1), the first and the third are centers, each .6 times itself and .4 the mean of what is most similar
    to it: (1, 0), (1.2, 0), (.2, 0), (.6, 0), and (0, 1), (0, .4).
    """
    first = [[0.2, 0.0], [0.0, 0.4], [0.6, 0.0], [3.0, 1.0], [4.0, 1.0]]
    last = [[1.0, 0.0], [1.2, 0.0], [0.0, 1.0], [5.0, 1.0], [6.0, 1.0]]
    tokens = frames_of(first, last, attention=[0.1, 0.2, 0.3, 0.8, 0.9, 0.3, 0.2, 0.1, 0.9, 0.8])
    expected = {i: tokens.embeds[i] for i in (3, 4, 8, 9)}
    expected |= {5: torch.tensor([0.6 + 0.4 * 0.75, 0.0]), 7: torch.tensor([0.0, 0.6 + 0.4 * 0.7])}
    check(FastVID(tokens=6, segments=1, similarity=-1), tokens, expected)


def test_scissor_joins_within_frames_first():
    """Worked by hand: (2, 0) and (4, 0) of the first frame are one, (3, 0), and with (6, 0) of the second
    (4.5, 0), not (4, 0); with its three tokens that is a mean of 4.125. (0, 3) and (0, 1) are (0, 2).
    """
    tokens = frames_of([[2.0, 0.0], [4.0, 0.0], [0.0, 3.0]], [[6.0, 0.0], [0.0, 1.0], [-2.0, 0.0]])
    expected = {0: torch.tensor([4.125, 0.0]), 2: torch.tensor([0.0, 2.0]), 5: torch.tensor([-2.0, 0.0])}
    check(Scissor(tokens=3), tokens, expected)


@pytest.mark.parametrize("make", [FastVID, HoliTom, PruneVid, Scissor])
def test_deepstack_features_are_merged_like_the_tokens(make, film):
    deep = (2 * film.embeds, film.embeds - film.embeds[:, :1])
    kept = make(keep=0.2).select(replace(film, deep=deep))
    torch.testing.assert_close(kept.deep[0], 2 * kept.embeds)
    torch.testing.assert_close(kept.deep[1], kept.embeds - kept.embeds[:, :1])


@pytest.mark.parametrize(
    ("make", "option", "value"),
    [
        (HoliTom, "similarity", 1.1),
        (HoliTom, "center", -0.1),
        (PruneVid, "scenes", 1.5),
        (FastVID, "segments", 0),
        (FastVID, "context", 2),
        (FastVID, "every", 0),
        (Scissor, "similarity", -2),
    ],
)
def test_an_option_out_of_range_is_refused(make, option, value):
    with pytest.raises(UsageError, match=f"{option} must be .* got {value}"):
        make(**{option: value})
