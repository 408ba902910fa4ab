"""Results files: JSON and parquet hold the same, whole or not at all, and earlier ones are still read."""

import json
from pathlib import Path

import pytest
from pyarrow import parquet

from wordsight.errors import UsageError
from wordsight.evaluation.results import Results, check_results

TIMES = [{"batch": 1, "ratio": {"total": [0.5, 0.4, 0.6]}}, {"batch": 8, "ratio": None}]
WHOLE = {
    "pruner": "none",
    "keep": 1.0,
    "tokens": None,
    "accuracy": 0.5,
    "difference_to": {},
    "split": None,
    "timing": None,
}
DRAWN = {
    "pruner": "random",
    "keep": None,
    "tokens": 7,
    "accuracy": 0.25,
    "difference_to": {"none": [-0.25, -0.5, 0.0]},
    "split": {"easy": {"accuracy": 0.75, "questions": 4}},
    "timing": {"batches": TIMES},
}
ROWS = [WHOLE, DRAWN]
RESULTS = Results(ROWS, {"models": [{"model": "tiny"}], "threads": 1})


def test_results_are_saved_as_json(tmp_path):
    RESULTS.save(tmp_path / "deep" / "results.json")
    saved = json.loads((tmp_path / "deep" / "results.json").read_text())
    assert len(saved.pop("digest")) == 64
    assert saved == {"format": 3, "rows": ROWS, "environment": RESULTS.environment, "answers": []}


def test_parquet_has_a_column_for_every_path_in_a_row(tmp_path):
    RESULTS.save(tmp_path / "results.parquet")
    table = parquet.read_table(tmp_path / "results.parquet")
    whole, drawn = table.to_pylist()
    ratio = "timing.batches.0.ratio.total"
    assert {name: value for name, value in drawn.items() if value is not None} == {
        "pruner": "random",
        "tokens": 7,
        "accuracy": 0.25,
        "difference_to.none.mean": -0.25,
        "difference_to.none.low": -0.5,
        "difference_to.none.high": 0.0,
        "split.easy.accuracy": 0.75,
        "split.easy.questions": 4,
        "timing.batches.0.batch": 1,
        "timing.batches.1.batch": 8,
        f"{ratio}.mean": 0.5,
        f"{ratio}.low": 0.4,
        f"{ratio}.high": 0.6,
    }
    there = {name: value for name, value in whole.items() if value is not None}
    assert there == {"pruner": "none", "keep": 1.0, "accuracy": 0.5}
    assert json.loads(table.schema.metadata[b"environment"]) == RESULTS.environment
    assert json.loads(table.schema.metadata[b"format"]) == 3


@pytest.mark.parametrize("name", ["results.json", "results.parquet"])
def test_results_that_cannot_be_written_leave_the_old_file(tmp_path, name):
    path = tmp_path / name
    Results([{"task": "old"}], {}).save(path)
    before = path.read_bytes()
    with pytest.raises((TypeError, ValueError)):
        Results([{"task": object()}], {}).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_parquet_without_pyarrow_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("wordsight.evaluation.results.find_spec", lambda name: None)
    check_results(tmp_path / "results.json")
    with pytest.raises(UsageError, match=r"pip install 'wordsight\[report\]'"):
        check_results(tmp_path / "results.parquet")


FORMAT_1 = Path(__file__).parent / "results_of_format_1.json"
COMMITTED = Path(__file__).parents[2] / "benchmarks" / "results"
OF_ROWS = [path.name for path in sorted(COMMITTED.glob("*.json")) if "rows" in json.loads(path.read_text())]


def test_there_are_committed_results():
    assert OF_ROWS == [
        "ours_on_validation.json",
        "pruners.json",
        "published.json",
        "times.json",
        "untrained.json",
    ]


@pytest.mark.parametrize("name", OF_ROWS)
def test_committed_results_are_read_as_they_were_written(name):
    written = json.loads((COMMITTED / name).read_text())
    del written["digest"]
    assert Results.load(COMMITTED / name).as_json() == written


def test_results_of_format_1_are_read_as_they_were_written():
    """Nothing but the names of what was renamed differs."""
    written, results = json.loads(FORMAT_1.read_text()), Results.load(FORMAT_1)
    assert results.environment == written["environment"]
    for before, row in zip(written["rows"], results.rows, strict=True):
        expected = {key: value for key, value in before.items() if key not in ("rescued", "keep")}
        expected |= {"drops_all": before["rescued"], "keep": before["keep"], "tokens": None}
        assert row == expected


@pytest.fixture
def earlier(tmp_path):
    """A function that writes results of format 1 of which one row is changed."""

    def write(changes, **others):
        written = json.loads(FORMAT_1.read_text())
        written["rows"][2] |= changes
        path = tmp_path / "earlier.json"
        path.write_text(json.dumps(written | others))
        return path

    return write


def test_a_whole_number_of_earlier_results_is_a_count_and_not_a_share(earlier):
    rows = Results.load(earlier({"keep": 1, "rescued": 3})).rows
    assert [(row["keep"], row["tokens"]) for row in rows[:3]] == [(1.0, None), (0.2, None), (None, 1)]
    assert rows[2]["drops_all"] == 3


