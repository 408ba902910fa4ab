"""`make bench` as one command: what is finished is not run again, and a stopped run goes on."""

import json
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner


@pytest.fixture
def bench(benchmarks, tmp_path, monkeypatch):
    """The command, whose experiments append letters to the file `ran`; "b" fails where no file `well` is."""
    path = tmp_path / "script.py"
    path.write_text(
        "import pathlib, sys\n"
        "folder = pathlib.Path(__file__).parent\n"
        "with (folder / 'ran').open('a') as file: file.write(sys.argv[1])\n"
        "sys.exit(sys.argv[1] == 'b' and not (folder / 'well').exists())\n"
    )
    monkeypatch.setattr(benchmarks.everything, "MARKS", tmp_path / "marks")
    monkeypatch.setattr(benchmarks.everything, "HOURS", tmp_path / "hours.json")
    experiments = {"one": [f"{path} a"], "two": [f"{path} b", f"{path} c"]}
    monkeypatch.setattr(benchmarks.everything, "OF_SCENES", experiments)
    monkeypatch.setattr(benchmarks.everything, "TABLES", {"tables": [f"{path} t"]})
    app = typer.Typer()
    app.command()(benchmarks.everything.main)
    return lambda *options: CliRunner().invoke(app, [*options]).exit_code


def test_a_stopped_run_goes_on_and_tables_are_always_written(bench, tmp_path):
    assert bench() == 1
    assert (tmp_path / "ran").read_text() == "ab"
    (tmp_path / "well").touch()
    assert bench() == 0
    assert (tmp_path / "ran").read_text() == "abbct"
    assert bench() == 0
    assert (tmp_path / "ran").read_text() == "abbctt"
    hours = json.loads((tmp_path / "hours.json").read_text())["hours"]
    assert list(hours) == ["one", "two", "tables"]
    assert all(0 <= each < 0.01 for each in hours.values())


@pytest.mark.parametrize("options", [("--only", "three"), ("--photos", "folder")])
def test_what_cannot_run_is_refused_before_anything_runs(bench, tmp_path, options):
    assert bench(*options) == 2
    assert not (tmp_path / "ran").exists()


def test_the_verdict_on_photos_finds_the_recipes_of_photos(benchmarks):
    """training/ has a module of that name, too."""
    found = PathFinder.find_spec("recipes", [str(room) for room in benchmarks.everything.ROOMS])
    assert Path(found.origin).parent.name == "photos"
