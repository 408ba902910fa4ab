"""Own questions in a file: what each line means, which split it is in, and what is refused, with its line."""

import json
import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wordsight import tasks
from wordsight.errors import UsageError
from wordsight.evaluation.prepared_task import PreparedTask
from wordsight.models.vision import encode_images
from wordsight.synthetic.scenes import render
from wordsight.tasks.questions import Questions

ASKED = {"question": "what is it?", "answer": "cat"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(24):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(f"{number}.png")
    return tmp_path


@pytest.fixture
def write(folder):
    """A function that writes rows, or lines as they are, into a file and returns its name."""

    def written(*rows, name="q.jsonl"):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("\n".join(lines) + "\n")
        return name

    return written


def both(path):
    """The examples of both splits."""
    return [
        example
        for split in ("validation", "test")
        for example in Questions(path=path, split=split).first(None)
    ]


def about(*numbers, **fields):
    return [{"image": f"{number}.png", **ASKED, **fields} for number in numbers]


def test_a_line_is_a_question_about_a_picture(write):
    row = {"image": "3.png", "question": "what?", "answer": "a cat", "type": "naming", "id": 7}
    (example,) = [e for e in both(write(row, *about(*range(24)))) if e.question == "what?"]
    assert (example.images, example.picture_id) == ("3.png", "3.png")
    assert (example.answer, example.type, example.others) == ("a cat", "naming", ())


def test_paths_are_relative_to_the_folder_of_the_file(write, folder):
    (folder / "deep").mkdir()
    path = write(*({"image": f"../{i}.png", **ASKED} for i in range(24)), name="deep/q.jsonl")
    assert {Path(e.images).resolve() for e in both(path)} == {folder / f"{i}.png" for i in range(24)}


def test_every_line_is_in_one_split(write):
    path = write(*about(*range(24)))
    assert sorted(e.picture_id for e in both(path)) == sorted(f"{i}.png" for i in range(24))


def splits(path):
    return {
        example.picture_id: split
        for split in ("validation", "test")
        for example in Questions(path=path, split=split).examples()
    }


def test_a_picture_stays_in_its_split_when_lines_and_folders_change(write, folder):
    before = splits(write(*about(*range(12))))
    after = splits(write(*about(*range(23, -1, -1)), name="other.jsonl"))
    assert after.items() >= before.items()
    (folder / "moved").mkdir()
    for path in folder.glob("*.*"):
        shutil.copy(path, folder / "moved")
    assert splits("moved/other.jsonl") == after


def test_without_a_split_all_questions_are_asked_in_the_order_of_the_file(write):
    path = write(*about(*range(12)))
    found = [example.picture_id for example in Questions(path=path).examples()]
    assert found == [example.picture_id for example in Questions(path=path, split="all").examples()]
    assert found == [f"{i}.png" for i in range(12)]


def test_about_half_of_the_pictures_are_in_each_split(write, monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    monkeypatch.setattr(Path, "exists", lambda path: True)
    task = Questions(path=write(*about(*range(2000))), split="test")
    assert len(task._lines) == pytest.approx(1000, abs=70)


def test_the_splits_are_those_they_have_always_been(write):
    """A change of the hash would let the test pictures of yesterday choose today."""
    found = splits(write(*about(*range(12))))
    assert {name for name in found if found[name] == "validation"} == {"6.png", "8.png", "11.png"}


def test_all_questions_about_a_picture_are_in_one_split_however_it_is_written(write):
    rows = [
        {"image": name, **ASKED} for i in range(24) for name in (f"{i}.png", f"./{i}.png", f"x/../{i}.png")
    ]
    Path("x").mkdir()
    counts = Counter(example.picture_id for example in both(write(*rows)))
    assert counts == {f"{i}.png": 3 for i in range(24)}


def test_pictures_that_share_a_question_are_in_one_split(write):
    rng = np.random.default_rng(0)
    groups = [range(start, start + 4) for start in range(0, 24, 4)]
    rows = [
        {"image": [f"{i}.png" for i in pair], **ASKED}
        for group in groups
        for pair in (*pairwise(rng.permutation(group).tolist()), [group[0]])
    ]
    where = {}
    for split in ("validation", "test"):
        for example in Questions(path=write(*rows), split=split).examples():
            for name in [example.images] if isinstance(example.images, str) else example.images:
                where.setdefault(name, set()).add(split)
    assert len(where) == 24
    for group in groups:
        (split,) = set.union(*(where[f"{i}.png"] for i in group))


def test_questions_about_one_picture_come_together_in_the_order_of_the_file(write):
    rows = [*about(*range(24), question="one?"), *about(*range(24), question="two?")]
    examples = list(Questions(path=write(*rows)).examples())
    ids = list(dict.fromkeys(example.picture_id for example in examples))
    assert ids == sorted(ids, key=lambda name: int(name.removesuffix(".png")))
    assert [(e.picture_id, e.question) for e in examples] == [(i, q) for i in ids for q in ("one?", "two?")]


@pytest.mark.parametrize(
    ("answer", "said", "score"),
    [
        ("a cat", "A cat.", 1.0),
        ("a cat", "cat", 0.0),
        (["cat", "a cat"], "A CAT!", 1.0),
        (["cat", "a cat"], "cat", 1.0),
        (["cat", "a cat"], "a dog", 0.0),
        (["cat", "a cat"], "cat a cat", 0.0),
        (["cat", "a cat"], "", 0.0),
    ],
)
def test_any_of_the_accepted_answers_is_right(write, answer, said, score):
    path = write(*about(*range(24), answer=answer))
    task = Questions(path=path)
    assert task.score(next(task.examples()), said) == score


def test_blank_lines_and_a_byte_order_mark_are_no_lines(folder, write):
    path = write(*about(*range(24)))
    Path(path).write_text("\ufeff\n" + Path(path).read_text() + "\n\n", encoding="utf-8")
    assert len(both(path)) == 24


@pytest.mark.parametrize("spec", ["q.jsonl", "questions:path=q.jsonl", "jsonl:path=q.jsonl", "./q.jsonl"])
def test_the_path_of_a_file_is_a_task(write, spec):
    write(*about(*range(24)))
    assert [e.picture_id for e in tasks.make(spec).first(2)] == [
        e.picture_id for e in Questions(path="q.jsonl").first(2)
    ]


def test_a_picture_of_several_lines_is_encoded_once(write, tiny, monkeypatch):
    for number in range(10):
        render(number).image.save(f"{number}.png")
    task = Questions(path=write(*about(*range(10)), *about(*range(10), question="where is it?")))
    encoded = []

    monkeypatch.setattr(
        "wordsight.models.vlm.encode_images", lambda *given: encoded.append(given) or encode_images(*given)
    )
    prepared = PreparedTask.of(tiny, task, task.first(None))
    assert len(prepared.prompts) == 2 * len(encoded) > 2


def film(path, count=6):
    """A film of frames that get brighter."""
    av = pytest.importorskip("av", reason="no PyAV; `make test` installs it")
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for i in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * i, np.uint8), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


@pytest.mark.parametrize(("rate", "count"), [({}, 6), ({"frames": 3}, 3), ({"fps": 2.5}, 3)])
def test_a_video_has_as_many_frames_as_its_line_says(write, rate, count):
    film("film.mp4")
    (example,) = (
        e
        for e in both(write({"video": "film.mp4", **rate, **ASKED}, *about(*range(24))))
        if "film" in e.picture_id
    )
    (video,) = example.images
    assert len(video.frames) == count


def test_other_frames_of_a_video_are_another_picture_of_the_same_split(write):
    film("film.mp4")
    rows = [{"video": "film.mp4", "frames": count, **ASKED} for count in (2, 3)]
    found = [e.picture_id for e in both(write(*rows, *about(*range(24))))]
    assert {"film.mp4 frames=2", "film.mp4 frames=3"} <= set(found)
    where = splits("q.jsonl")
    assert where["film.mp4 frames=2"] == where["film.mp4 frames=3"]


GOOD = {"image": "0.png", **ASKED}
REFUSED = [
    ("{", "not JSON .*at character 2"),
    ("[1]", r"expected a JSON object, as \{\.\.\.\}; got '\[1\]'"),
    ({"image": "0.png", "answer": "cat"}, "field 'question' is missing"),
    ({"image": "0.png", "question": "what?"}, "field 'answer' is missing"),
    (ASKED, "expected field 'image' or field 'video', one of the two"),
    (GOOD | {"video": "film.mp4"}, "expected field 'image' or field 'video', one of the two"),
    (GOOD | {"qestion": "what?"}, "unknown field 'qestion': did you mean 'question'"),
    (GOOD | {"image": "99.png"}, r"no such picture: 99\.png"),
    (GOOD | {"image": ["0.png", "99.png"]}, r"no such picture: 99\.png"),
    (GOOD | {"image": []}, "field 'image' is an empty list"),
    (GOOD | {"image": 3}, "field 'image' must be text, in quotes; got 3"),
    (GOOD | {"image": "film.mp4"}, r"film\.mp4 is a video; name it in field 'video'"),
    ({"video": "99.mp4", **ASKED}, r"no such video: 99\.mp4"),
    ({"video": [7], **ASKED}, "field 'video' must be text"),
    (GOOD | {"frames": 3}, "fields 'frames' and 'fps' are for videos"),
    (
        {"video": "film.mp4", "frames": 0, **ASKED},
        r"frames must be a whole number in \[1, 10000\] or none, got 0",
    ),
    ({"video": "film.mp4", "frames": True, **ASKED}, "frames must be a whole number .*, got True"),
    ({"video": "film.mp4", "fps": 0, **ASKED}, r"fps must be a number in \(0, 1000\] or none, got 0"),
    ({"video": "film.mp4", "fps": 1, "frames": 1, **ASKED}, "expected frames or fps, not both"),
    (GOOD | {"question": ""}, "field 'question' must be text"),
    (GOOD | {"answer": True}, "field 'answer' must be text, in quotes; got True"),
    (GOOD | {"answer": []}, "field 'answer' is an empty list"),
    (GOOD | {"answer": ["cat", None]}, "field 'answer' must be text, in quotes; got None"),
    (GOOD | {"answer": "?"}, r"an answer needs a letter or a digit .* got '\?'"),
    (GOOD | {"type": ["x"]}, "field 'type' must be text"),
]


@pytest.mark.parametrize(("row", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_bad_line_is_refused_with_its_number_when_the_task_is_made(write, row, message):
    Path("film.mp4").write_text("a film")
    path = write(*about(*range(24)), "", row)
    for split in ("validation", "test"):
        with pytest.raises(UsageError, match=rf"^q\.jsonl, line 26: .*{message}") as refusal:
            Questions(path=path, split=split)
        assert "\n" not in str(refusal.value), split


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"q\.jsonl is empty; expected questions"),
        (b"\n \n", r"q\.jsonl is empty"),
        (b"\xff\xfe", r"cannot read q\.jsonl: it is not UTF-8 text"),
        (None, r"cannot read q\.jsonl: No such file"),
    ],
)
def test_a_file_that_holds_no_questions_is_refused(folder, content, message):
    if content is not None:
        Path("q.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        tasks.make("q.jsonl")


def test_a_split_without_a_picture_is_refused(write):
    path, refused = write(*about(0)), []
    for split in ("validation", "test"):
        try:
            Questions(path=path, split=split)
        except UsageError as error:
            refused.append(str(error))
    (message,) = refused
    assert "split is empty" in message
    assert "1 picture fell into the other one: ten or more are enough" in message


def test_a_task_needs_its_path():
    with pytest.raises(UsageError, match="questions needs path="):
        tasks.make("questions")


@pytest.mark.parametrize("name", ["image", "video"])
def test_a_damaged_file_is_refused_with_its_line_before_the_model_runs(write, name):
    broken = Path("broken.mp4" if name == "video" else "broken.png")
    broken.write_text("damaged")
    path = write(*about(*range(24)), {name: broken.name, **ASKED})
    with pytest.raises(UsageError, match=rf"^q\.jsonl, line 25: {broken.name} is no (picture|video)"):
        both(path)
