"""The code blocks of pages and every example run on the embedded model; what the pages name exists."""

import re
import shlex
import shutil
import sys
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

import wordsight
import wordsight.demo
from wordsight import VLM, Pruner, Timing, cli, pruners, tasks
from wordsight._utils import registry
from wordsight.evaluation import recommendation
from wordsight.synthetic.scenes import save_scenes

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RUN = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ("quickstart", "commands", "codebooks", "models", "extending", "gpu", "own_model")
    ),
)
PICTURE = Path(wordsight.demo.__file__).parent / "pictures" / "garden.png"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "training" / "README.md",
]


def fenced(page: str) -> list[tuple[str, str]]:
    """The code blocks of a page, in order, by language; what they load is the embedded model on a CPU."""
    text = (ROOT / page).read_text()
    text = text.replace("llava-hf/llava-1.5-7b-hf", str(wordsight.demo.MODEL)).replace("cuda", "cpu")
    return re.findall(r"```(python|sh)\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The folder that everything runs in: examining a picture takes seconds, so pages and the example of a
    codebook find the same two in it, and each other's evidence.
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


@pytest.fixture(scope="module")
def run():
    """The lines that have run: some are on several pages."""
    return []


@pytest.fixture(scope="module")
def yours():
    """What a block takes for granted: a model, its processor, and inputs for it."""
    vlm = VLM.from_pretrained()
    text = vlm.processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what is it?"}]}],
        add_generation_prompt=True,
    )
    with Image.open(PICTURE) as picture:
        inputs = vlm.processor(images=picture.convert("RGB"), text=text, return_tensors="pt")
    return {"model": vlm.model, "processor": vlm.processor, "inputs": inputs}


@pytest.mark.parametrize("page", RUN)
def test_the_code_blocks_of_a_page_run_in_order(page, yours, run, monkeypatch, capsys):
    monkeypatch.setattr(recommendation, "CLOCK", Timing(rounds=6, batch=1, new_tokens=2))
    names = {"__name__": "page", **yours}
    for language, source in fenced(page):
        if language == "python":
            exec(compile(source, page, "exec"), names)
            continue
        for line in source.splitlines():
            few = re.sub(r"--(limit|pictures) \d+", "--pictures 2", line)  # enough to run it
            monkeypatch.setattr(sys, "argv", shlex.split(few, comments=True))
            if sys.argv not in run:
                run.append(sys.argv)
                cli.main()
    assert capsys.readouterr().out.strip()


def test_the_readme_has_at_most_700_words():
    assert len(re.findall(r"\S*\w\S*", README)) <= 700


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(path, monkeypatch):
    monkeypatch.syspath_prepend(path.parent)  # as `python examples/NAME.py` does
    exec(compile(path.read_text(), str(path), "exec"), {"__name__": "__main__"})


def test_the_table_of_tasks_lists_every_file_of_the_package_once():
    page = (ROOT / "docs" / "tasks.md").read_text()
    assert re.findall(r"^\| `(\w+)` \| .* \| (?:yes|no|-) \|$", page, re.MULTILINE) == tasks.names()


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
            assert cls.budget == ("crop" if name == "codebook_scope" else "prompt")
    assert listed == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_a_heading_find_it(page):
    links = re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", page.read_text())
    assert [
        link for link in links if link[1] not in anchors(page.parent / link[0] if link[0] else page)
    ] == []


def anchors(page: Path) -> set[str]:
    """What links to the headings of a page end in, as GitHub makes it."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


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


@pytest.mark.parametrize("name", ["records", "methods"])
def test_a_generated_page_is_that_of_the_code(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    page = import_module(name).page()
    del sys.modules[name]  # other folders have a module of this name
    assert (ROOT / "docs" / f"{name}.md").read_text() == page


def test_the_options_of_all_methods_are_those_that_a_spec_can_have():
    table = (
        (ROOT / "docs" / "methods.md")
        .read_text()
        .partition("All have four options")[2]
        .partition("\n\nOf")[0]
    )
    options = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert options == ["keep", "tokens", "budget", "positions"]


def test_every_public_name_is_in_the_api_reference_once():
    page = (ROOT / "docs" / "api.md").read_text()
    assert sorted(re.findall(r"^::: wordsight\.(\w+)$", page, re.MULTILINE)) == wordsight.__all__
