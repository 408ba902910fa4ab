"""A wrong name that the paper's experiments are given is refused in a sentence, before data are read."""

import runpy
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "benchmarks/paper/run.py"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["llava-1.5"], "unknown model 'llava-1.5': did you mean 'llava-1.5-7b'"),
        (["--suite", "POP"], "unknown suite 'POP': did you mean 'POPE'"),
        (["--pruner", "divprun"], "unknown pruner 'divprun': did you mean 'divprune'"),
    ],
)
def test_a_wrong_name_is_one_sentence(arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(RUN), *arguments])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # typer sets its own
    with pytest.raises(SystemExit, match=message):
        runpy.run_path(str(RUN), run_name="__main__")
