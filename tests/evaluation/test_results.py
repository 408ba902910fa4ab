"""Results files: JSON and parquet say the same, whole or not at all."""

import json

import pytest
from pyarrow import parquet

from wordsight.errors import UsageError
from wordsight.evaluation.results import Results, check_results

TIMES = [{"batch": 1, "ratio": {"total": [0.5, 0.4, 0.6]}}, {"batch": 8, "ratio": None}]
WHOLE = {"pruner": "none", "keep": 1.0, "accuracy": 0.5, "difference_to": {}, "split": None, "timing": None}
DRAWN = {
    "pruner": "random",
    "keep": 7,
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
    assert saved == {"rows": ROWS, "environment": RESULTS.environment}


def test_parquet_has_a_column_for_every_path_in_a_row(tmp_path):
    RESULTS.save(tmp_path / "results.parquet")
    table = parquet.read_table(tmp_path / "results.parquet")
    whole, drawn = table.to_pylist()
    ratio = "timing.batches.0.ratio.total"
    assert {name: value for name, value in drawn.items() if value is not None} == {
        "pruner": "random",
        "keep": "7",
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
    told = {name: value for name, value in whole.items() if value is not None}
    assert told == {"pruner": "none", "keep": "1.0", "accuracy": 0.5}
    assert json.loads(table.schema.metadata[b"environment"]) == RESULTS.environment


@pytest.mark.parametrize("name", ["results.json", "results.parquet"])
def test_results_that_cannot_be_written_leave_the_old_file(tmp_path, name):
    path = tmp_path / name
    Results([{"task": "old"}]).save(path)
    before = path.read_bytes()
    with pytest.raises((TypeError, ValueError)):
        Results([{"task": object()}]).save(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_parquet_without_pyarrow_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("wordsight.evaluation.results.find_spec", lambda name: None)
    check_results(tmp_path / "results.json")
    with pytest.raises(UsageError, match=r"pip install 'wordsight\[report\]'"):
        check_results(tmp_path / "results.parquet")
