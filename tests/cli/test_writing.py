"""What the commands write: never over what they read, under a name that says what it is, and stopped or
without room in one sentence.
"""

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wordsight import cli
from wordsight.errors import WordsightError
from wordsight.synthetic.scenes import render

QUESTION = '{"image": "own.png", "question": "what is it?", "answer": "cat"}\n'
COMPARE = ("compare", "--task", "one.jsonl", "--pruner", "uniform", "--keep", "0.1")
BUILD = ("codebook", "build", "photos", "--min-images", "0", "--largest", "144")
REFUSED = [
    (("probe", "own.png", "--out", "own.png"), "the same command uses own.png"),
    (("probe", "own.png", "--out", "hard.png"), "the same command uses own.png"),
    (("probe", "link.png", "--out", "own.png"), "the same command uses link.png"),
    (("probe", "own.png", "--out", "words.jpg"), r"words\.jpg: expected a name that ends in \.png"),
    (("explain", "own.png", "--out", "page.pdf"), r"page\.pdf: expected a name that ends in \.html or \.htm"),
    (("recommend", "--task", "scenes", "--out", "advice.txt"), r"advice\.txt: expected .* \.json"),
    (
        ("recommend", "--task", "scenes", "--out", "config.json"),
        r"config\.json: what is there is something else",
    ),
    ((*COMPARE, "--out", "config.json"), r"config\.json: what is there is something else"),
    (
        (*COMPARE, "--out", "report/results.json", "--report", "report"),
        "results.json, which is used too, is in it",
    ),
    ((*BUILD, "--out", "photos"), r"photos: it holds one\.png"),
    ((*BUILD, "--out", "photos/book"), "photos/book.*: it is in photos"),
    ((*BUILD, "--out", "book", "--evidence", "photos"), "it is in photos"),
    ((*BUILD, "--out", "book", "--evidence", "book"), "the same command uses book"),
    ((*BUILD, "--out", "book", "--evidence", "book/evidence"), "book/evidence, which is used too, is in it"),
    ((*BUILD, "--out", "/dev/null"), "it is a file; give the name of a folder"),
    (("codebook", "compact", "demo", "--out", ".."), "cannot write"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A picture under three names, a folder of one, a question about it, and somebody's config.json."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in ("own.png", "photos/one.png"):
        render(1).image.save(name)
    Path("link.png").symlink_to("own.png")
    os.link("own.png", "hard.png")
    Path("one.jsonl").write_text(QUESTION)
    Path("config.json").write_text('{"model_type": "llava"}')
    return tmp_path


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED, ids=lambda value: " ".join(value[-4:])[:40])
def test_what_would_harm_something_is_refused_before_the_model_is_loaded(
    run, folder, monkeypatch, arguments, sentence
):
    for command in (cli.probe, cli.explain, cli.compare, cli.recommend, cli.codebook):
        monkeypatch.setattr(command, "load_vlm", lambda name, options: pytest.fail("the model was loaded"))
    before = files(folder)
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search(sentence, err)
    assert files(folder) == before


def test_a_picture_goes_through_a_device_and_the_device_stays(run):
    before = os.stat("/dev/null")
    assert run("probe", "own.png", "--out", "/dev/null")[0] == 0
    assert os.stat("/dev/null").st_rdev == before.st_rdev
    assert not Path("/dev/null.cells").exists()


def test_what_is_replaced_is_said_before_the_work(run):
    for err in (
        "wrote words.png\n",
        "words.png is there already; it is replaced once this is finished\nwrote words.png\n",
    ):
        assert run("probe", "own.png", "--out", "words.png")[2] == err


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_without_room_is_one_sentence_for_evidence_and_book(run, folder, monkeypatch, number):
    write = Path.write_bytes

    def full(path, content):
        if path.suffix == ".safetensors":
            raise OSError(number, os.strerror(number))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    for arguments in ((*BUILD, "--out", "book"), ("codebook", "compact", "demo", "--out", "small")):
        code, out, err = run(*arguments)
        *notes, error = err.splitlines()
        assert (code, out, error.startswith("error: ")) == (1, "", True)
        assert os.strerror(number) in error
        assert all(note.endswith("counts as no change") for note in notes)
    assert not list(folder.rglob(".wordsight*"))


def program(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "wordsight", *arguments], stderr=subprocess.PIPE, text=True, **options
    )


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_asked_to_end_clears_its_draft_away(run, folder, monkeypatch, sign):
    def asked_to_end(*_):
        assert list(folder.rglob(".wordsight*"))
        os.kill(os.getpid(), sign)

    monkeypatch.setattr("wordsight._utils.artifacts.write_tensors", asked_to_end)
    before = signal.signal(sign, signal.SIG_DFL)  # whatever the tests were started under
    code, out, err = run("codebook", "compact", "demo", "--out", "small")
    signal.signal(sign, before)
    assert (code, out, err.count("\n")) == (128 + sign, "", 1)
    assert err.startswith("error: stopped; nothing half-written is left")
    assert not list(folder.rglob(".wordsight*"))
    assert not Path("small").exists()


def test_a_signal_that_is_ignored_stays_ignored(run, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(cli.info, "load_vlm", lambda *given: os.kill(os.getpid(), signal.SIGHUP) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run("info")
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_result_that_is_stdout_does_not_mix_with_a_record():
    process = program("explain", "a.png", "--out", "/dev/stdout", "--json", stdout=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert json.loads(out)["error"]["message"] in err


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_full_stdout_is_one_sentence(options):
    with open("/dev/full", "w") as full:
        process = program("codebook", "info", "demo", *options, stdout=full)
        err = process.communicate(timeout=60)[1]
    assert (process.returncode, err) == (
        1,
        "error: cannot write the result to stdout: No space left on device\n",
    )


def test_a_closed_stdout_is_one_sentence():
    process = program("codebook", "info", "demo", preexec_fn=lambda: os.close(1))
    err = process.communicate(timeout=60)[1]
    assert (process.returncode, err.count("\n")) == (1, 1)
    assert err.startswith("error: stdout is closed")


def test_errors_of_the_system_that_nobody_expected_are_one_sentence(run, monkeypatch):
    def broken(name, options):
        raise OSError(errno.EIO, "Input/output error", "disk")

    monkeypatch.setattr(cli.info, "load_vlm", broken)
    code, out, err = run("info")
    assert (code, out, err) == (
        WordsightError.exit_code,
        "",
        "error: cannot read or write disk: Input/output error\n",
    )
