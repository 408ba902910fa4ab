"""Every misuse of the command line is told in one line on stderr, exits with 2 and leaves nothing behind."""

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wordsight import cli
from wordsight.pruners import names
from wordsight.redundancy.build import Clustering
from wordsight.redundancy.codebook import Codebook
from wordsight.synthetic.scenes import render

EVERYTHING = ("--confidence", "1.1", "--divergence", "1000", "--largest", "144", "--min-images", "0")
ASK = ("ask", "good.png", "what is it?")
COMPARE = ("compare", "--task", "scenes", "--limit", "1", "--pruner", "uniform", "--keep", "0.1")
ALL = ("compare", "--pruner", "uniform", "--keep", "0.1")
EXPLAIN = ("--out", "page.html", "--codebook", "book")
BUILD = ("codebook", "build", "photos", "--limit", "1", *EVERYTHING)
CALIBRATE = ("codebook", "calibrate", "--images", "photos", "--out", "out")
RECOMMEND = ("recommend", "--task", "scenes", "--limit", "30")
MISUSES = [
    (("ask", "nowhere.png", "what?"), "no such picture or video: nowhere.png"),
    (("ask", "text.png", "what?"), "text.png is no picture"),
    (("ask", "cut.png", "what?"), "cut.png is damaged or cut short"),
    (("ask", "empty", "what?"), "empty is a folder; expected the path of a picture"),
    (("probe", "nowhere.png"), "no such picture: nowhere.png"),
    (("probe", "text.png"), "text.png is no picture"),
    (("probe", "cut.png"), "cut.png is damaged or cut short"),
    (("codebook", "build", "empty", "--out", "out"), "no pictures in empty"),
    (("codebook", "build", "nowhere", "--out", "out"), "no such folder: nowhere"),
    ((*ASK, "--pruner", "random", "--keep", "0"), "keep must be a share .* got '?0"),
    ((*ASK, "--pruner", "random", "--keep", "2"), "keep must be a share .* got '?2"),
    ((*ASK, "--pruner", "random", "--keep", "abc"), "keep must be a share .* got 'abc'"),
    ((*ASK, "--pruner", "random", "--keep", "-0.1"), "keep must be a share .* got '?-0.1"),
    ((*ASK, "--pruner", "random", "--keep", "nan"), "keep must be a share .* got '?nan"),
    ((*ASK, "--keep", "abc"), "keep must be a share .* got 'abc'"),
    ((*ASK, "--pruner", "random:keep=0"), "keep must be a share of the tokens in .0, 1., got 0"),
    ((*ASK, "--pruner", "random:keep=abc"), "keep must be .* got 'abc'"),
    (
        (*BUILD, "--out", "out", "--confidence", "0"),
        "error: confidence must be a threshold above 0 or .* got 0",
    ),
    ((*BUILD, "--out", "out", "--divergence", "q1.1"), "error: quantile must be a share of the tokens in"),
    (
        (*BUILD, "--out", "out", "--column", "image"),
        "error: column is 'image', and the pictures of photos are",
    ),
    (
        (*BUILD, "--out", "out", "--global", "foo"),
        "'--global': 'foo' is not one of 'exact', 'approximate'; see",
    ),
    (
        (*BUILD, "--out", "out", "--memory", "1KB"),
        "must be a number of MB, GB, MiB, GiB, as 500MB; got '1KB'",
    ),
    ((*COMPARE, "--pruner", "uniform"), "duplicate pruner uniform at keep 0.1"),
    ((*COMPARE, "--keep", "0.1"), "duplicate pruner uniform at keep 0.1"),
    ((*COMPARE, "--task", "scenes"), "duplicate task scenes"),
    ((*COMPARE, "--model", "demo", "--model", "demo", "--out", "out.json"), "duplicate model demo"),
    ((*COMPARE, "--reference", "random"), "unknown reference 'random': choose from uniform"),
    ((*COMPARE, "--reference", "divprun"), "unknown pruner 'divprun': did you mean 'divprune'"),
    ((*COMPARE, "--out", "out.json", "--part", "4/4"), "--part 4/4: expected its number .* from 0/4 to 3/4"),
    ((*COMPARE, "--out", "out.json", "--part", "half"), "--part half: expected its number"),
    ((*COMPARE, "--part", "0/2"), "--part measures into OUT.cells .*: give the --out of all parts"),
    ((*COMPARE, "--out", "out.json", "--report", "out", "--part", "0/2"), "--report to the last command"),
    ((*COMPARE, "--timing", "5"), "timing"),
    ((*COMPARE, "--timing", "6", "--batch", "1"), "batch"),
    ((*COMPARE, "--out", "results.csv"), "results.csv: expected a name that ends in .json or .parquet"),
    ((*COMPARE, "--out", "file/results.parquet"), "cannot write file/results.parquet"),
    ((*COMPARE, "--report", "file/report"), "cannot write file/report"),
    ((*COMPARE, "--report", "good.png"), "cannot write good.png: it is a file"),
    ((*COMPARE, "--report", "photos"), "photos: it holds one.png, which would be gone"),
    ((*COMPARE, "--out", "left.json"), r"left.json.cells/1.json has format None, .*: delete it"),
    (("answers", "nowhere.json"), "cannot read nowhere.json"),
    (("answers", "text.png"), "cannot read text.png: expected results"),
    (("answers", "left.json", "--show", "right"), "right"),
    ((*COMPARE, "--keep", "0"), "keep must be a share .* got '?0"),
    ((*COMPARE, "--keep", "2"), "keep must be a share .* got '?2"),
    ((*COMPARE, "--keep", "abc"), "keep must be a share .* got 'abc'"),
    ((*ASK, "--pruner", "divprun"), "unknown pruner 'divprun': did you mean 'divprune'"),
    ((*ASK, "--pruner", "xyz"), f"unknown pruner 'xyz': choose from {', '.join(names())}"),
    ((*COMPARE, "--pruner", "unifrm"), "unknown pruner 'unifrm': did you mean 'uniform'"),
    (
        (*ASK, "--pruner", "random:sed=1"),
        "option of random 'sed': .* choose from budget, keep, positions, seed, tokens",
    ),
    ((*ASK, "--pruner", "random:seed"), "'random:seed': expected option=value"),
    ((*ASK, "--pruner", "random:seed=1.5"), r"seed must be .*1\.5"),
    ((*ASK, "--pruner", "codebook:codebook=book,threshold=abc"), "threshold must be .* 'abc'"),
    ((*ASK, "--pruner", "codebook:codebook=narrow"), "codebook is for D=16 .* this model has D=32"),
    ((*COMPARE, "--pruner", "codebook:codebook=narrow"), "codebook is for D=16 .* this model has D=32"),
    (
        (*ASK, "--pruner", "codebook"),  # whose default is the embedded model's book
        r"error: codebook=demo, the default: codebook is for D=256 \(demo\), this model has D=32; build "
        "one with `wordsight codebook build PICTURES --out BOOK --model ",
    ),
    ((*ASK, "--pruner", "learned"), "error: scorer=demo, the default: the scorer is for D=256 "),
    (
        (*ASK, "--pruner", "codebook:codebook=corrupted"),
        r"corrupted/codebook\.safetensors is no safetensors file .*: take another copy of the codebook",
    ),
    (
        (*ASK, "--pruner", "codebook:codebook=pickled"),
        r"pickled/codebook\.safetensors is no safetensors file .*: take another copy of the codebook",
    ),
    ((*ASK, "--pruner", "codebook:codebook=nowhere"), "no codebook in nowhere"),
    ((*ASK, "--pruner", "codebook:codebook=released.pt"), "released.pt is a file; expected a folder"),
    (
        ("codebook", "info", "corrupted"),
        r"corrupted/codebook\.safetensors is no safetensors file .*: take another copy of the codebook",
    ),
    (
        ("codebook", "info", "pickled"),
        r"pickled/codebook\.safetensors is no safetensors file .*: take another copy of the codebook",
    ),
    (("codebook", "info", "nowhere"), "no codebook in nowhere"),
    (("codebook", "import", "trap.pt", "--out", "out", "--model", "owner/name"), "cannot read trap.pt"),
    (("codebook", "import", "text.png", "--out", "out", "--model", "owner/name"), "cannot read text.png"),
    (("codebook", "import", "nowhere.pt", "--out", "out", "--model", "owner/name"), "there is no such file"),
    (("codebook", "import", "released.pt", "--out", "out", "--model", "nosuch"), "no model 'nosuch'"),
    (
        ("codebook", "import", "released.pt", "--out", "file/book", "--model", "owner/name"),
        "cannot write file/book",
    ),
    ((*BUILD, "--out", "file/book"), "cannot write file/"),
    ((*BUILD, "--out", "out", "--evidence", "file/found"), "cannot write file/found"),
    (("probe", "good.png", "--out", "file/words.png"), "cannot write file/words.png"),
    ((*COMPARE, "--out", "file/results.json"), "cannot write file/results.json"),
    ((*BUILD, "--out", "out", "--confidence", "abc"), "expected a threshold .* got 'abc'"),
    (
        (*BUILD, "--out", "out", "--divergence", "q2"),
        r"quantile must be a share of the tokens in \(0, 1\], got 2",
    ),
    (
        (*BUILD, "--out", "out", "--criterion", "sure"),
        "unknown criterion 'sure': choose from blind_divergence",
    ),
    ((*BUILD, "--out", "out", "--ask", " "), "--ask is empty: give a question, such as --ask 'is there"),
    (
        (*BUILD, "--out", "out", "--ask", "a?", "--ask", "b?", "--criterion", "certainty"),
        "--criterion certainty reads the answers to the first question alone: --ask one, or take questions",
    ),
    (
        (*BUILD, "--out", "out", "--ask", "a?", "--preset", "llava-1.5"),
        "expected --preset llava-1.5 or --ask 'a.': a preset has a question of its own",
    ),
    ((*CALIBRATE, "--min-images", "0", "--ask", ""), "--ask is empty"),
    ((*BUILD, "--out", "out", "--images", "3"), "--images"),
    ((*CALIBRATE[:3], "nowhere", "--out", "out"), "no such folder: nowhere"),
    ((*CALIBRATE[:3], "empty", "--out", "out"), "no pictures in empty"),
    ((*CALIBRATE[:3], "good.png", "--out", "out"), "good.png is a file; expected a folder of pictures"),
    (CALIBRATE[:4], "out"),
    ((*CALIBRATE[:2], "--out", "out"), "images"),
    ((*CALIBRATE, "--task", "scene"), "unknown task 'scene': did you mean 'scenes'"),
    ((*CALIBRATE, "--task", "scenes:pictures=0"), "pictures must be a whole number in .1, 100000."),
    ((*CALIBRATE, "--questions", "19"), "questions.* 20"),
    ((*CALIBRATE, "--questions", "many"), "questions.* integer"),
    ((*CALIBRATE, "--limit", "0"), "limit"),
    ((*CALIBRATE, "--criterion", "certainty"), "--criterion"),
    (
        (*CALIBRATE, "--min-images", "0", "--evidence", "foreign"),
        r"foreign/manifest\.json has format 2, .* reads 4 of the manifest of evidence: collect",
    ),
    ((*CALIBRATE, "--min-images", "0", "--evidence", "file/found"), "cannot write file/found"),
    ((*CALIBRATE[:4], "--out", "file/book"), "cannot write file/"),
    ((*CALIBRATE[:4], "--out", "photos"), "photos: it holds one.png, which would be gone"),
    ((*BUILD, "--out", "out", "--limit", "0"), "limit"),
    ((*COMPARE, "--task", "scene"), "unknown task 'scene': did you mean 'scenes'"),
    ((*COMPARE, "--task", "scenes:pictures=0"), "pictures must be a whole number in .1, 100000."),
    ((*COMPARE, "--task", "scenes:pictures=1.5"), r"pictures must be .*1\.5"),
    ((*COMPARE, "--limit", "0"), "limit"),
    ((*COMPARE, "--task", "nowhere.jsonl"), "cannot read nowhere.jsonl: No such file"),
    ((*COMPARE, "--task", "bad.jsonl"), "bad.jsonl, line 2: field 'answer' is missing"),
    ((*COMPARE, "--pruner", "nowhere:Mine"), "no module 'nowhere' in the current folder"),
    (("recommend",), "task"),
    ((*RECOMMEND, "--budget", "0"), r"budget must be a share of the tokens in \(0, 1\), got 0"),
    ((*RECOMMEND, "--budget", "1"), "budget must be .* got 1"),
    ((*RECOMMEND, "--budget", "nan"), "budget must be .* got nan"),
    ((*RECOMMEND, "--budget", "abc"), "budget.* number"),
    ((*RECOMMEND, "--tolerance", "1"), "tolerance must be .* got 1"),
    ((*RECOMMEND, "--latency-ms", "0"), "latency_ms must be .* got 0"),
    ((*RECOMMEND, "--limit", "0"), "limit"),
    ((*RECOMMEND, "--pruner", "none"), "none is no candidate"),
    ((*RECOMMEND, "--pruner", "unifrm"), "unknown pruner 'unifrm': did you mean 'uniform'"),
    ((*RECOMMEND, "--out", "file/record.json"), "cannot write file/record.json"),
    ((*RECOMMEND, "--task", "scene"), "unknown task 'scene': did you mean 'scenes'"),
    ((*RECOMMEND, "--task", "one.jsonl"), "one.jsonl: its (test|validation) split is empty"),
    ((*RECOMMEND, "--task", "scenes:pictures=1"), "validation split of .* has too few pictures"),
    ((*RECOMMEND, "--pruner", "codebook:codebook=narrow"), "codebook is for D=16 .* this model has D=32"),
    (("ask", "good.png", "photos/one.png"), "question is missing: 'photos/one.png' is a file"),
    (("ask", "good.png", "gone.JPG"), "question is missing: 'gone.JPG' is a file, or the name of one"),
    (("ask", "good.png", "film.mp4"), "question is missing: 'film.mp4'"),
    (("ask", "good.png", "https://example.org/cat"), "question is missing: 'https://example.org/cat'"),
    (("ask", "good.png", "one.jsonl"), "question is missing: 'one.jsonl' is a file"),
    (("ask", "good.png", "good.png"), "question is missing: 'good.png' is a file"),
    (("ask", "good.png", " "), "the question is empty"),
    ((*ASK, "--then", "photos/two.png"), "question is missing: 'photos/two.png'"),
    ((*ASK, "--then", ""), "the question is empty"),
    (("probe", "good.png", "--question", "photos/one.png"), "question is missing"),
    (("probe", "good.png", "--question", ""), "the question is empty"),
    (("explain", "good.png", "--out", "page.html", "--question", "good.png"), "question is missing"),
    (("explain", "good.png", "--out", "page.html", "--question", ""), "the question is empty"),
    (("analyze", "--images", "photos", "--out", "out", "--question", ""), "the question is empty"),
    (("ask", "good.png", "what </s>?"), "the question holds '</s>', which .* control token"),
    (("ask", "good.png", "<image> what?"), "the question holds '<image>', the place of a picture"),
    (("probe", "good.png", "--question", "<pad>"), "the question holds '<pad>'"),
    (("explain", "good.png", *EXPLAIN, "--question", "<unk>?"), "the question holds '<unk>'"),
    ((*ASK, "--then", "what </s>?"), "the question holds '</s>'"),
    (
        ("ask", *["good.png"] * 20, "what is it?"),
        "takes 2,9.. positions .* tiny was made for 2,048: give fewer",
    ),
    (
        ("explain", *["good.png"] * 20, *EXPLAIN),
        "made for 2,048: give fewer pictures .1. of 20 fit.",
    ),
    (("ask", "good.png", "what? " * 2000), "was made for 2,048: ask something shorter .the text alone takes"),
    (
        (*ALL, "--task", "long.jsonl"),
        "long.jsonl, line 2: the prompt takes .* made for 2,048: give fewer",
    ),
    ((*ALL, "--task", "marked.jsonl"), "marked.jsonl, line 3: the question holds '</s>'"),
    (("info", "demo", "--size", "9" * 25), "--size must be WIDTHxHEIGHT"),
    (("info", "demo", "--size", f"{'9' * 25}x{'9' * 25}"), "--size must be .* at most 4 digits"),
    ((*COMPARE, "--limit", "9" * 5000), "exceeded maximum size|not a valid int"),
    ((*ASK, "--pruner", f"random:seed={'9' * 5000}"), "seed must be a whole number in .*, got .999"),
    ((*ASK, "--pruner", f"random:seed={'9' * 25}"), "seed must be a whole number in .*, got 9999"),
    ((*ASK, "--keep", "9" * 5000), "keep must be a share of the tokens in .0, 1., got"),
    ((*COMPARE, "--timing", "9" * 25), "rounds must be a whole number in .6, 10000."),
    (("akc", "good.png"), "akc"),
    (("codebook", "biuld"), "biuld"),
    (("codebook",), ""),
    (("ask",), "expected pictures or videos and then a question"),
    (("ask", "good.png"), "got only 'good.png'"),
    (
        ("ask", "good.png", "what is it?", "--frames", "3"),
        "frames and fps are for videos, and what was given is none",
    ),
    ((*ASK, "--frob"), "--frob"),
    (("compare", "--task", "scenes"), "pruner"),
    (("compare", "--from-lmms", "logs", "--keep", "0.2"), "reads what lmms-eval has measured"),
    (("compare", "--from-lmms", "logs", "--device", "cpu"), "reads what lmms-eval has measured"),
    (("compare", "--from-lmms", "logs", "--actors", "2"), "reads what lmms-eval has measured"),
    (("compare", "--from-lmms", "logs"), "logs has no results of lmms-eval"),
]


