"""wordsight recommend: its record, its tables, its file, on questions of one's own."""

import json

import pytest

from wordsight import Pruner, Uniform, pruners
from wordsight.evaluation import recommendation as library
from wordsight.evaluation.environment import environment
from wordsight.evaluation.latency import Timing
from wordsight.pruners.choice import CHOICES
from wordsight.synthetic.scenes import render

RECOMMEND = ("recommend", "--task", "q.jsonl", "--pruner", "uniform", "--budget", "0.1")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve pictures and a question about each."""
    monkeypatch.chdir(tmp_path)
    rows = []
    for number in range(12):
        render(number).image.save(f"{number}.png")
        rows.append({"image": f"{number}.png", "question": "what is it?", "answer": "cat"})
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(library, "CLOCK", Timing(rounds=6, batch=1, new_tokens=2))


def test_recommend_as_json_writes_what_it_shows(run, folder):
    code, out, err = run(*RECOMMEND, "--out", "deep/record.json", "--json")
    record = json.loads(out)
    assert code == 0
    assert err.count("what is found on fewer than 20 is not to be believed\n") == 2
    assert json.loads((folder / "deep" / "record.json").read_text()) == record
    assert record["format"] == 1
    assert set(record["candidates"]) == {"random", "uniform"}
    assert record["validation"] + record["test"]["questions"] == 12
    assert record["environment"]["command"].startswith("wordsight recommend --task q.jsonl")


def test_recommend_hands_its_options_on(run, folder, monkeypatch):
    calls = []

    def noted(vlm, **options):
        calls.append(options)
        return {"environment": {}}

    monkeypatch.setattr(library, "recommend", noted)
    options = ("--tolerance", "0.1", "--latency-ms", "70", "--limit", "30", "--pictures", "25", "--json")
    assert run(*RECOMMEND, *options)[0] == 0
    (call,) = calls
    asked = {"latency_ms": 70, "limit": 30, "pictures": 25}
    assert call["requirements"] == library.Requirements(budget=0.1, tolerance=0.1, **asked)
    assert (call["validation"].split, call["test"].split) == ("validation", "test")
    assert [repr(pruner) for pruner in call["pruners"]] == [
        "Uniform(keep=0.1, tokens=None, budget='prompt', positions='original')"
    ]


def test_recommend_shows_tables_and_advice(run, folder):
    code, out, err = run(*RECOMMEND)
    assert code == 0
    assert err.count("what is found on fewer than 20 is not to be believed\n") == 2
    assert [part in out for part in ("Race on", "Test split", "Milliseconds", "uniform")] == [True] * 4
    # A model of random weights is never right.
    assert "no quality to keep" in " ".join(out.split())


FOUND = {
    "task": "scenes",
    "terms": {"budget": 0.1},
    "leader": "uniform",
    "test": {
        "questions": 40,
        "pictures": 20,
        "accuracy": {"none": 0.8, "uniform": 0.76},
        "tokens": {"none": 144.0, "uniform": 14.4},
        "difference_to": {"none": [-0.04, -0.08, 0.02]},
    },
    "verdict": "pays",
}


@pytest.fixture
def found(monkeypatch):
    """Something to choose on the model that it is run on."""

    def recommended(vlm, **options):
        return json.loads(json.dumps(FOUND)) | {"environment": environment(vlm)}

    monkeypatch.setattr(library, "recommend", recommended)


def test_what_is_exported_stands_where_a_spec_does(run, folder, found):
    assert run(*RECOMMEND, "--export", "deep/choice.json", "--json")[0] == 0
    choice = json.loads((folder / "deep" / "choice.json").read_text())
    assert choice["pruner"] == "uniform:keep=0.1,positions=original"
    assert choice["quality_kept"] == pytest.approx([0.95, 0.9, 1.025])
    assert choice["tokens_kept"] == pytest.approx(0.1)
    assert Pruner.load("deep/choice.json") == pruners.make("deep/choice.json") == Uniform(keep=0.1)
    code, out, _ = run("ask", "0.png", "what is it?", "--pruner", "deep/choice.json", "--json")
    assert (code, json.loads(out)["tokens_kept"]) == (0, 14)
    _, _, err = run("ask", "0.png", "what is it?", "--pruner", "deep/choice.json", "--keep", "0.5", "--json")
    assert err == "note: keep=0.1 of 'uniform:keep=0.1,positions=original' is not used: --keep 0.5 holds\n"


def test_commands_refuse_the_choice_of_another_model(run, folder, found):
    run(*RECOMMEND, "--export", "choice.json", "--json")
    choice = CHOICES.read(folder / "choice.json") | {"fingerprint": "0123456789abcdef"}
    (folder / "choice.json").write_text(CHOICES.text(choice))
    for command in (
        ("ask", "0.png", "what is it?", "--pruner", "choice.json"),
        ("explain", "0.png", "--model", "tiny", "--pruner", "choice.json", "--out", "0.html"),
        ("compare", "--task", "q.jsonl", "--pruner", "choice.json", "--keep", "0.5"),
    ):
        code, _, err = run(*command)
        assert (code, "choice.json was chosen for tiny (fingerprint 0123456789abcdef)" in err) == (2, True), (
            err
        )


def test_an_export_fails_where_there_is_nothing_to_choose(run, folder):
    says = "choice.json is not written: there is nothing to choose"
    code, out, err = run(*RECOMMEND, "--export", "choice.json", "--json")
    assert (code, err.endswith(f"{says}\n"), json.loads(out)["verdict"]) == (1, True, "nothing to choose")
    assert not (folder / "choice.json").exists()


def test_a_choice_that_was_there_is_said_to_be_an_older_one(run, folder):
    before = json.dumps({"quality_kept": []})
    (folder / "choice.json").write_text(before)
    code, _, err = run(*RECOMMEND, "--export", "choice.json")
    older = "choice.json is not written: there is nothing to choose; what is in it is an older choice"
    assert (code, older in err, (folder / "choice.json").read_text()) == (1, True, before)


def test_an_export_is_refused_before_the_work(run, folder, monkeypatch):
    monkeypatch.setattr(library, "recommend", lambda *given, **options: 1 / 0)
    (folder / "config.json").write_text("{}")
    for name, sentence in (
        ("choice.txt", "expected a name that ends in .json"),
        ("config.json", "what is there is something else"),
        ("record.json", "the same command uses record.json"),
    ):
        code, _, err = run(*RECOMMEND, "--out", "record.json", "--export", name)
        assert (code, sentence in err) == (2, True)
