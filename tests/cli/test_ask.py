"""`wordsight ask` about several pictures, videos and in turns, and `wordsight info`."""

import base64
import io
import json
import re
import sys

import av
import numpy as np
import pytest
from PIL import Image

from wordsight.cli.common import make_pruner
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


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", QUESTION),
        ("probe",),
        ("explain", "--out", "page.html", "--pruner", "uniform", "--model", "tiny"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_was_assumed_of_a_picture_is_one_line_on_stderr(run, folder, arguments):
    levels = np.asarray(render(1).image.convert("L"), np.uint16) * 16
    Image.fromarray(levels).save("scan.png")
    command, *options = arguments
    code, out, err = run(command, "scan.png", *options, "--json")
    assert code == 0, err
    record = json.loads(out)
    lines = [line for line in err.splitlines() if "4095 is taken as white" in line]
    assert len(lines) == 1
    assert lines[0].startswith("scan.png: its values reach ")
    if command == "explain":
        assert record["notes"] == lines


@pytest.mark.parametrize("name", ["1.png", "film.mp4"])
def test_a_dash_is_what_comes_in(run, folder, monkeypatch, name):
    expected = asked(run, name, QUESTION)
    content = (folder / name).read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    found = asked(run, "-", QUESTION)
    assert (found["answer"], found["tokens_total"]) == (expected["answer"], expected["tokens_total"])


def test_an_animated_gif_is_a_video(run, folder):
    render(1).image.save("moving.gif", save_all=True, append_images=[render(2).image])
    assert asked(run, "moving.gif", QUESTION)["tokens_total"] == 288
    assert asked(run, "moving.gif", QUESTION, "--frames", "1")["tokens_total"] == 144


@pytest.mark.parametrize("rate", ["inf", "nan", "0", "-1", "1e300"])
def test_a_rate_that_is_none_is_refused_before_the_film_is_opened(run, folder, rate):
    for command in (("ask", "film.mp4", QUESTION), ("explain", "film.mp4", "--out", "page.html")):
        code, out, err = run(*command, f"--fps={rate}")
        assert (code, out) == (2, "")
        assert err.startswith("error: fps must be a number in (0, 1000]")
        assert err.count("\n") == 1


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


def test_info_asks_tokens_of_pictures_spread_over_a_folder(run, folder):
    (folder / "photos").mkdir()
    for number in range(6):
        render(number).image.save(folder / "photos" / f"{number}.png")
    (folder / "photos" / "2.png").write_bytes(b"no picture")
    code, out, err = run("info", "tiny", "--images", "photos", "--pictures", "3", "--json")
    silence = json.loads(out)["silence"]
    assert (code, silence["tokens"], silence["pictures"]) == (0, 2 * 64, 2)  # of 0, 2 and 4
    assert err.startswith("skipped photos/2.png: ")


def test_info_without_pictures_asks_no_token(run):
    assert json.loads(run("info", "tiny", "--json")[1])["silence"] is None
    assert "--images FOLDER" in run("info", "tiny")[1]


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


def test_messages_of_a_file_are_answered(run, folder):
    content = [{"type": "image", "path": "1.png"}, {"type": "text", "text": QUESTION}]
    (folder / "chat.json").write_text(json.dumps([{"role": "user", "content": content}]))
    mine, theirs = asked(run, "--messages", "chat.json"), asked(run, "1.png", QUESTION)
    assert (mine["question"], mine["answer"]) == (QUESTION, theirs["answer"])


def test_paths_of_messages_count_from_the_folder_of_their_file(run, folder, tmp_path_factory, monkeypatch):
    content = [{"type": "image", "path": "1.png"}, {"type": "text", "text": QUESTION}]
    (folder / "chat.json").write_text(json.dumps([{"role": "user", "content": content}]))
    theirs = asked(run, "1.png", QUESTION)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    mine = asked(run, "--messages", str(folder / "chat.json"))
    assert mine["answer"] == theirs["answer"]
    assert mine["media"] == [str(folder / "1.png")]


def test_the_record_has_what_was_shown_and_said_before(run, folder):
    record = asked(run, "1.png", "2.png", QUESTION, "--then", NEXT)
    assert (record["media"], record["earlier"]) == (["1.png", "2.png"], [])
    data = base64.b64encode((folder / "2.png").read_bytes()).decode()
    content = [{"type": "image", "path": "1.png"}, {"type": "image", "base64": data}]
    messages = [
        {"role": "user", "content": [*content, {"type": "text", "text": NEXT}]},
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": QUESTION},
    ]
    (folder / "chat.json").write_text(json.dumps(messages))
    record = asked(run, "--messages", "chat.json")
    assert record["media"] == ["1.png", ""]
    assert record["earlier"] == [{"role": "user", "text": NEXT}, {"role": "assistant", "text": "no"}]


@pytest.mark.parametrize("given", [(), ("1.png", "what?", "--messages", "chat.json")])
def test_media_or_messages_are_needed_and_not_both(run, folder, given):
    code, _, err = run("ask", *given)
    assert (code, "or --messages FILE" in err) == (2, True)


def test_a_file_that_is_no_json_is_a_misuse(run, folder):
    (folder / "chat.json").write_text("what?")
    code, _, err = run("ask", "--messages", "chat.json")
    assert (code, "expected messages" in err) == (2, True)


def test_a_threshold_that_decides_in_place_of_the_budget_is_told(capsys):
    pruner = make_pruner("codebook:threshold=0.5", keep=0.1)
    assert (pruner.threshold, pruner.keep) == (0.5, 0.1)
    assert capsys.readouterr().err == (
        "note: --keep 0.1 is not used: codebook:threshold=0.5 keeps what its threshold of 0.5 leaves\n"
    )
    make_pruner("prumerge:adaptive=true", tokens=9)
    assert capsys.readouterr().err == (
        "note: --tokens 9 is not used: prumerge:adaptive=true keeps as many as a picture has outliers\n"
    )
    for spec in ("codebook", "prumerge"):
        make_pruner(spec, keep=0.1)
        assert capsys.readouterr().err == ""
