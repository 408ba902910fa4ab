"""The fuzzer finds what it is for: tracebacks, hangs, deaths, changed files, and what is read wrongly."""

import importlib
import json
import os
import sys
import time
from pathlib import Path
from random import Random

import pytest

from wordsight.errors import UsageError, WordsightError

TORTURE = Path(__file__).resolve().parents[2] / "torture"
GOOD = [{"a.json": b'{"x": [1, 2]}', "b.txt": b"words"}]


@pytest.fixture(scope="module")
def torture():
    """The modules of the folder, which import each other by their names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TORTURE))
        yield importlib.import_module("fuzz"), importlib.import_module("parsers")
        for name in ("fuzz", "parsers", "mutations"):
            sys.modules.pop(name, None)


@pytest.fixture
def failures(torture, monkeypatch):
    """What is wrong with three inputs of a reader."""
    fuzz, parsers = torture
    monkeypatch.setattr(fuzz, "LIMIT", 2.0)

    def of(read, **options):
        return [failure.what for failure in fuzz._run(parsers.Parser("it", 3, GOOD, read, **options), 0, 3)]

    return of


def refuse(text):
    def read(folder):
        raise UsageError(text)

    return read


def test_what_is_read_or_refused_in_a_sentence_survives(failures):
    assert failures(lambda folder: None) == []
    assert failures(refuse("x is no y; give a z")) == []


def test_a_traceback_is_a_failure(failures):
    assert (
        failures(lambda folder: [][1])
        == ["IndexError in no file of wordsight: 'list index out of range'"] * 3
    )


def test_a_page_of_text_is_no_sentence(failures):
    assert all("an error of 2 lines" in what for what in failures(refuse("first\nsecond")))
    assert all("2001 characters" in what for what in failures(refuse("x" * 2001)))


def test_a_changed_or_new_file_is_a_failure(failures):
    assert failures(lambda folder: (folder / "new").touch()) == ["changes a file that it was to read"] * 3


def test_a_process_that_dies_is_a_failure_and_the_next_input_goes_on(failures):
    assert failures(lambda folder: os._exit(3)) == ["the process dies (3)"] * 3


def test_a_hang_is_a_failure_and_the_next_input_goes_on(failures, torture, monkeypatch):
    monkeypatch.setattr(torture[0], "LIMIT", 0.3)
    assert failures(lambda folder: time.sleep(60)) == ["hangs for more than 0.3 s"] * 3


def test_what_is_read_has_to_be_what_was_written_where_there_is_a_digest(failures, torture):
    def read(folder):
        return (folder / "a.json").read_bytes()

    good = torture[1]._digest(GOOD[0]["a.json"])
    assert (
        failures(read, exact=True, damage=("a.json",), expected={good})
        == ["reads something else, in silence"] * 3
    )
    assert failures(read, exact=True, damage=("b.txt",), expected={good}) == []


@pytest.mark.slow
def test_every_parser_reads_what_is_good(torture, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(TORTURE.parent / "tests" / "families"))
    for parser in torture[1].make(tmp_path / "made"):
        for number, files in enumerate(parser.good):
            place = tmp_path / parser.name / str(number)
            torture[1].write(files, place)
            try:
                parser.read(place)
            except WordsightError:
                assert parser.name in ("command line", "task")  # of what is missing, which comes last


def test_an_input_is_the_same_whenever_it_is_made(torture):
    parser = torture[1].Parser("it", 3, GOOD, lambda folder: None)
    made = [parser.mutate(Random(f"{number}")) for number in range(200)]
    again = [parser.mutate(Random(f"{number}")) for number in reversed(range(200))]
    assert made == again[::-1]
    assert len({tuple(files.values()) for files in made}) > 150


@pytest.mark.parametrize(("name", "what"), [("crash_points", "crash points were"), ("fuzz", "inputs")])
def test_the_page_tells_the_counts_of_the_results(name, what):
    record = json.loads((TORTURE / "results" / f"{name}.json").read_text())
    page = " ".join((TORTURE.parent / "docs" / "reliability.md").read_text().split())
    assert f"{record['survived']:,} of {record['tried']:,} {what} survived" in page