class Trap:
    """An object whose unpickling leaves a mark."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def made_up_book(width):
    return Codebook(torch.randn(4, width), {"format": 1, "model": "made-up", "fingerprint": None})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder: good and bad pictures, folders of pictures, good and bad books."""
    monkeypatch.chdir(tmp_path)
    for name, seed in (("good.png", 1), ("photos/one.png", 2), ("photos/two.png", 3)):
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        render(seed).image.save(path)
    for name in ("text.png", "bad/text.png"):
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("not a picture")
    for name in ("cut.png", "bad/cut.png"):
        Path(name).write_bytes(Path("good.png").read_bytes()[:400])
    Path("empty").mkdir()
    Path("foreign").mkdir()
    Path("foreign/manifest.json").write_text('{"format": 2, "model": "other", "fingerprint": "f00d"}')
    Path("file").write_text("a file")
    Path("left.json.cells").mkdir()
    Path("left.json.cells/1.json").write_text('{"made_with": {"versions": {"wordsight": "0.0.1"}}}')
    row = '{"image": "good.png", "question": "what is it?"'
    Path("one.jsonl").write_text(row + ', "answer": "cat"}\n')
    Path("long.jsonl").write_text(
        row
        + ', "answer": "cat"}\n{"image": '
        + json.dumps(["good.png"] * 20)
        + ', "question": "?", "answer": "a"}\n'
    )
    Path("marked.jsonl").write_text(
        "".join(
            json.dumps({"image": f"photos/{name}.png", "question": f"what is it{mark}?", "answer": "cat"})
            + "\n"
            for name, mark in (("one", ""), ("two", ""), ("one", "</s>"))
        )
    )
    Path("bad.jsonl").write_text(f'{row}, "answer": "cat"}}\n{row}}}\n')
    for name, width in (("book", 32), ("narrow", 16), ("corrupted", 32), ("pickled", 32)):
        made_up_book(width).save_pretrained(name)
    tensors = Path("corrupted/codebook.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-30])
    Path("pickled/codebook.safetensors").write_bytes(pickle.dumps(Trap()))
    torch.save(torch.randn(5, 32), "released.pt")
    torch.save(Trap(), "trap.pt")
    return tmp_path


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "message"), MISUSES, ids=[" ".join(arguments)[:80] for arguments, _ in MISUSES]
)
def test_a_misuse_is_told_in_one_line_and_leaves_nothing_behind(run, folder, arguments, message):
    before = files(folder)
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert re.search(message, err)
    assert files(folder) == before


