"""The shape of the package: public names and light imports; who may import whom is import-linter's."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import wordsight
from wordsight import pruners
from wordsight._utils import registry
from wordsight.pruners.base import Pruner

ROOT = Path(__file__).parents[1]


def test_the_public_names_are_sorted():
    assert wordsight.__all__ == sorted(set(wordsight.__all__))


def test_the_public_names_are_those_that_can_be_imported():
    assert dir(wordsight) == wordsight.__all__
    assert all(getattr(wordsight, name).__name__ == name for name in wordsight.__all__)


def test_a_type_checker_sees_the_names_that_can_be_imported():
    tree = ast.parse(Path(wordsight.__file__).read_text())
    (block,) = (
        node for node in tree.body if isinstance(node, ast.If) and "not" not in ast.unparse(node.test)
    )
    found = {(node.module, alias.name, alias.asname) for node in block.body for alias in node.names}
    assert found == {(module, name, name) for name, module in wordsight._MODULES.items()}


def test_the_front_door_has_every_pruner_and_every_verb():
    methods = {registry.find(pruners, name, Pruner).__name__ for name in pruners.names()}
    assert methods <= set(wordsight.__all__)
    verbs = {"analyze", "build_codebook", "calibrate", "collect_evidence", "compare", "explain_tokens"}
    assert verbs | {"inspect_codebook", "probe_tokens", "recommend"} <= set(wordsight.__all__)


def test_the_package_says_that_it_is_typed():
    assert Path(wordsight.__file__).with_name("py.typed").is_file()


def test_a_public_name_comes_from_the_module_that_defines_it():
    for name in wordsight.__all__:
        thing = getattr(wordsight, name)
        assert getattr(import_module(thing.__module__), name) is thing


def test_a_torchvision_that_does_not_fit_is_one_sentence(tmp_path):
    """transformers says that it could not import a module of its own."""
    (tmp_path / "torchvision.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")')
    metadata = tmp_path / "torchvision-0.28.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from wordsight import VLM"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("wordsight.errors.ModelError: the installed torchvision does not fit")


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
        "evidence merge --help",
        "recommend --help",
        "explain --help",
        "analyze --help",
        "view --help",
        "serve --help",
    ],
)
def test_help_imports_nothing_heavy(arguments):
    program = (
        "from wordsight.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n    assert not end.code"
    )
    heavy, shown = heavy_after(program, *arguments.split())
    assert heavy == ""
    assert "Usage" in shown


def test_package_citation_and_changelog_are_of_one_version():
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1]
    head, said = re.search(r"^## (\S+) \((.+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE).groups()
    assert cited == wordsight.__version__
    assert head == wordsight.__version__.removesuffix(".dev0")
    assert (said == "unreleased") == wordsight.__version__.endswith(".dev0")
