"""Every code block of the README and every example runs on the embedded model; what the pages name exists."""

import re
import shlex
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest

import wordsight.demo
from wordsight import Pruner, Timing, cli, pruners, tasks
from wordsight._utils import registry
from wordsight.evaluation import recommendation
from wordsight.synthetic.scenes import save_scenes

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PICTURE = Path(wordsight.demo.__file__).parent / "pictures" / "garden.png"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "training" / "README.md",
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The folder that everything runs in: examining a picture takes seconds, so the README's lines and the
    example of a codebook find the same two in it, and each other's evidence.
    """
    place = tmp_path_factory.mktemp("docs")
    shutil.copy(PICTURE, place / "picture.png")
    save_scenes(place / "photos", 2)
    (place / "book.evidence").mkdir()
    (place / "demo-output").mkdir()
    (place / "demo-output" / "photos").symlink_to(place / "photos")
    (place / "demo-output" / "evidence").symlink_to(place / "book.evidence")
    return place


@pytest.fixture(autouse=True)
def folder(workplace, monkeypatch):
    monkeypatch.chdir(workplace)


@pytest.mark.parametrize("source", blocks("python"))
def test_python_block_of_the_readme_runs(source):
    exec(compile(source, "README.md", "exec"), {"__name__": "readme"})


def test_shell_lines_of_the_readme_run_in_order(monkeypatch, capsys):
    monkeypatch.setattr(recommendation, "CLOCK", Timing(rounds=6, batch=1, new_tokens=2))
    for line in "".join(blocks("sh")).splitlines():
        few = re.sub(r"--(limit|pictures) \d+", "--pictures 2", line)  # enough to run it
        monkeypatch.setattr(sys, "argv", shlex.split(few, comments=True))
        cli.main()
    assert "random" in capsys.readouterr().out.lower()


def test_the_blocks_about_your_own_model_run_in_order(workplace, monkeypatch, capsys):
    page = (ROOT / "docs" / "own_model.md").read_text()
    names = {"__name__": "own_model"}
    for language, source in re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL):
        here = source.replace("llava-hf/llava-1.5-7b-hf", str(wordsight.demo.MODEL)).replace("cuda", "cpu")
        if language == "python":
            exec(compile(here, "own_model.md", "exec"), names)
            continue
        for line in here.splitlines():
            monkeypatch.setattr(sys, "argv", shlex.split(line))
            cli.main()
    assert "20% of 144 visual tokens read" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(path, monkeypatch):
    monkeypatch.syspath_prepend(path.parent)  # as `python examples/NAME.py` does
    exec(compile(path.read_text(), str(path), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(("title", "package"), [("Methods", pruners), ("Tasks", tasks)])
def test_the_table_of_a_section_lists_every_file_of_the_package_once(title, package):
    section = README.split(f"\n## {title}\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == package.names()


def test_the_table_of_published_presets_is_that_of_the_methods():
    page = (ROOT / "docs" / "published.md").read_text()
    listed = {
        name: (scope, set(re.findall(r"`(.+?)`", preset)))
        for name, scope, preset in re.findall(r"^\| `(\w+)` \| (\w+) \| (.+?) \|", page, re.MULTILINE)
    }
    expected = {}
    for name in pruners.names():
        cls = registry.find(pruners, name, Pruner)
        if cls.PUBLISHED is not None:
            options = {f"{option}={value}" for option, value in cls.PUBLISHED.items()}
            expected[name] = (cls.budget, options)
        else:
            assert cls.budget == "prompt"
    assert listed == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_and_names_in_the_text_can_be_imported(page):
    named = re.findall(r"`(wordsight(?:\.\w+)+)`", page.read_text())
    assert [name for name in named if not can_be_imported(name)] == []


def can_be_imported(name: str) -> bool:
    """Whether this is a module, or a name in one."""
    module, _, attribute = name.rpartition(".")
    try:
        return hasattr(import_module(module), attribute) or bool(import_module(name))
    except ImportError:
        return False


def test_the_page_of_records_is_that_of_their_types(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    assert (ROOT / "docs" / "records.md").read_text() == import_module("records").page()