def test_results_that_are_saved_are_read_again(earlier, tmp_path):
    results = Results.load(earlier({"keep": 64}))
    results.save(tmp_path / "again.json")
    assert Results.load(tmp_path / "again.json") == results
    assert list(results.rows[2])[:7] == ["model", "task", "tasks", "pruner", "keep", "tokens", "seeds"]


ANSWERS = [
    {
        "model": "demo",
        "task": "scenes",
        "questions": [
            {"picture": str(i), "question": "?", "answers": ["yes"], "type": "any"} for i in range(2)
        ],
        "answered": [
            {"pruner": "random", "keep": 0.1, "tokens": None, "texts": [["yes", "no"]], "scores": [[1, 0]]}
        ],
    }
]


@pytest.fixture
def answered(earlier):
    """Results that say what was said."""
    results = Results.load(earlier({}))
    return Results(results.rows, results.environment, answers=ANSWERS)


def test_answers_are_read_again(answered, tmp_path):
    answered.save(tmp_path / "again.json")
    assert Results.load(tmp_path / "again.json") == answered


def test_what_json_prints_is_read_like_the_file(answered, tmp_path):
    (tmp_path / "printed.json").write_text(json.dumps(answered.as_json()))
    assert Results.load(tmp_path / "printed.json") == answered


def test_results_of_format_2_have_no_answers(answered, tmp_path):
    record = answered.as_json()
    del record["answers"]
    (tmp_path / "two.json").write_text(json.dumps(record | {"format": 2}))
    assert Results.load(tmp_path / "two.json") == Results(answered.rows, answered.environment)


@pytest.mark.parametrize(
    ("texts", "scores", "message"),
    [
        ([["yes"]], [[1, 0]], "the answers with random are not as many as the questions of scenes"),
        ([["yes", "no"]], [[1]], "not as many"),
        ([["yes", "no"]], [[1, 0], [1, 0]], "not as many"),
        ([["yes", "no"]], [[1, 2]], r"answers\.0\.answered\.0\.scores\.0\.1"),
        ([["yes", 7]], [[1, 0]], r"answers\.0\.answered\.0\.texts\.0\.1"),
    ],
)
def test_answers_that_do_not_fit_their_questions_are_refused(answered, tmp_path, texts, scores, message):
    record = json.loads(json.dumps(answered.as_json()))
    record["answers"][0]["answered"][0] |= {"texts": texts, "scores": scores}
    (tmp_path / "bad.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match=message):
        Results.load(tmp_path / "bad.json")


@pytest.mark.parametrize("edit", [("0.", "1."), ('"yes"', '"no"')])
def test_a_file_that_was_edited_is_refused(answered, tmp_path, edit):
    path = tmp_path / "edited.json"
    answered.save(path)
    path.write_text(path.read_text().replace(*edit, 1))
    with pytest.raises(UsageError, match="is damaged or edited: its content is not what was written"):
        Results.load(path)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_refused(answered, tmp_path, number):
    path = tmp_path / "nan.json"
    text = json.dumps(answered.as_json()).replace('"accuracy": 0.', f'"accuracy": {number}, "old": 0.', 1)
    path.write_text(text)
    with pytest.raises(UsageError, match=r"cannot read .*finite number"):
        Results.load(path)


def test_parquet_has_what_was_said(tmp_path):
    row = DRAWN | {"model": "demo", "task": "scenes", "keep": 0.1, "tokens": None}
    Results([WHOLE | {"model": "demo", "task": "scenes"}, row], {}, answers=ANSWERS).save(
        tmp_path / "r.parquet"
    )
    table = parquet.read_table(tmp_path / "r.parquet")
    assert table["texts"].to_pylist() == [None, [["yes", "no"]]]
    assert table["scores"].to_pylist() == [None, [[1, 0]]]
    assert json.loads(table.schema.metadata[b"questions"])[0]["questions"] == ANSWERS[0]["questions"]


@pytest.mark.parametrize(
    ("changes", "others", "message"),
    [
        ({}, {"format": 4}, "results of format 4; this version of wordsight reads 1, 2 and 3"),
        ({"accuracy": "high"}, {}, r"is damaged or of another version: rows\.2\.accuracy"),
        ({"keep": None}, {}, "is damaged: the row of random has both keep and tokens, or neither"),
        ({"split": {"easy": None}}, {}, r"rows\.2\.split\.easy"),
        ({}, {"rows": 7}, "is damaged or of another version: rows"),
        ({}, {"rows": [7]}, r"is damaged or of another version: rows\.0"),
        ({}, {"environment": {}}, r"environment\.date"),
    ],
)
def test_results_that_are_none_are_refused_in_one_sentence(earlier, changes, others, message):
    with pytest.raises(UsageError, match=message):
        Results.load(earlier(changes, **others))


def test_a_file_of_something_else_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"verdict\.json holds no results of `wordsight compare`"):
        Results.load(COMMITTED / "verdict.json")
    with pytest.raises(UsageError, match=r"are read from \.json; results\.parquet is a table"):
        Results.load(tmp_path / "results.parquet")
    with pytest.raises(UsageError, match=r"cannot read .*missing\.json"):
        Results.load(tmp_path / "missing.json")
