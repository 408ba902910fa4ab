import json
from copy import deepcopy

import pytest

from wordsight import cli
from wordsight.evaluation.results import Results
from wordsight.integrations.lmms_eval.results import lmms_results

MACHINE = {"date": "2026-11-26", "threads": 1, "machine": "x86_64", "python": "3.11.7"}
MACHINE |= {"versions": {"wordsight": "0.1.0", "torch": "2.13.0", "transformers": "5.24.0"}}
WEIGHTS = {"model": "tiny", "fingerprint": "0" * 16, "dtype": "torch.float32", "device": "cpu"}
RUNS = {  # by SPEC: its budget, the tokens read and the scores of four questions about two pictures
    "none": ({"keep": 1.0, "tokens": None}, 144, [1, 1, 1, 0]),
    "blind": ({"keep": None, "tokens": 0}, 0, [1, 0, 0, 0]),
    "random": ({"keep": 0.5, "tokens": None}, 72, [1, 0, 1, 0]),
    "divprune": ({"keep": 0.5, "tokens": None}, 72, [1, 1, 0, 0]),
}


def write(folder, spec, task="pope", change=lambda results, samples: None):
    """What lmms-eval writes of a run, changed by a function of its results and its lines."""
    budget, kept, scores = RUNS[spec]
    run = {"format": 1, "pruner": spec, **budget, "has_fixed_budget": True}
    run |= {"tokens_total": 144, "tokens_kept": kept, "machine": MACHINE, "weights": WEIGHTS}
    samples = [
        {
            "doc_id": number,
            "target": "yes",
            "filtered_resps": "yes" if score else "no",
            "token_counts": [{"wordsight": {"picture": f"{number // 2}"} | ({} if number else {"run": run})}],
            "accuracy": {"score": score},
            "input": f"is there a cat, {number}?",
        }
        for number, score in enumerate(scores)
    ]
    metrics = {"alias": task, "f1,none": 0.3, "accuracy,none": sum(scores) / 4}
    results = {"config": {"model": "wordsight"}, "configs": {task: {}}, "results": {task: metrics}}
    results, samples = deepcopy((results, samples))
    change(results, samples)
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"{len(list(folder.iterdir())):03}"
    stem.with_name(f"{stem.name}_results.json").write_text(json.dumps(results))
    lines = "".join(f"{json.dumps(sample)}\n" for sample in reversed(samples))
    stem.with_name(f"{stem.name}_samples_{task}.jsonl").write_text(lines)


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "logs"
    for spec in RUNS:
        write(folder / "tiny", spec)
    return folder


def test_runs_become_one_comparison_over_pictures(logs):
    results = lmms_results(logs)
    rows = {row["pruner"]: row for row in results.rows}
    assert [*rows] == ["none", "random", "divprune"]
    row = rows["divprune"]
    told = {
        name: row[name] for name in ("model", "task", "keep", "accuracy", "unpruned", "blind", "tokens_kept")
    }
    expected = {"model": "tiny", "task": "pope", "keep": 0.5, "accuracy": 0.5, "unpruned": 0.75}
    assert told == expected | {"blind": 0.25, "tokens_kept": 72}
    assert (row["questions"], row["pictures"]) == (4, 2)
    assert {spec: each["yes_ratio"] for spec, each in rows.items()} == {
        "none": 0.75,
        "random": 0.5,
        "divprune": 0.5,
    }
    assert row["difference_to"]["none"][0] == -0.25
    assert row["difference_to"]["random"][0] == 0
    said = {each["pruner"]: each["texts"][0] for each in results.answers[0]["answered"]}
    assert said["divprune"] == ["yes", "yes", "no", "no"]
    assert [model["model"] for model in results.environment["models"]] == ["tiny"]


def test_a_mean_over_tasks_follows(logs):
    for spec in RUNS:
        write(logs, spec, task="mme")
    rows = lmms_results(logs).rows
    assert [row["task"] for row in rows if row["pruner"] == "divprune"] == ["mme", "pope", "mean of 2 tasks"]


def test_the_command_writes_what_can_be_read_again(logs, tmp_path, monkeypatch, capsys):
    out, report = tmp_path / "out.json", tmp_path / "report"
    command = ["compare", "--from-lmms", str(logs), "--out", str(out), "--report", str(report)]
    monkeypatch.setattr("sys.argv", ["wordsight", *command])
    cli.main()
    assert "divprune" in capsys.readouterr().out
    assert len(Results.load(out).rows) == 3
    assert "divprune" in (report / "comparison.html").read_text()


def test_runs_of_other_models_are_left_out(logs, recwarn):
    write(logs, "divprune", change=lambda results, samples: results["config"].update(model="llava_hf"))
    assert len(lmms_results(logs).rows) == 3
    assert [str(each.message).split(" is left out")[1] for each in recwarn] == [
        ": it is not of --model wordsight"
    ]


def another_version(results, samples):
    samples[0]["token_counts"][0]["wordsight"]["run"]["machine"]["versions"]["torch"] = "2.9.0"


def cached(results, samples):
    samples[1]["token_counts"] = [None]


def one_number_of_all(results, samples):
    results["results"]["pope"].pop("accuracy,none")


@pytest.mark.parametrize(
    ("spec", "change", "message"),
    [
        ("divprune", lambda results, samples: None, "are of one pruner"),
        ("uniform", lambda results, samples: samples[3].update(input="?"), "have not the same questions"),
        ("uniform", lambda results, samples: samples.append(samples[0]), "has not one answer to each"),
        ("uniform", another_version, "were not run with the same weights"),
        ("uniform", cached, "question 1 does not say what was read"),
        ("uniform", one_number_of_all, r"no metric \(f1|no metric \(there is none\)"),
        ("uniform", lambda results, samples: results.pop("configs"), "configs: Field required"),
        ("uniform", lambda results, samples: samples[2].pop("target"), "target: Field required"),
    ],
)
def test_what_cannot_be_compared_is_refused(logs, monkeypatch, spec, change, message):
    monkeypatch.setitem(RUNS, "uniform", RUNS["random"])
    write(logs, spec, change=change)
    with pytest.raises(ValueError, match=message):
        lmms_results(logs)


@pytest.mark.parametrize("spec", ["none", "blind"])
def test_what_pruners_are_measured_against_must_be_there(tmp_path, spec):
    for each in RUNS.keys() - {spec}:
        write(tmp_path, each)
    with pytest.raises(ValueError, match=f"no run of pope with pruner={spec}"):
        lmms_results(tmp_path)


def test_tasks_are_run_with_the_same_pruners(logs):
    for spec in RUNS.keys() - {"divprune"}:
        write(logs, spec, task="mme")
    with pytest.raises(ValueError, match=r"only one was run with divprune at keep 0\.5"):
        lmms_results(logs)


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no results of lmms-eval"):
        lmms_results(tmp_path)


def test_a_run_without_its_log_is_refused(logs):
    next(logs.rglob("*_samples_pope.jsonl")).unlink()
    with pytest.raises(ValueError, match="run lmms-eval with --log_samples"):
        lmms_results(logs)


def test_an_unknown_reference_is_refused(logs):
    with pytest.raises(ValueError, match="unknown reference 'tome'"):
        lmms_results(logs, "tome")
