"""wordsight codebook build --part and evidence merge: parts of one run become the evidence of it."""

import json
from pathlib import Path

import pytest
import torch

from wordsight.redundancy import examining
from wordsight.redundancy.codebook import Codebook
from wordsight.synthetic.scenes import render

BUILD = ("codebook", "build", "photos", "--largest", "144", "--min-images", "0")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A place with three photos."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for seed in range(3):
        render(seed).image.save(tmp_path / "photos" / f"{seed}.png")
    return tmp_path


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_parts_on_two_machines_make_the_book_of_one(run, folder, monkeypatch):
    code, out, _ = run(*BUILD, "--out", "a", "--part", "0/2")
    assert (code, out) == (0, "part 0 of 2 is in a.evidence, 288 tokens examined now\n")
    with monkeypatch.context() as patch:
        patch.setenv("RANK", "1")
        patch.setenv("WORLD_SIZE", "2")
        code, out, _ = run(*BUILD, "--out", "b", "--json")
        assert (code, json.loads(out)) == (0, {"format": 1, "part": 1, "parts": 2, "tokens": 144})
    assert not Path("a").exists()
    code, out, _ = run("evidence", "merge", "a.evidence", "b.evidence", "--out", "book.evidence")
    assert (code, out) == (0, "tokens and probe-0 of 3 pictures in book.evidence\n")
    with monkeypatch.context() as patch:
        patch.setattr(examining, "measure_experiments", lambda *given: pytest.fail("examined again"))
        assert run(*BUILD, "--out", "book")[0] == 0
    assert run(*BUILD, "--out", "whole")[0] == 0
    assert files(Path("book")) == files(Path("whole"))
    assert files(Path("book.evidence")) == files(Path("whole.evidence"))


def test_patches_are_kept_if_asked_for_and_the_prototypes_are_the_same(run, folder):
    assert run(*BUILD, "--out", "plain")[0] == 0
    for out in ("shown", "again"):
        assert run(*BUILD, "--out", out, "--patches", "--evidence", "plain.evidence")[0] == 0
    assert files(Path("shown")) == files(Path("again"))
    plain, shown = Codebook.from_pretrained("plain"), Codebook.from_pretrained("shown")
    assert torch.equal(plain.prototypes, shown.prototypes)
    assert plain.origins is None
    assert len(shown.origins.patches) == len(shown.prototypes)
    assert shown.config["patches"]["least_cosine"] == pytest.approx(1, abs=1e-6)
    assert "16 x 16 pixels and words" in run("codebook", "info", "shown")[1]
    assert "patches" not in run("codebook", "info", "plain")[1]


@pytest.mark.parametrize("options", [("--part", "0/2"), ("--ray", "auto")])
def test_patches_are_not_made_where_the_model_is_elsewhere(run, folder, options):
    code, _, err = run(*BUILD, "--out", "book", "--patches", *options)
    assert (code, err.startswith("error: --patches needs the model in this process")) == (2, True)
    assert not Path("book.evidence").exists()


def test_what_a_later_criterion_adds_is_said(run, folder):
    assert run(*BUILD, "--out", "book")[0] == 0
    code, _, err = run(*BUILD, "--out", "other", "--evidence", "book.evidence", "--criterion", "regional")
    lines = err.splitlines()
    assert code == 0
    assert lines[0] == "book.evidence has evidence of 3 of 3 pictures; to be added: regional of 3 pictures"
    assert lines[1].startswith("rounding in float32 moves words by up to (nats): regional ")
    assert lines[2].endswith("for 2 more pictures")
    assert len(lines) == 3


def test_a_build_that_is_stopped_loses_no_picture_that_is_done(run, folder, monkeypatch):
    assert run(*BUILD, "--out", "whole")[0] == 0
    measure, done = examining.measure_experiments, []

    def stopped(*given):
        done.append(1)
        if len(done) == 3:
            raise KeyboardInterrupt
        return measure(*given)

    with monkeypatch.context() as patch:
        patch.setattr(examining, "measure_experiments", stopped)
        code, _, err = run(*BUILD, "--out", "book")
    assert (code, err.count("evidence of")) == (130, 0)
    assert "tokens a second: at most" in err
    code, _, err = run(*BUILD, "--out", "book")
    assert (code, len(done)) == (0, 3)
    assert err == "book.evidence has evidence of 2 of 3 pictures; to be added: tokens, probe-0 of 1 picture\n"
    assert files(Path("book.evidence")) == files(Path("whole.evidence"))
    assert files(Path("book")) == files(Path("whole"))


def test_survivors_make_the_same_book(run, folder):
    small = ("--largest", "30", "--min-images", "0")
    for out, kept in (("a", "all"), ("b", "survivors")):
        assert run(*BUILD[:3], "--out", out, *small, "--keep-embeddings", kept)[0] == 0
    assert files(Path("a")) == files(Path("b"))


def test_what_is_kept_of_embeddings_is_as_it_was_begun_or_refused(run, folder, monkeypatch):
    survivors = ("--keep-embeddings", "survivors", "--largest", "30")
    assert run(*BUILD, "--out", "all")[0] == 0
    assert run(*BUILD, "--out", "few", *survivors)[0] == 0
    monkeypatch.setattr(examining, "measure_experiments", lambda *given: pytest.fail("examined"))
    code, _, err = run(*BUILD, "--out", "other", "--evidence", "all.evidence", *survivors)
    assert (code, err) == (
        0,
        "the evidence keeps the embeddings of all tokens already, and not of survivors only\n",
    )
    code, _, err = run(*BUILD, "--out", "other", "--evidence", "few.evidence", *survivors, "--largest", "20")
    assert "no prototype is left" in err or code == 0
    refusals = {
        "--keep-embeddings (only_survivors) was survivors, is all": (*BUILD, "--criterion", "regional"),
        "survivors.largest was 30, is 144": (*BUILD, *survivors[:2]),
    }
    calibration = ("codebook", "calibrate", "--images", "photos", "--questions", "20", "--min-images", "0")
    refusals["--keep-embeddings (only_survivors) was survivors, is all)"] = calibration
    for problem, command in refusals.items():
        code, _, err = run(*command, "--out", "another", "--evidence", "few.evidence")
        assert (code, problem in err) == (2, True), err


def test_an_approximate_divergence_is_told_wherever_it_is_read(run, folder, monkeypatch):
    assert run(*BUILD, "--out", "book", "--global", "approximate", "--criterion", "both_halves")[0] == 0
    assert "global divergence  approximate, with a rank corr" in run("codebook", "info", "book")[1]
    monkeypatch.setattr(examining, "measure_experiments", lambda *given: pytest.fail("examined"))
    code, out, err = run("analyze", "--images", "photos", "--out", "states", "--evidence", "book.evidence")
    assert code == 0
    assert "the global divergence in book.evidence is approximate, with a rank correlation" in err
    assert "with global divergence (approximate)" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (*BUILD, "--out", "out", "--part", "1"),
            "--part 1: expected its number and how many there are, from 0/4 to 3/4",
        ),
        (
            (*BUILD, "--out", "out", "--part", "2/2"),
            "--part 2/2: expected its number and how many there are, from 0/4 to 3/4",
        ),
        (("evidence", "merge", "photos", "--out", "out"), "no evidence in photos: manifest.json is missing"),
        (("evidence", "merge", "photos", "--out", "photos/0.png"), "cannot write photos/0.png"),
    ],
)
def test_a_misuse_is_one_line_and_leaves_nothing_behind(run, folder, arguments, message):
    before = files(folder)
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert files(folder) == before
