"""Questions as others write them: every kind of file becomes the same questions, or one sentence."""

import base64
import csv
import io
import json
import sys
import time
from pathlib import Path

import pytest
from PIL import Image, features

from wordsight import tasks
from wordsight.errors import UsageError
from wordsight.media.images import load_picture
from wordsight.models.prompt import Prompt
from wordsight.tasks import question_files
from wordsight.tasks.digest import media_digest
from wordsight.tasks.questions import CHOOSE, Questions

ROWS = [
    {"image": "0.png", "question": "what is it?", "answer": "cat", "type": "naming"},
    {"image": "1.png", "question": 'how many "dogs",\nand where?', "answer": "1,000"},
    {"image": "0.png", "question": "is it 5 °C?", "answer": "yes"},
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        Image.new("RGB", (8, 8), (90 * number, 0, 0)).save(f"{number}.png")
    return tmp_path


def png(color, size=(8, 8)):
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return file.getvalue()


def noise(side):
    """A picture that does not get small."""
    file = io.BytesIO()
    Image.effect_noise((side, side), 90).convert("RGB").save(file, "PNG")
    return file.getvalue()


def write_jsonl(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))


def write_json(path, rows):
    path.write_text(json.dumps(rows, indent=2))


def write_table(path, rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path, rows):
    arrow = pytest.importorskip("pyarrow", reason="no pyarrow; `make test` installs it")
    from pyarrow import parquet

    names = dict.fromkeys(name for row in rows for name in row)
    parquet.write_table(arrow.table({name: [row.get(name) for row in rows] for name in names}), path)


