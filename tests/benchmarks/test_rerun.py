"""A row of results measured again: the same answers, or what is not the same."""

import json

import pytest
import torch
import typer

from wordsight import DivPrune, Random, compare, tasks


@pytest.fixture(scope="module")
def results(embedded, tmp_path_factory):
    """Of one task, six questions."""
    path = tmp_path_factory.mktemp("results") / "results.json"
    compare(
        embedded, [tasks.make("scenes:pictures=6")], [DivPrune(keep=0.1), Random(keep=0.1)], limit=6
    ).save(path)
    return path


@pytest.mark.parametrize("pruner", ["divprune", "random", "none", "resized", "blind"])
def test_a_row_is_what_it_was(benchmarks, results, pruner, capsys):
    benchmarks.rerun.main(results, pruner)
    count = 18 if pruner == "random" else 6  # of three seeds
    row = pruner if pruner in ("none", "blind") else f"{pruner} at keep 0.1"
    said = f"demo, scenes:pictures=6, {row}: {count} of {count} answers are the same\n"
    assert capsys.readouterr().out == said


def test_a_task_is_named_without_its_options(benchmarks, results, capsys):
    benchmarks.rerun.main(results, "blind", task=["scenes"])
    assert capsys.readouterr().out == "demo, scenes:pictures=6, blind: 6 of 6 answers are the same\n"


def test_a_file_without_results_is_refused(benchmarks, tmp_path):
    with pytest.raises(typer.BadParameter, match=r"nowhere\.json"):
        benchmarks.rerun.main(tmp_path / "nowhere.json", "divprune")


def test_another_answer_is_told(benchmarks, results, tmp_path, capsys):
    record = json.loads(results.read_text())
    (row,) = (row for row in record["answers"][0]["answered"] if row["pruner"] == "divprune")
    row["texts"][0][2] = "another"
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps({name: value for name, value in record.items() if name != "digest"}))
    with pytest.raises(SystemExit) as stopped:
        benchmarks.rerun.main(changed, "divprune", 0.1)
    assert stopped.value.code == 1
    out = capsys.readouterr().out
    assert "5 of 6 answers are the same" in out
    assert "measured by" not in out


def test_another_answer_on_another_processor_is_told_with_both(benchmarks, results, tmp_path, capsys):
    record = json.loads(results.read_text())
    record["environment"]["instructions"] = "VSX"
    record["answers"][0]["answered"][0]["texts"][0][2] = "another"
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps({name: value for name, value in record.items() if name != "digest"}))
    with pytest.raises(SystemExit):
        benchmarks.rerun.main(changed, "none")
    here = torch.backends.cpu.get_cpu_capability()
    assert f"measured by VSX, here by {here}: last digits may differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pruner": "dart"}, "expected one of none, resized, divprune, random, blind, got dart"),
        ({"pruner": "divprune", "keep": 0.5}, "measured at keep 0.1: expected one of these, got keep 0.5"),
        ({"pruner": "divprune", "tokens": 9}, "measured at keep 0.1: expected one of these, got 9 tokens"),
        ({"pruner": "divprune", "task": ["pairs"]}, "expected tasks of scenes:pictures=6, got pairs"),
    ],
)
def test_what_is_not_there_is_said_before_anything_is_measured(benchmarks, results, given, said, monkeypatch):
    monkeypatch.setattr(benchmarks.rerun, "VLM", None)
    with pytest.raises(typer.BadParameter, match=said):
        benchmarks.rerun.main(results, **given)


def test_another_model_of_the_same_name_is_refused(benchmarks, results, tiny, monkeypatch):
    monkeypatch.setattr(benchmarks.rerun.VLM, "from_pretrained", lambda name: tiny)
    with pytest.raises(typer.BadParameter, match="the results are of demo with fingerprint"):
        benchmarks.rerun.main(results, "divprune")


def test_other_questions_are_refused(benchmarks, results, tmp_path):
    record = json.loads(results.read_text())
    record["answers"][0]["questions"][1]["question"] = "what else?"
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps({name: value for name, value in record.items() if name != "digest"}))
    with pytest.raises(typer.BadParameter, match="scenes:pictures=6 asks other questions"):
        benchmarks.rerun.main(changed, "divprune")
