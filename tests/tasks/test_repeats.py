"""Repeats: how many times a thing comes, read off the pixels of the frames."""

import re
from collections import Counter

import numpy as np
import pytest

from wordsight.synthetic.scenes import SPLITS
from wordsight.tasks import repeats
from wordsight.tasks.repeats import Repeats, come_and_go, comings

pytestmark = pytest.mark.usefixtures("plain_backgrounds")

NUMBERS = {"one": 1, "two": 2, "three": 3}


@pytest.fixture(scope="module")
def asked():
    """The questions about 120 clips, each with the clip it is about."""
    drawn = []

    def recorded(rng):
        drawn.append(come_and_go(rng))
        return drawn[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "come_and_go", recorded)
        return [(example, drawn[-1]) for example in Repeats(clips=120).examples()]


def track_of(example, clip):
    noun = re.fullmatch(
        r"these are the frames of a video: how many times does the (\w+) appear\?", example.question
    )[1]
    (track,) = (track for track in clip.tracks if track.noun == noun)
    return track


def seen_in(frames, track):
    """Which frames differ from the ground where the thing has its place: "00110100"."""
    (box,) = {box for box in track.boxes if box}
    crops = [np.asarray(frame.crop(box)).astype(int) for frame in frames]
    return "".join(str(int((np.abs(crop - 255).max(-1) > 8).mean() > 0.2)) for crop in crops)


def test_the_answer_is_how_many_times_the_thing_comes_into_the_frames(asked):
    for example, clip in asked:
        assert list(example.images) == list(clip.frames)
        runs = seen_in(example.images, track_of(example, clip))
        assert len([run for run in runs.split("0") if run]) == NUMBERS[example.answer]


def test_the_tracks_say_what_the_frames_show(asked):
    for example, clip in asked:
        track = track_of(example, clip)
        assert seen_in(example.images, track) == "".join(str(int(box is not None)) for box in track.boxes)


def test_things_lie_apart(asked):
    for _, clip in asked:
        boxes = [next(box for box in track.boxes if box) for track in clip.tracks]
        mask = np.zeros((192, 192), int)
        for left, top, right, bottom in boxes:
            mask[top:bottom, left:right] += 1
        assert mask.max() == 1


def test_the_first_and_the_last_frame_are_bare(asked):
    for _, clip in asked:
        assert len(clip.frames) == 8
        assert all(np.asarray(frame).min() == 255 for frame in (clip.frames[0], clip.frames[-1]))


def test_the_clip_alone_does_not_tell_the_answer(asked):
    """Each answer is right once in every clip, and the first question asks for each."""
    answers = {}
    for example, _ in asked:
        answers.setdefault(example.picture_id, []).append(example.answer)
    assert len(answers) == 120
    assert all(sorted(each) == sorted(NUMBERS) for each in answers.values())
    firsts = Counter(each[0] for each in answers.values())
    assert all(count / 120 == pytest.approx(1 / 3, abs=0.13) for count in firsts.values())


def test_all_things_of_a_clip_are_seen_in_as_many_frames(asked):
    counts = Counter()
    for _, clip in asked:
        (count,) = {sum(map(bool, track.boxes)) for track in clip.tracks}
        counts[count] += 1
    assert set(counts) == {3, 4}


def test_no_single_frame_tells_the_answer(asked):
    """The best guess from whether one frame shows the thing is right less often than three times in five."""
    shown = [(seen_in(example.images, track_of(example, clip)), example.answer) for example, clip in asked]
    for frame in range(8):
        right = sum(
            max(Counter(answer for seen, answer in shown if seen[frame] == there).values(), default=0)
            for there in "01"
        )
        assert right / len(shown) < 0.6


def test_every_way_to_come_and_go_is_drawn(asked):
    """By hand: in three of six frames 4, 12 and 4 ways to come once, twice and thrice; in four 3, 9 and 3."""
    ways = {seen_in(clip.frames, track_of(example, clip)) for example, clip in asked}
    counts = Counter((way.count("1"), len([run for run in way.split("0") if run])) for way in ways)
    assert counts[3, 1] == counts[3, 3] == 4
    assert counts[4, 1] == counts[4, 3] == 3
    assert 9 <= counts[3, 2] <= 12
    assert 7 <= counts[4, 2] <= 9


@pytest.mark.parametrize(
    ("frames", "count"), [((0, 1, 1, 0), 1), ((0, 1, 0, 1), 2), ((0, 0, 0), 0), ((0, 1, 0, 1, 0, 1, 1), 3)]
)
def test_comings_are_counted(frames, count):
    assert comings(tuple(map(bool, frames))) == count


def test_places_are_begun_anew_where_there_is_no_room():
    """Two of the boxes fill the picture side by side, if the first leaves the room."""
    for seed in range(5):
        left, right = sorted(repeats._places(np.random.default_rng(seed), [(92, 192), (92, 192)]))
        assert right[0] - left[2] >= 4


@pytest.mark.parametrize("said", ["two", "Two.", "2", "twice", "two times", "2 times"])
def test_a_number_may_be_written_in_several_ways(asked, said):
    task = Repeats()
    for example, _ in asked[:30]:
        assert task.score(example, said) == (example.answer == "two")


def test_no_wording_is_right_for_two_numbers(asked):
    of = {example.answer: {example.answer, *example.others} for example, _ in asked}
    assert "once" in of["one"]
    assert "1 time" in of["one"]
    assert "three times" in of["three"]
    assert sum(map(len, of.values())) == len(set.union(*of.values()))


def test_clips_are_drawn_from_the_seeds_of_their_split_in_a_stream_of_their_own(monkeypatch, asked):
    draw, seeds = np.random.default_rng, []
    monkeypatch.setattr(np.random, "default_rng", lambda seed: seeds.append(tuple(seed)) or draw(seed))
    monkeypatch.setattr(repeats, "come_and_go", lambda rng: asked[0][1])
    for split in ("validation", "test"):
        Repeats(split=split, clips=300).first(None)
        assert seeds == [(SPLITS[split] + number, 23) for number in range(300)]
        seeds.clear()
    # The clips of training have the stream 5 and seeds below 5000; and the splits lie apart.
    assert SPLITS["train"] + 5000 < SPLITS["validation"] <= SPLITS["old_test"] - 100_000
