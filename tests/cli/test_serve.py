"""wordsight serve: the command that it starts; vLLM's server itself is tried in tests/serving."""

import json
import os
import sys

import pytest

from wordsight import Codebook
from wordsight.integrations.vllm import command
from wordsight.pruners.choice import CHOICES


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def started(monkeypatch):
    """What the process became."""
    found = []
    monkeypatch.setattr(command, "check_environment", lambda: None)
    monkeypatch.setattr(os, "execv", lambda program, arguments: found.append(arguments))
    return found


def test_the_process_becomes_the_server(run, started):
    code, out, err = run("serve", "demo", "--pruner", "divprune", "--", "--port", "8001")
    assert (code, out) == (0, "")
    assert started[0][0] == sys.executable
    assert started[0][-2:] == ["--port", "8001"]
    assert "--hf-overrides '{" in err


def test_a_dry_run_prints_what_can_be_run_by_hand(run, started):
    code, out, _ = run("serve", "demo", "--pruner", "codebook", "--dry-run")
    assert code == 0
    assert '"pruners": ["codebook"]' in out
    code, record, _ = run("serve", "demo", "--pruner", "codebook", "--dry-run", "--json")
    assert json.loads(record)["command"][1:3] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert not started


def test_wrong_pruners_are_refused(run, started):
    for wrong, sentence in (("fastv", "cannot be served"), ("divprun", "did you mean 'divprune'")):
        code, _, err = run("serve", "demo", "--pruner", wrong)
        assert code == 2
        assert sentence in err
    code, _, err = run("serve", "demo", "--pruner", "divprune", "--pruner", "divprune")
    assert (code, "duplicate pruner divprune" in err) == (2, True)
    assert not started


@pytest.mark.parametrize("option", ["--hf-overrides", "--hf_overrides={}", "--hf-overrides.a", "--model=x"])
def test_what_would_serve_whole_pictures_is_refused(run, started, option):
    code, _, err = run("serve", "demo", "--pruner", "divprune", "--", option, "{}")
    assert (code, "leave it out after --" in err) == (2, True)
    assert not started


def test_a_choice_is_served_to_its_own_model_alone(run, folder, started):
    choice = {"format": 1, "pruner": "divprune:keep=0.3,positions=original", "model": "demo", "parts": None}
    choice |= {"task": "scenes", "questions": 40, "pictures": 20, "verdict": "pays"}
    choice |= {"quality_kept": [0.97, 0.95, 0.99], "tokens_kept": 0.3}
    for print_of, code, says in (
        (Codebook.from_pretrained("demo").config["fingerprint"], 0, choice["pruner"]),
        (
            "0123456789abcdef",
            2,
            "choice.json was chosen for demo (fingerprint 0123456789abcdef), this is demo (",
        ),
    ):
        (folder / "choice.json").write_text(CHOICES.text(choice | {"fingerprint": print_of}))
        for option in ("--choice", "--pruner"):
            found, _, err = run("serve", "demo", option, "choice.json")
            assert (found, says in err) == (code, True)
    assert len(started) == 2
