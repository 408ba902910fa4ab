"""`wordsight ask` about several pictures, videos and in turns, and `wordsight info`."""

import json
import re

import av
import numpy as np
import pytest

from wordsight.pruners import names
from wordsight.synthetic.scenes import render

QUESTION, NEXT = "what is it?", "is there a cat?"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder: two pictures and a film of three frames."""
    monkeypatch.chdir(tmp_path)
    for number in (1, 2):
        render(number).image.save(f"{number}.png")
    with av.open("film.mp4", "w") as film:
        stream = film.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 192
        stream.pix_fmt = "yuv420p"
        for number in range(3):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(render(number).image))))
        film.mux(stream.encode())
    return tmp_path


def asked(run, *arguments):
    code, out, err = run("ask", *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_question_may_be_about_several_pictures(run, tiny):
    answer = tiny.answer([render(1).image, render(2).image], QUESTION)
    record = asked(run, "1.png", "2.png", QUESTION)
    assert record["answer"] == answer.text
    assert record["tokens_total"] == 288


@pytest.mark.parametrize(("options", "frames"), [((), 3), (("--frames", "2"), 2), (("--fps", "12.5"), 2)])
def test_a_question_may_be_about_a_video(run, options, frames):
    record = asked(run, "film.mp4", QUESTION, *options, "--pruner", "uniform", "--keep", "0.5")
    assert record["tokens_total"] == 144 * frames
    assert record["tokens_kept"] == 72 * frames


def test_questions_that_follow_are_turns(run, tiny):
    chat = tiny.chat(render(1).image)
    said = [chat.ask(text).text for text in (QUESTION, NEXT, QUESTION)]
    record = asked(run, "1.png", QUESTION, "--then", NEXT, "--then", QUESTION)
    assert [record["answer"], *(later["answer"] for later in record["then"])] == said
    out = run("ask", "1.png", QUESTION, "--then", NEXT, "--then", QUESTION)[1]
    assert out.splitlines() == "\n".join(said).splitlines()


def test_info_says_what_a_model_is_given(run):
    code, out, _ = run("info", "tiny", "--size", "300x200", "--json")
    record = json.loads(out)
    assert code == 0
    assert record["family"] == "llava"
    assert record["picture"] == [300, 200]
    assert record["visual_tokens"] == 144
    assert record["grids"] == [{"crop": 0, "rows": 12, "columns": 12}]
    assert "<image>" in record["prompt"]
    assert "QUESTION" in record["prompt"]
    assert list(record["pruners"]) == names()
    assert record["pruners"]["divprune"] is None
    assert "32" in record["pruners"]["codebook"]


def test_info_is_lines_to_read(run):
    code, out, _ = run("info", "tiny")
    assert code == 0
    assert "visual tokens" in out
    assert "12x12" in out
    assert re.search(r"^several pictures +works$", out, re.M)


@pytest.mark.parametrize("size", ["300", "0x4", "ax4", "4x", "-3x4"])
def test_info_refuses_what_is_no_size(run, size):
    code, out, err = run("info", "tiny", f"--size={size}")
    assert (code, out) == (2, "")
    assert "WIDTHxHEIGHT" in err


@pytest.mark.parametrize(("name", "content"), [("cut.mp4", 300), ("empty.mp4", 0), ("none.webm", None)])
def test_a_video_that_cannot_be_read_is_a_misuse(run, folder, name, content):
    if content is not None:
        (folder / name).write_bytes((folder / "film.mp4").read_bytes()[:content])
    code, out, err = run("ask", name, QUESTION)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert name in err
    assert err.count("\n") == 1
