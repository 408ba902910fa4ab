"""Every code block of the README and every example runs on the embedded model."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

import wordsight.demo
from wordsight import cli, pruners, tasks
from wordsight.synthetic.scenes import save_scenes

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PICTURE = Path(wordsight.demo.__file__).parent / "pictures" / "garden.png"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    shutil.copy(PICTURE, tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("source", blocks("python"))
def test_python_block_of_the_readme_runs(source):
    exec(compile(source, "README.md", "exec"), {"__name__": "readme"})


def test_shell_lines_of_the_readme_run_in_order(folder, monkeypatch, capsys):
    save_scenes(folder / "photos", 6)
    for line in "".join(blocks("sh")).splitlines():
        monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
        cli.main()
    assert "random" in capsys.readouterr().out.lower()


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(path, monkeypatch):
    monkeypatch.syspath_prepend(path.parent)  # as `python examples/NAME.py` does
    exec(compile(path.read_text(), str(path), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(("title", "package"), [("Methods", pruners), ("Tasks", tasks)])
def test_the_table_of_a_section_lists_every_file_of_the_package_once(title, package):
    section = README.split(f"\n## {title}\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == package.names()


def test_readme_links_lead_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
