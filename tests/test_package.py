"""The shape of the package: public names and light imports; who may import whom is import-linter's."""

import subprocess
import sys
from importlib import import_module

import pytest

import wordsight


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
        "analyze --help",
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