def write_dataset(path, rows, classes=()):
    """As `datasets.save_to_disk` has it: Arrow streams and a list of them."""
    arrow = pytest.importorskip("pyarrow", reason="no pyarrow; `make test` installs it")
    path.mkdir(parents=True)
    names = dict.fromkeys(name for row in rows for name in row)
    table = arrow.table({name: [row.get(name) for row in rows] for name in names})
    features = {name: {"names": list(texts), "_type": "ClassLabel"} for name, texts in dict(classes).items()}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    for i in range(2):
        part = table.slice(i * (len(rows) // 2), None if i else len(rows) // 2)
        with arrow.ipc.new_stream(path / f"data-{i}.arrow", table.schema) as stream:
            stream.write_table(part)
    files = [{"filename": f"data-{i}.arrow"} for i in range(2)]
    (path / "state.json").write_text(json.dumps({"_data_files": files}))


WRITERS = {
    "q.jsonl": write_jsonl,
    "q.JSONL": write_jsonl,
    "q.json": write_json,
    "lines.json": write_jsonl,
    "list.jsonl": write_json,
    "q.csv": write_table,
    "q.TSV": write_table,
    "q.parquet": write_parquet,
    "saved": write_dataset,
}


def read(rows, name="q.jsonl"):
    """The questions of a file with these rows."""
    WRITERS[name](Path(name), rows)
    return tasks.make(name).first(None)


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_has_the_same_questions(name, folder):
    base = ".." if name == "saved" else "."  # paths are from the folder of the data set
    rows = [row | {"image": f"{base}/{row['image']}"} for row in ROWS]
    asked = [
        (Path(example.images).resolve(), example.question, example.answers, example.type, example.scorer)
        for example in read(rows, name)
    ]
    assert asked == [
        (folder / "0.png", ROWS[0]["question"], ("cat",), "naming", "exact"),
        (folder / "0.png", ROWS[2]["question"], ("yes",), "question", "yes_no"),
        (folder / "1.png", ROWS[1]["question"], ("1,000",), "question", "number"),
    ]


def test_a_saved_data_set_of_one_split_is_that_split_and_of_several_has_to_be_chosen(folder):
    rows = [row | {"image": str(folder / row["image"])} for row in ROWS]
    write_dataset(folder / "all" / "test", rows)
    (folder / "all" / "dataset_dict.json").write_text("{}")
    assert len(tasks.make("all").first(None)) == 3
    write_dataset(folder / "all" / "train", rows[:2])
    with pytest.raises(UsageError, match="all has the splits test, train; name one of them, as all/NAME"):
        tasks.make("all")
    assert len(tasks.make("all/train").first(None)) == 2


def test_classes_of_a_data_set_are_their_names():
    rows = [{"image": f"../{i}.png", "question": "?", "answer": i} for i in range(3)]
    write_dataset(Path("saved"), rows, {"answer": ("cat", "dog", "pig")})
    assert [example.answer for example in tasks.make("saved").first(None)] == ["cat", "dog", "pig"]


@pytest.mark.parametrize("name", ["q.parquet", "saved"])
def test_what_needs_an_extra_says_which(name, monkeypatch):
    WRITERS[name](Path(name), ROWS)
    monkeypatch.setattr("wordsight._utils.arrow.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=rf"reading {name} needs pyarrow: pip install 'wordsight\[report\]'"):
        tasks.make(name)


def test_a_question_file_of_llava_is_read():
    row = {"question_id": 0, "image": "0.png", "text": "Is it red?", "category": "conv", "label": "yes"}
    (example,) = read([row])
    assert (example.question, example.answer, example.type) == ("Is it red?", "yes", "conv")


CONVERSATION = [
    {"from": "human", "value": "<image>\nWhat is it?"},
    {"from": "gpt", "value": "A cat."},
    {"from": "human", "value": "And its color?"},
    {"from": "gpt", "value": "Red."},
]


@pytest.mark.parametrize("first", ["<image>\nWhat is it?", "What is it?\n<image>", "<image>What is it?"])
def test_turns_of_a_conversation_are_questions_after_those_before(first):
    turns = [{"from": "human", "value": first}, *CONVERSATION[1:]]
    one, two = read([{"id": "1", "image": "0.png", "conversations": turns}], "q.json")
    assert (one.question, one.answer, one.turns) == ("What is it?", "A cat.", ())
    assert (two.question, two.answer, two.turns) == ("And its color?", "Red.", (("What is it?", "A cat."),))


def test_the_model_reads_what_was_said_before(tiny):
    from wordsight.evaluation.prepared_task import PreparedTask

    Image.new("RGB", (192, 192), "red").save("0.png")
    task_rows = [{"image": "0.png", "conversations": CONVERSATION}]
    examples = read(task_rows)
    prepared = PreparedTask.of(tiny, Questions(path="q.jsonl"), examples)
    expected = tiny.encode("0.png", "And its color?", turns=[("What is it?", "A cat.")])
    assert isinstance(expected, Prompt)
    assert prepared.prompts[1].length == expected.length > prepared.prompts[0].length


def kit(*pictures, **fields):
    """Rows as VLMEvalKit has them."""
    return [
        {"index": i, "image": picture, "question": "What?", "A": "cat", "B": "dog", "answer": "B", "C": ""}
        | fields
        for i, picture in enumerate(pictures)
    ]


def test_a_table_of_vlmevalkit_is_read():
    big = base64.b64encode(noise(64)).decode()
    assert len(big) > 5000
    small = base64.b64encode(png("red")).decode()
    rows = kit(big, small, "0", **{"hint": "Look.", "category": "x", "l2-category": "y", "split": "dev"})
    first, third, second = read(rows, "q.TSV")
    assert first.question == f"Look.\nWhat?\nA. cat\nB. dog\n{CHOOSE}"
    assert (first.answers, first.scorer, first.type) == (("B",), "choice", "x")
    assert first.options == (("A", "cat"), ("B", "dog"))
    assert first.picture_id == third.picture_id != second.picture_id
    assert load_picture(first.images).size == (64, 64)
    assert load_picture(second.images).getpixel((0, 0)) == (255, 0, 0)
    assert media_digest(first.images) == media_digest(third.images) != media_digest(second.images)


def test_several_embedded_pictures_are_a_list():
    texts = [base64.b64encode(png(color)).decode() for color in ("red", "blue")]
    for written in (json.dumps(texts), repr(texts)):
        (example,) = read(kit(written), "q.csv")
        assert [load_picture(picture).getpixel((0, 0)) for picture in example.images] == [
            (255, 0, 0),
            (0, 0, 255),
        ]


@pytest.mark.parametrize(
    "given",
    [
        "data:image/png;base64," + base64.b64encode(png("red")).decode(),
        base64.encodebytes(png("red")).decode(),
        base64.b64encode(png("red")).decode(),
    ],
)
def test_a_picture_in_the_field_is_one(given):
    (example,) = read([{"image": [given, "0.png"], "question": "?", "answer": "x"}])
    assert [load_picture(picture).getpixel((0, 0)) for picture in example.images] == [(255, 0, 0), (0, 0, 0)]


def test_bytes_and_paths_of_a_data_set_are_pictures():
    rows = [
        {"image": {"bytes": png("red"), "path": None}, "question": "?", "answer": "x"},
        {"image": {"bytes": None, "path": "0.png"}, "question": "?", "answer": "x"},
    ]
    one, two = read(rows, "q.parquet")
    assert load_picture(one.images).getpixel((0, 0)) == (255, 0, 0)
    assert two.images == "0.png"


def test_a_long_name_without_a_dot_is_still_a_path(folder):
    name = "a1B2" * 40
    (folder / name).write_bytes(png("red"))
    (example,) = read([{"image": name, "question": "?", "answer": "x"}])
    assert example.images == name


OPTIONS = {"image": "0.png", "question": "What?", "answer": "B"}


@pytest.mark.parametrize(
    "fields",
    [
        {"options": ["cat", "dog"]},
        {"choices": ["cat", "dog"]},
        {"options": {"A": "cat", "B": "dog"}},
        {"A": "cat", "B": "dog"},
        {"options": ["cat", "dog"], "answer": "dog"},
        {"options": ["cat", "dog"], "answer": ["(B)", "dog"]},
    ],
)
def test_options_are_asked_and_the_answer_is_a_letter(fields):
    (example,) = read([OPTIONS | fields])
    assert example.question == f"What?\nA. cat\nB. dog\n{CHOOSE}"
    assert (example.answers[0], example.scorer) == ("B", "choice")
    task = tasks.make("q.jsonl")
    said = ("B", "b.", "dog", "B. dog", "A", "cat", "B. cat", "pig")
    assert [task.score(example, each) for each in said] == [1, 1, 1, 1, 0, 0, 0, 0]


def test_a_question_that_lists_its_options_is_left_as_it_is():
    text = "What?\nA. cat\nB) dog"
    (example,) = read([OPTIONS | {"question": text, "options": ["cat", "dog"]}])
    assert example.question == text


def test_what_is_null_is_not_there_and_what_is_not_known_is_left_alone():
    nothing = dict.fromkeys(("video", "hint", "options", "type", "scorer", "fps", "choices"))
    (example,) = read(
        [{"image": "0.png", "text": "?", "answer": "x", "source": "web", "size": [1, 2], **nothing}]
    )
    assert (example.question, example.type, example.options) == ("?", "question", ())


def test_several_answers_of_a_cell_are_all_right():
    rows = [{"image": "0.png", "question": "?", "answer": "['nokia', 'Nokia 3310', 'nokia']"}]
    (example,) = read(rows, "q.csv")
    assert example.answers == ("nokia", "Nokia 3310")


@pytest.mark.parametrize(("answer", "text"), [(5, "5"), (0.5, "0.5"), (1e-05, "0.00001"), (-3.0, "-3.0")])
def test_a_number_is_an_answer(answer, text):
    (example,) = read([{"image": "0.png", "question": "?", "answer": answer}])
    assert (example.answer, example.scorer) == (text, "number")


def test_a_row_names_its_scorer_and_a_task_that_of_the_others():
    rows = [ROWS[0], ROWS[1] | {"scorer": "exact"}]
    write_jsonl(Path("q.jsonl"), rows)
    examples = tasks.make("questions:path=q.jsonl,scorer=contains").first(None)
    assert [example.scorer for example in examples] == ["contains", "exact"]


GOOD = {"image": "0.png", "question": "what?", "answer": "cat"}
TURN = CONVERSATION[:1]
REFUSED = [
    (GOOD | {"opions": ["a"]}, "unknown field 'opions': did you mean 'options'"),
    (GOOD | {"scorer": "exakt"}, "unknown scorer 'exakt': did you mean 'exact'"),
    (GOOD | {"scorer": "choice"}, "scorer 'choice' is for questions with options"),
    (
        GOOD | {"options": ["cat", "dog"], "scorer": "exact"},
        "scorer 'exact' is for questions without options",
    ),
    (GOOD | {"options": ["cat"]}, "expected at least two options; got 1"),
    (GOOD | {"options": []}, "expected at least two options; got 0"),
    (GOOD | {"options": "cat"}, "field 'options' must be a list of up to 26 texts"),
    (GOOD | {"options": ["x"] * 27}, "field 'options' must be a list of up to 26 texts"),
    (GOOD | {"options": {"1": "x", "2": "cat"}}, "field 'options' must be"),
    (
        GOOD | {"options": ["dog", "pig"]},
        "answer 'cat' is none of the options: expected one of A, B, or a text",
    ),
    (GOOD | {"options": ["dog", "pig"], "answer": "C"}, "answer 'C' is none of the options"),
    (GOOD | {"options": ["cat", "cat"]}, "answer 'cat' is none of the options.*only one of them has"),
    (GOOD | {"options": ["B", "A"], "answer": "A"}, "answer 'A' is none of the options"),
    (
        GOOD | {"options": ["1", "2"], "answer": 1},
        "answer 1 is a number; expected an option's letter or text",
    ),
    (GOOD | {"answer": float("nan")}, "NaN is no number"),
    (GOOD | {"fps": float("inf")}, "Infinity is no number"),
    (
        GOOD | {"question": "is <image> red?"},
        "<image> stands inside of the question; pictures come before it",
    ),
    (GOOD | {"question": "<image>\n<image>\nred?"}, "the question has 2 times <image> for 1 given"),
    (GOOD | {"question": "<image>"}, "the question has no text"),
    (GOOD | {"image": "https://x.org/a.png"}, "https://x.org/a.png is a URL, and nothing is fetched"),
    (GOOD | {"image": "a" * 300}, r"cannot open a{200}\.\.\.: File name too long"),
    (GOOD | {"image": "a\0b"}, "no such picture"),
    (GOOD | {"image": "/dev/null"}, "/dev/null is a pipe or device"),
    (GOOD | {"image": "iVBORw0KGgo" + "A" * 5002}, "is neither a path nor base64"),
    (GOOD | {"image": "data:image/png;base64,?"}, "is neither a path nor base64"),
    (GOOD | {"hint": 3}, "field 'hint' must be text"),
    ({"image": "0.png", "conversations": TURN}, "must be a list of turns of human and gpt"),
    (
        {"image": "0.png", "conversations": [*TURN, *TURN]},
        "turn 2 of field 'conversations' must be {'from': 'gpt'",
    ),
    ({"image": "0.png", "conversations": ["a", "b"]}, "turn 1 of field 'conversations' must be"),
    ({"question_id": 0, "image": "0.png", "text": "?"}, "'answer' is missing; so are 'answers' and 'label'"),
    ({"image": "0.png", "answer": "cat"}, "'question' is missing; so is 'text'"),
]


@pytest.mark.parametrize(("row", "message"), REFUSED, ids=[message for _, message in REFUSED])
@pytest.mark.parametrize(("name", "line"), [("q.jsonl", 2), ("q.json", None)])
def test_a_bad_row_is_one_sentence_with_its_line(row, message, name, line):
    WRITERS[name](Path(name), [GOOD, row])
    lines = Path(name).read_text().split("\n")
    line = line or [number for number, text in enumerate(lines, 1) if text == "  {"][1]
    with pytest.raises(UsageError, match=rf"^{name}, line {line}: .*{message}") as refusal:
        tasks.make(name)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400


BROKEN = {
    "q.jsonl": [
        ("[" * 10**5, "q.jsonl, line 1: this is not JSON that can be read .it is too deeply nested"),
        ('{"frames": ' + "9" * 5000 + "}", "q.jsonl, line 1: this is not JSON that can be read .a number"),
        ('{"answer": 1, "answer": 2}', "q.jsonl, line 1: field 'answer' is there twice"),
        ("[]", "q.jsonl is empty"),
        ('[{"image": "0.png", "text": "?", "label": "x"}, {', "q.jsonl, line 1: this is not JSON"),
        (
            '[\n{"a": 1}\n',
            "q.jsonl has 2 problems: line 2: field 'question' is missing.*; line 3: this is not",
        ),
        ("\ufeff", "q.jsonl is empty"),
    ],
    "q.csv": [
        ("image,question,answer\n0.png,?\n", "q.csv, line 2: expected 3 cells, as in the first line; got 2"),
        ("image,question,answer\n0.png,?,a,b\n", "q.csv, line 2: expected 3 cells.*got 4"),
        ("image,question,answer\n", "q.csv is empty"),
        (
            "image;question;answer\n0.png;?;a\n",
            "q.csv has one column, 'image;question;answer'; expected several",
        ),
        ("image,answer,answer\n", "q.csv has two columns 'answer'"),
        ('image,question,answer\n0.png,"?,a\n', "q.csv, line 2: this is no table"),
        ('image,question,answer\n0.png,"?\n?",a\n9.png,?,a\n', "q.csv, line 4: no such picture: 9.png"),
        ("image,question,answer\n0.png,,a\n", "q.csv, line 2: field 'question' is missing"),
    ],
    "q.parquet": [("no parquet", "q.parquet is damaged or no parquet file")],
}


@pytest.mark.parametrize(("name", "text", "message"), [(n, *each) for n in BROKEN for each in BROKEN[n]])
def test_a_broken_file_is_one_sentence(name, text, message):
    Path(name).write_text(text, "utf-8")
    with pytest.raises(UsageError, match=message) as refusal:
        tasks.make(name)
    assert "\n" not in str(refusal.value)


def test_a_damaged_data_set_is_one_sentence(folder):
    write_dataset(folder / "saved", ROWS)
    for content in ('{"_data_files": [{"filename": "none.arrow"}]}', "{}", "[", "[]"):
        (folder / "saved" / "state.json").write_text(content)
        with pytest.raises(UsageError, match="saved"):
            tasks.make("saved")
    write_jsonl(folder / "saved" / "data-0.arrow", ROWS)
    (folder / "saved" / "state.json").write_text('{"_data_files": [{"filename": "data-0.arrow"}]}')
    with pytest.raises(UsageError, match="saved is damaged or no saved data set"):
        tasks.make("saved")


def test_all_missing_pictures_are_told_at_once_up_to_five():
    rows = [GOOD, *(GOOD | {"image": f"no{i}.png"} for i in range(7)), GOOD | {"answer": ""}]
    write_jsonl(Path("q.jsonl"), rows)
    with pytest.raises(UsageError) as refusal:
        tasks.make("q.jsonl")
    told = "; ".join(
        f"line {i + 2}: no such picture: no{i}.png; expected the path of a file" for i in range(5)
    )
    assert str(refusal.value) == f"q.jsonl has 8 problems: {told}; and 3 more"


def test_a_long_list_is_read_in_one_pass():
    """It took twenty seconds to copy and count what is left of the text for each question."""
    write_json(Path("q.json"), [GOOD | {"question": "what is it? " * 20}] * 8_000)
    begin = time.perf_counter()
    rows = question_files.read_rows(Path("q.json"), question_files.Problems("q.json"))
    assert time.perf_counter() - begin < 8
    assert [row.place for row in rows[:2]] == ["line 2", "line 7"]
    assert rows[-1].place == "line 39997"


def test_the_names_of_fields_are_looked_up_once(monkeypatch):
    asked = []
    monkeypatch.setattr("difflib.get_close_matches", lambda name, *_, **__: asked.append(name))
    write_jsonl(Path("q.jsonl"), [GOOD | {"extraordinary": 1}] * 3)
    tasks.make("q.jsonl")
    assert asked == ["extraordinary"]


@pytest.mark.parametrize("kind", ["AVIF", "PNG", "PPM", "JPEG2000"])
def test_a_small_picture_in_the_file_is_one_of_any_format(kind):
    if not features.check({"AVIF": "avif", "JPEG2000": "jpg_2000"}.get(kind, "zlib")):
        pytest.skip(f"this Pillow writes no {kind}")
    file = io.BytesIO()
    Image.new("RGB", (12, 12), "red").save(file, kind)
    write_jsonl(Path("q.jsonl"), [GOOD | {"image": base64.b64encode(file.getvalue()).decode()}])
    (example,) = tasks.make("q.jsonl").first(None)
    assert load_picture(example.images).size == (12, 12)


def test_a_file_url_is_the_path_that_it_has():
    write_jsonl(Path("q.jsonl"), [GOOD | {"image": Path("0.png").absolute().as_uri()}])
    (example,) = tasks.make("q.jsonl").first(None)
    assert load_picture(example.images).size == (8, 8)


def test_pictures_that_differ_in_their_palette_alone_are_others():
    pictures = [Image.new("P", (8, 8), 0), Image.new("P", (8, 8), 0)]
    pictures[0].putpalette([255, 0, 0])
    pictures[1].putpalette([0, 0, 255])
    assert media_digest(pictures[0]) != media_digest(pictures[1])


def test_all_damaged_pictures_that_are_asked_about_are_told_at_once():
    for i in range(3):
        Path(f"bad{i}.png").write_text("damaged")
    write_jsonl(Path("q.jsonl"), [GOOD, *(GOOD | {"image": f"bad{i}.png"} for i in range(3))])
    task = tasks.make("q.jsonl")
    assert len(task.first(1)) == 1
    with pytest.raises(UsageError, match=r"q\.jsonl has 3 problems: line 2: bad0.*; line 3: bad1.*; line 4"):
        task.first(None)


@pytest.mark.parametrize("spec", ["q.txt", "folder/q", "q.xlsx", "x" * 300, "./q", "q.jsonl.gz"])
def test_a_name_that_looks_like_a_file_is_told_what_is_read(spec):
    with pytest.raises(
        UsageError, match=r"is no task, .* end in \.csv, \.json, \.jsonl, \.parquet, \.tsv, or"
    ):
        tasks.make(spec)


def test_the_limit_of_cells_is_as_before():
    before = csv.field_size_limit()
    read(kit(base64.b64encode(noise(300)).decode()), "q.csv")
    assert csv.field_size_limit() == before < sys.maxsize


def test_a_name_with_a_null_byte_is_refused():
    with pytest.raises(UsageError, match=r"no such file: 'a\\x00.jsonl', a name with a null byte"):
        tasks.make("a\0.jsonl")