class ReachedError(Exception):
    """The work begins: all was checked."""


def reached(*_, **__):
    raise ReachedError


@pytest.mark.parametrize(
    "arguments",
    [
        (*COMPARE, "--out", "scenes/results.json"),
        (*RECOMMEND, "--out", "scenes/which.json"),
        ("codebook", "compact", "demo", "--out", "demo"),
        (*CALIBRATE, "--out", "scenes/book", "--min-images", "0", "--largest", "144"),
    ],
)
def test_a_place_may_be_called_as_a_task_or_the_embedded_book(run, folder, monkeypatch, arguments):
    (folder / "scenes").mkdir()
    for room in (cli.compare, cli.recommend, cli.codebook):
        monkeypatch.setattr(room, "load_vlm", reached)
    monkeypatch.setattr(Codebook, "compact", reached)
    with pytest.raises(ReachedError):
        run(*arguments)


def test_a_file_of_questions_is_not_written_over_however_it_is_named(run, folder):
    Path("q.json").write_text('[{"image": "good.png", "question": "rows?", "answer": "cat"}]')
    Path("link.json").symlink_to("q.json")
    for task in ("q.json", "questions:path=q.json"):
        code, _, err = run(*ALL, "--task", task, "--out", "link.json")
        assert code == 2
        assert "the same command uses q.json" in err


