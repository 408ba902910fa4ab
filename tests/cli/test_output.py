"""What keeps the result from stdout is told in a sentence or in silence, never in a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-m", "wordsight"]
FULL = Path("/dev/full")
has_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full; Linux has it")


def wordsight(*arguments, **streams):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run([*PROGRAM, *arguments], text=True, check=False, timeout=60, **streams)


@has_full
@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("codebook", "info", "demo", "--json")])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_stdout_is_a_failure_in_one_sentence(arguments, unbuffered, monkeypatch):
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with FULL.open("w") as full:
        done = wordsight(*arguments, stdout=full)
    assert (done.returncode, done.stderr) == (
        1,
        "error: cannot write the result to stdout: No space left on device\n",
    )


@has_full
def test_a_misuse_stays_one_where_its_record_finds_no_room():
    with FULL.open("w") as full:
        done = wordsight("ask", "good.png", "--json", stdout=full)
    assert done.returncode == 2
    assert done.stderr.startswith("error: expected pictures or videos")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("--version",), ("--help",)])
def test_a_reader_that_has_gone_ends_the_program_in_silence(arguments):
    ours, theirs = os.pipe()
    os.close(ours)
    done = wordsight(*arguments, stdout=theirs)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("arguments", [("--version",), ("ask", "--json")])
def test_a_closed_stdout_is_a_failure_in_one_sentence(arguments):
    done = wordsight(*arguments, stdout=None, preexec_fn=lambda: os.close(1))
    assert done.returncode == 1
    assert done.stderr.startswith("error: stdout is closed")
    assert done.stderr.count("\n") == 1


def test_a_closed_stderr_leaves_the_result_alone():
    done = wordsight("ask", "--json", stderr=None, preexec_fn=lambda: os.close(2))
    assert done.returncode == 2
    assert done.stdout.startswith('{\n "error"')
    assert "error:" not in done.stdout


def test_a_result_whose_letters_stdout_lacks_is_shown_without_them():
    program = (
        "import sys; from wordsight import cli; from wordsight.redundancy import book_info;"
        "book_info.info_lines = lambda record: ['caf\\xe9']; sys.argv[1:] = ['codebook', 'info', 'demo'];"
        "cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "caf\\xe9\n", "")


@pytest.mark.parametrize(
    ("arguments", "reason"), [(("-",), "closed or a terminal"), (("-", "-"), "only once")]
)
def test_a_standard_input_that_is_none_or_asked_for_twice_is_a_misuse(arguments, reason):
    done = wordsight("ask", *arguments, "what is it?", preexec_fn=lambda: os.close(0))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert reason in done.stderr
