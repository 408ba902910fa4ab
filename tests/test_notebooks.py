"""Every notebook runs from top to bottom on the embedded model, and opens with a picture."""

import ast
import json
from pathlib import Path

import pytest
from PIL import Image

from wordsight import Timing
from wordsight.evaluation import recommendation

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def code(path: Path) -> list[dict]:
    return [cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_first_cell_is_a_picture(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recommendation, "CLOCK", Timing(rounds=6, batch=1, new_tokens=2))
    names = {"__name__": "__main__"}
    first, *others = ("".join(cell["source"]) for cell in code(path))
    *body, result = ast.parse(first).body
    exec(compile(ast.Module(body, []), path.name, "exec"), names)
    assert isinstance(eval(compile(ast.Expression(result.value), path.name, "eval"), names), Image.Image)
    for source in others:
        exec(compile(source, path.name, "exec"), names)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_has_its_picture(path):
    assert path.stat().st_size < 200_000
    assert "image/png" in code(path)[0]["outputs"][-1]["data"]