def test_a_pickle_that_poses_as_a_book_is_not_executed(run, folder):
    run(*ASK, "--pruner", "codebook:codebook=pickled")
    assert "cannot read trap.pt" in run("codebook", "import", "trap.pt", "--out", "out", "--model", "o/n")[2]
    assert not (folder / "executed").exists()


@pytest.mark.parametrize("place", [".", "photos"])
def test_a_book_never_takes_the_place_of_a_folder_of_other_files(run, folder, place):
    before = files(folder)
    code, _, err = run("codebook", "import", "released.pt", "--out", place, "--model", "owner/name")
    assert "no model" not in err
    assert files(folder).items() >= before.items()
    assert code == 0 or (code == 2 and err.startswith("error: ") and err.count("\n") == 1)


def test_a_build_into_the_working_folder_is_no_traceback(run, folder):
    before = files(folder)
    code, _, err = run(*BUILD, "--out", ".")
    assert files(folder).items() >= before.items()
    assert code == 0 or (code == 2 and err.startswith("error: ") and err.count("\n") == 1)


@pytest.mark.parametrize("arguments", [("codebook", "build"), ("codebook", "calibrate", "--images")])
def test_a_folder_of_no_pictures_is_told_before_the_model_is_loaded(run, monkeypatch, arguments):
    monkeypatch.setattr(cli.codebook, "load_vlm", lambda name, options: pytest.fail("the model was loaded"))
    assert run(*arguments, "nowhere", "--out", "out")[0] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--min-images", "2"), "2 pictures cannot make a codebook"),
        (
            ("--min-images", "0", "--task", "scenes:pictures=3"),
            "at least four pictures, two to choose by and two to test, got 3",
        ),
    ],
)
def test_a_calibration_that_cannot_be_is_told_in_one_line_and_writes_no_book(run, folder, options, message):
    code, out, err = run(*CALIBRATE, "--questions", "20", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search(message, err)
    assert not (folder / "out").exists()


def test_a_folder_in_which_no_picture_can_be_read_is_a_misuse(run, folder):
    code, out, err = run("codebook", "build", "bad", "--out", "out")
    assert code == 2
    assert out == ""
    assert err.startswith("error: none of 2 pictures can be read, the first because bad/cut.png is damaged")
    assert err.count("\n") == 1
    assert not (folder / "out").exists()
    assert not (folder / "out.evidence").exists()


@pytest.mark.parametrize("command", [("codebook", "build", "photos"), CALIBRATE[:4]])
@pytest.mark.parametrize(
    ("options", "needed"), [((), 17), (("--min-images", "2"), 3), (("--limit", "1", "--min-images", "1"), 2)]
)
def test_too_few_pictures_are_told_before_the_model_is_loaded(run, monkeypatch, command, options, needed):
    monkeypatch.setattr(cli.codebook, "load_vlm", lambda name, options: pytest.fail("the model was loaded"))
    code, _, err = run(*command, "--out", "out", *options)
    there = "1 picture" if "--limit" in options else "2 pictures"
    assert code == 2
    assert err == (
        f"error: {there} cannot make a codebook: a prototype has to be found in more than {needed - 1}; give "
        f"{needed} pictures or more, or lower --min-images (images of Clustering)\n"
    )
    assert not Path("out.evidence").exists()


def test_the_help_of_the_command_line_has_the_settings_of_the_library(run):
    out = " ".join(run("codebook", "build", "--help")[1].replace("│", " ").split())
    assert f"of more tokens than this, {Clustering().largest} by default" in out
    assert f"in more pictures than this, {Clustering().images} by default" in out


def test_a_folder_that_is_no_model_is_told_in_one_line(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["wordsight", *ASK, "--model", str(folder / "empty")])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    err = capsys.readouterr().err
    assert exit.value.code == 2
    assert err.startswith("error: cannot load model")
    assert err.count("\n") == 1


def test_the_package_runs_as_a_program():
    command = [sys.executable, "-m", "wordsight", "akc"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "'akc'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_share_without_a_pruner_is_a_misuse(run):
    code, _, err = run("ask", "good.png", "what is it?", "--keep", "0.2")
    assert (code, err.count("\n")) == (2, 1)
    assert "need a pruner" in err


@pytest.mark.parametrize(
    ("arguments", "kind", "code"),
    [
        (("ask", "missing.png", "what is it?"), "media", 2),
        (("ask", "good.png", "what is it?", "--pruner", "divprun"), "usage", 2),
        (("ask", "good.png", "what is it?", "--kep", "0.2"), "usage", 2),
        (("codebook", "info", "nowhere"), "file", 2),
    ],
)
def test_a_failure_is_a_record_where_json_is_asked_for(run, arguments, kind, code):
    found, out, err = run(*arguments, "--json")
    record = json.loads(out)
    assert found == code
    assert err == f"error: {record['error']['message']}\n"
    assert record == {"error": {"message": record["error"]["message"], "kind": kind}}


@pytest.mark.parametrize("command", [ASK, COMPARE])
def test_a_model_whose_weights_are_no_numbers_gives_no_answer_and_no_row(run, tiny, monkeypatch, command):
    weight = tiny.model.model.language_model.norm.weight
    monkeypatch.setattr(weight, "data", weight.data * float("nan"))
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert "some values of its logits are NaN or infinite, as are some of" in err
    assert "language_model.norm.weight" in err


def test_a_torchvision_that_does_not_fit_is_a_sentence(run, monkeypatch):
    def fail(name, options):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("wordsight.cli.info.load_vlm", fail)
    code, out, err = run("info")
    assert (code, out) == (2, "")
    assert err.startswith("error: the installed torchvision does not fit the installed torch; ")
