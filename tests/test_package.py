"""The shape of the package: public names, light imports, short files, and floors that only look down."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import wordsight

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
MODULES = sorted((SOURCE / "wordsight").rglob("*.py"))
# What stands on what, from the ground up; a file imports only from lower floors, or from its own folder.
# The six floors of the architecture, divided where one file of a floor stands on another.
FLOORS = (
    {"errors", "progress", "race"},
    {"plugins", "towers"},
    {"tokens", "cluster", "selectors", "bootstrap", "atomic", "pictures", "families", "midway"},
    {"cells", "results", "demo.scenes"},
    {"demo.clips", "divergence", "video"},
    {"demo.questions", "condition"},
    {"ordering"},
    {"tasks"},
    {"codebook", "prompt"},
    {"inputs", "inside", "loading", "rows", "words"},
    {"text_attention"},
    {"chat", "look", "resize"},
    {"vlm"},
    {"pruners"},
    {"compat", "probe", "sheet", "timing"},
    {"compaction", "dropping", "leave_one_out", "prototypes", "run"},
    {"evaluate", "states"},
    {"evidence", "info", "report"},
    {"explain"},
    {"demo.tour", "analyse", "calibrate", "advice"},
    {"recommend", "view"},
    {"cli", "integrations"},
)
FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names}


def test_the_public_names_are_sorted():
    assert wordsight.__all__ == sorted(set(wordsight.__all__))


def test_the_public_names_are_those_that_can_be_imported():
    assert dir(wordsight) == wordsight.__all__
    assert all(getattr(wordsight, name).__name__ == name for name in wordsight.__all__)


def test_a_public_name_comes_from_the_module_that_defines_it():
    for name in wordsight.__all__:
        thing = getattr(wordsight, name)
        assert getattr(import_module(thing.__module__), name) is thing


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Helper'"):
        wordsight.Helper  # noqa: B018  # the access is what is tested


def heavy_after(program, *arguments):
    """The heavy packages that a fresh interpreter imported for the program, and what it showed."""
    heavy = ("torch", "transformers", "ray", "vllm")
    ending = f"\nsys.exit(', '.join(name for name in {heavy} if name in sys.modules) or None)"
    command = [sys.executable, "-c", f"import sys\n{program}{ending}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr, done.stdout


@pytest.mark.parametrize(
    "program", ["import wordsight", "import wordsight.cli", "from wordsight import UsageError"]
)
def test_importing_the_package_imports_nothing_heavy(program):
    assert heavy_after(program) == ("", "")


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "--help",
        "ask --help",
        "codebook --help",
        "codebook build --help",
        "codebook calibrate --help",
        "recommend --help",
        "explain --help",
        "analyse --help",
        "view --help",
    ],
)
def test_help_imports_nothing_heavy(arguments):
    program = (
        "from wordsight.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code"
    )
    heavy, shown = heavy_after(program, *arguments.split())
    assert heavy == ""
    assert "Usage" in shown


WRITTEN = [
    path
    for folder in (SOURCE, ROOT / "training")
    for path in sorted(folder.rglob("*"))
    if path.suffix in (".py", ".js", ".css", ".html") and "build" not in path.parts
]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


def module_name(path):
    return ".".join(path.relative_to(SOURCE / "wordsight").with_suffix("").parts).removesuffix(".__init__")


def home(name):
    """The entry of the table of floors that a module of the package belongs to."""
    return next((entry for entry in (name, name.partition(".")[0]) if entry in FLOOR), None)


def imported(node):
    """The modules of the package that code imports, those for type checking alone left out."""
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "the package imports by absolute names"
        for alias in node.names:
            path = SOURCE.joinpath(*f"{node.module}.{alias.name}".split("."))
            yield (
                f"{node.module}.{alias.name}"
                if path.is_dir() or path.with_suffix(".py").is_file()
                else node.module
            )
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def ours(path):
    found = imported(ast.parse(path.read_text()))
    return {name.removeprefix("wordsight.") for name in found if name.startswith("wordsight.")}


FLOORED = [path for path in MODULES if module_name(path) not in ("__init__", "__main__", "demo")]


@pytest.mark.parametrize("path", FLOORED, ids=module_name)
def test_a_module_imports_only_from_lower_floors(path):
    here = home(module_name(path))
    assert here is not None, "a new module belongs on a floor"
    wrong = {name for name in ours(path) if home(name) != here and FLOOR[home(name)] >= FLOOR[here]}
    assert not wrong


def test_no_modules_import_each_other_in_a_circle():
    above = {module_name(path): ours(path) for path in MODULES}
    while above:
        ground = {name for name, below in above.items() if not below & set(above)}
        assert ground, f"a circle among {sorted(above)}"
        above = {name: below for name, below in above.items() if name not in ground}


def test_the_table_of_floors_names_only_what_there_is():
    planned = {"compat", "integrations"}
    there = {home(module_name(path)) for path in FLOORED}
    assert set(FLOOR) - planned <= there
