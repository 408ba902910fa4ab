"""What helps on the command line: examples, lists of choices, completion, and lines that fit the terminal."""

import io
import json
import os
import shlex
import subprocess
import sys

import pytest
import typer
from rich.console import Console

from wordsight import pruners, tasks
from wordsight._utils.records import checked
from wordsight.cli import app, common
from wordsight.cli.examples import EXAMPLES
from wordsight.redundancy.criteria import CRITERIA
from wordsight.redundancy.presets import PRESETS
from wordsight.reports.catalog import CatalogRecord, catalog_tables, pruner_catalog

COMMANDS = typer.main.get_command(app)


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def leaves(group, place=""):
    """Every command by its path."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, f"{place}{name} ")
        else:
            yield f"{place}{name}", command


def test_every_command_has_examples_and_no_example_is_of_another():
    assert dict(leaves(COMMANDS)).keys() == EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_are_shown_and_can_be_parsed(name):
    command = dict(leaves(COMMANDS))[name]
    for line in EXAMPLES[name]:
        assert f"wordsight {line}" in command.epilog
        given = shlex.split(line)[len(name.split()) :]
        assert line.startswith(name)
        command.make_context(name, given)


def choices(run, *arguments):
    code, out, err = run(*arguments, "--json")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert checked(CatalogRecord, record, "the record") == record
    return {kind: {each["name"]: each for each in found} for kind, found in record["choices"].items()}


def test_pruners_are_listed_with_what_they_need_and_their_paper(run):
    found = choices(run, "pruners")["pruners"]
    assert sorted(found) == pruners.names()
    assert found["divprune"]["sources"] == ["https://arxiv.org/abs/2503.02175"]
    assert found["codebook_mmr"]["sources"] == ["ours", "https://doi.org/10.1145/290941.291025"]
    assert found["scores"]["sources"] == ["ours"]
    assert found["divprune"]["options"]["keep"] == "0.2"
    assert found["scores"]["options"]["file"] is None
    assert found["mmtok"]["needs"] == ["features", "question"]
    assert found["codebook"]["needs"] == ["a codebook"]
    assert found["fastv"]["needs"] == ["layers of the language model"]
    assert all(each["about"] for each in found.values())


def test_tasks_criteria_and_presets_are_listed(run):
    found = choices(run, "tasks")["tasks"]
    assert sorted(found) == tasks.names()
    assert found["questions"]["options"]["path"] is None
    conditions = choices(run, "codebook", "criteria")
    assert list(conditions["criteria"]) == ["default", *CRITERIA]
    assert list(conditions["presets"]) == list(PRESETS)
    assert conditions["criteria"]["confidence"]["about"] == "confidence < q0.5"


@pytest.mark.parametrize("width", [40, 80, 120])
def test_lists_fit_the_terminal_with_no_name_cut(width):
    file = io.StringIO()
    Console(file=file, width=width).print(*catalog_tables(pruner_catalog()))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert {line.split()[0] for line in lines if line[0] != " "} == set(pruners.names())


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "lines"), [(Terminal, 3), (io.StringIO, 1)])
def test_a_terminal_gets_lines_that_are_wrapped_between_words(stream, lines, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setenv("COLUMNS", "40")
    text = "error: unknown pruner 'divprun': did you mean 'divprune'? choose from cdpruner, cenprune"
    common.say(text)
    written = sys.stderr.getvalue().splitlines()
    assert len(written) == lines
    assert " ".join(written) == text


def test_a_command_that_may_be_copied_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "10")
    common.say_unwrapped("vllm serve model --port 8001")
    assert sys.stderr.getvalue() == "vllm serve model --port 8001\n"


def test_a_shell_completes_commands():
    program = "import sys; sys.argv = ['wordsight']; from wordsight.cli import main; main()"
    asked = {"_WORDSIGHT_COMPLETE": "complete_bash", "COMP_WORDS": "wordsight pru", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["pruners"])
