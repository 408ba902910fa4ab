"""A row of several seeds measured again: the same answers, or what is not the same."""

import json

import pytest
import typer

from wordsight import DivPrune


@pytest.fixture
def record(benchmarks, embedded, monkeypatch, tmp_path):
    """As if the results were of three questions of each of two tasks, all of whose answers are "nothing"."""
    fresh, path = benchmarks.fresh, tmp_path / "seeds.json"
    tasks = (fresh.FreshScenes(pictures=3), fresh.FreshCaptions(pictures=3))
    for module in (benchmarks.rerun_seeds, benchmarks.seeds):
        for name, value in (("EACH", 3), ("TASKS", tasks), ("RESULTS", path)):
            monkeypatch.setattr(module, name, value)
    record = {
        "models": {"1": {"fingerprint": embedded.fingerprint}},
        "answers": {"1": {f"divprune {keep}": [["nothing"] * 3] * 2 for keep in (0.2, 0.1, 0.05)}},
        "environment": {},
    }
    path.write_text(json.dumps(record))
    return record, path


@pytest.mark.usefixtures("record")
def test_every_answer_that_is_another_is_shown(benchmarks, embedded, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        benchmarks.rerun_seeds.main(tmp_path, "divprune", keep=0.1)
    assert stopped.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    first = "seed 1, fresh:FreshScenes:pictures=3, divprune at 10%: 0 of 3 answers are the same"
    assert (lines[0], len(lines)) == (first, 9)
    task = benchmarks.rerun_seeds.TASKS[0]
    for example, line in zip(task.first(3, 3), lines[1:4], strict=True):
        said = embedded.answer(example.images, example.question, pruner=DivPrune(keep=0.1)).text
        begin, _comma, now = line.removesuffix("' now").rpartition(", '")
        assert begin == f"{example.question} 'nothing' before"
        assert now
        assert said.startswith(now)  # a task reads no more of an answer than it needs


def test_the_same_answers_are_the_same(benchmarks, record, tmp_path, capsys):
    found, path = record
    with pytest.raises(SystemExit):
        benchmarks.rerun_seeds.main(tmp_path, "divprune", keep=0.1)
    now = [
        line.rpartition(" before, ")[2][1:-5]
        for line in capsys.readouterr().out.splitlines()
        if " before, " in line
    ]
    found["answers"]["1"]["divprune 0.1"] = [now[:3], now[3:]]
    path.write_text(json.dumps(found))
    benchmarks.rerun_seeds.main(tmp_path, "divprune", keep=0.1, seed="1")
    assert capsys.readouterr().out.count(": 3 of 3 answers are the same") == 2


def test_other_weights_are_refused_before_anything_is_asked(benchmarks, record, tmp_path, monkeypatch):
    found, path = record
    found["models"]["1"]["fingerprint"] = "another"
    path.write_text(json.dumps(found))
    monkeypatch.setattr(benchmarks.rerun_seeds, "TaskRun", None)
    with pytest.raises(typer.BadParameter, match="the results of seed 1 are of fingerprint another"):
        benchmarks.rerun_seeds.main(tmp_path, "divprune", keep=0.1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pruner": "dart"}, r"expected one of divprune, scope.*, got dart"),
        ({"pruner": "divprune", "keep": 0.5}, r"expected one of 0\.2, 0\.1, 0\.05, got 0\.5"),
        ({"pruner": "divprune", "seed": "7"}, "expected one of 0, 1, 2, got 7"),
    ],
)
def test_a_row_that_is_not_there_is_refused(benchmarks, tmp_path, given, said):
    with pytest.raises(typer.BadParameter, match=said):
        benchmarks.rerun_seeds.main(tmp_path, **given)
