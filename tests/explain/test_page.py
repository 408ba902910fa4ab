"""The page as a file, the command that writes it, and what the command refuses in one sentence."""

import base64
import errno
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wordsight.explain import page as page_module
from wordsight.explain import record as record_module
from wordsight.explain.page import SCRIPTS, WEB, render_page
from wordsight.explain.panels import BYTES, SIDE, panels, pictures
from wordsight.media.inputs import MediaInput
from wordsight.media.video import Video
from wordsight.models.tokens import VisualTokens
from wordsight.redundancy.codebook import Codebook
from wordsight.reports.palette import css
from wordsight.synthetic.scenes import render

EVIL = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>&amp;\u2028"
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder: a picture, things that are none, and a book of another model."""
    monkeypatch.chdir(tmp_path)
    image = render(1).image
    image.save("good.png")
    Path("text.png").write_text("not a picture")
    Path("file").write_text("in the way")
    for name, width, fingerprint in (("narrow", 16, None), ("foreign", 32, "f00d")):
        config = {"format": 1, "model": "made-up", "fingerprint": fingerprint}
        Codebook(torch.randn(4, width), config).save_pretrained(name)
    return tmp_path


@pytest.fixture
def quick(monkeypatch):
    """No experiments: what is tested is what comes before and after them."""
    record = {"panels": [{"frame": 0}], "tokens": {"cell": [[0, 0, 0, 0]]}}
    monkeypatch.setattr(record_module, "explain_tokens", lambda vlm, media, request: record)


class Elements(HTMLParser):
    """The elements of a page, what they would load, and what its scripts hold."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loaded, self.scripts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loaded += [value for name, value in attributes if name in ("src", "href", "srcset", "action")]
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, text):
        if self.scripts and self.lasttag == "script":
            self.scripts[-1] += text


def test_words_of_a_model_stay_in_their_script(folder):
    record = {"panels": [{"title": EVIL}], "words": [EVIL], "answer": EVIL}
    found = Elements(render_page(record, [PIXEL]))
    embedded, script = found.scripts
    assert json.loads(embedded) == {**record, "panels": [{"title": EVIL, "picture": PIXEL}]}
    assert script.strip().startswith('"use strict"')
    assert "img" not in found.tags


def test_the_page_is_one_file_that_asks_nothing_of_anybody():
    text = render_page({"panels": []}, [])
    assert Elements(text).loaded == []
    code = re.sub(r"(^|\s)//.*$", "", text, flags=re.MULTILINE)
    assert not re.findall(
        r"https?:|//|@import|url\(|fetch\(|XMLHttp|WebSocket|import\(|eval\(|innerHTML", code
    )
    assert "default-src 'none'; img-src data:;" in text
    assert css() in text
    for name in ("style.css", *SCRIPTS):
        assert (WEB / name).read_text("utf-8") in text
    assert {path.name for path in WEB.iterdir()} == {"page.html", "style.css", *SCRIPTS}


def opened(url):
    kind, _, data = url.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_a_large_picture_is_made_small_enough_for_a_page():
    (url,) = pictures(MediaInput(pictures=(noise(3000, 2000),)), [{"frame": 0}])
    assert opened(url).size == (SIDE, round(SIDE * 2 / 3))
    assert len(url) < 1.4 * BYTES


def test_a_small_picture_keeps_its_size_and_its_colors(picture):
    (url,) = pictures(MediaInput(pictures=(picture,)), [{"frame": 0}])
    assert opened(url).size == picture.size
    assert np.abs(np.asarray(opened(url), int) - np.asarray(picture, int)).mean() < 4


def test_all_pictures_of_a_page_share_its_room():
    media = MediaInput(pictures=tuple(noise(1500, 1500, seed) for seed in range(4)))
    urls = pictures(media, [{"frame": i} for i in range(4)])
    assert [opened(url).size for url in urls] == [(SIDE // 2, SIDE // 2)] * 4
    assert sum(map(len, urls)) < 1.4 * BYTES


def test_a_thin_picture_is_left_with_a_pixel():
    (url,) = pictures(MediaInput(pictures=(noise(20_000, 1),)), [{"frame": 0}])
    assert opened(url).size == (SIDE, 1)


def grid(image, count=2):
    """The tokens of `image` frames of 2x2."""
    cells = [[i, 0, y, x] for i in range(image) for y in range(count) for x in range(count)]
    cell = torch.tensor(cells)
    box = torch.stack([cell[:, 3], cell[:, 2], cell[:, 3] + 1, cell[:, 2] + 1], 1) / count
    return VisualTokens(torch.zeros(len(cell), 3), torch.arange(len(cell)), cell, box=box)


def test_frames_that_share_their_tokens_are_one_panel():
    films = [Video.of([noise(8, 8, i) for i in range(count)], fps=2) for count in (5, 2)]
    found = panels(MediaInput(videos=tuple(films)), grid(4), ["a.mp4", "b.mp4"])
    assert [(panel["title"], panel["frame"]) for panel in found] == [
        ("a.mp4, frame 1 and 2, 0.0 s", 0),
        ("a.mp4, frame 3 and 4, 1.0 s", 2),
        ("a.mp4, frame 5, 2.0 s", 4),
        ("b.mp4, frame 1 and 2, 0.0 s", 5),
    ]


def test_tokens_in_padding_stretch_the_panel():
    tokens = grid(1)
    tokens.box[0, 0], tokens.box[3, 3] = -0.25, 1.5
    (panel,) = panels(MediaInput(pictures=(noise(8, 4),)), tokens, ["a.png"])
    assert panel["extent"] == [-0.25, 0, 1, 1.5]
    assert (panel["width"], panel["height"]) == (8, 4)


def test_the_command_writes_a_page_and_prints_its_record(run, folder):
    code, out, talk = run(
        "explain", "good.png", "--out", "pages/page.html", "--question", "what is it?",
        "--model", "other", "--pruner", "uniform", "--pruner", "none",
        "--keep", "0.5", "--keep", "0.1", "--json",
    )  # fmt: skip
    assert code == 0
    record = json.loads(out)
    assert (record["question"], [row["keep"] for row in record["agreement"]]) == ("what is it?", [0.1, 0.5])
    assert [method["name"] for method in record["methods"]] == ["uniform"]
    text = Path("pages/page.html").read_text("utf-8")
    embedded = json.loads(Elements(text).scripts[0])
    assert opened(embedded["panels"][0].pop("picture")).size == (192, 192)
    assert embedded == record
    assert len(text) < 3_000_000
    assert talk == "", "progress is for terminals"


def test_a_book_given_is_the_book_of_pruners_that_name_none(run, folder, monkeypatch):
    requests = []
    monkeypatch.setattr(
        record_module, "explain_tokens", lambda vlm, media, request: requests.append(request) or 1 / 0
    )
    pruner = ("--pruner", "codebook", "--pruner", "codebook_mmr:codebook=foreign", "--pruner", "uniform")
    with pytest.raises(ZeroDivisionError):
        run("explain", "good.png", "--out", "page.html", "--codebook", "narrow", *pruner)
    one, other, _ = requests[0].pruners
    assert (requests[0].book, one.codebook, other.codebook) == ("narrow", "narrow", "foreign")


def test_several_pictures_are_numbered(run, folder, monkeypatch):
    requests = []
    monkeypatch.setattr(
        record_module, "explain_tokens", lambda vlm, media, request: requests.append(request) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        run("explain", "good.png", "good.png", "--out", "page.html", "--model", "other")
    assert (requests[0].names, requests[0].book) == (["1. good.png", "2. good.png"], None)


EXPLAIN = ("explain", "good.png", "--out", "page.html")
MISUSES = [
    (("explain", "good.png"), "out"),
    (("explain", "--out", "page.html"), "PICTURE"),
    (("explain", "nowhere.png", *EXPLAIN[2:]), "no such picture or video: nowhere.png"),
    (("explain", "text.png", *EXPLAIN[2:]), "text.png is no picture"),
    (("explain", "good.png", "--out", "file/page.html"), "cannot write file/page.html"),
    (("explain", "good.png", "--out", "narrow"), "cannot write narrow: it is a folder"),
    ((*EXPLAIN, "--keep", "2"), r"keep must be a share of the tokens in \(0, 1\], got 2"),
    ((*EXPLAIN, "--pruner", "divprun"), "unknown pruner 'divprun': did you mean 'divprune'"),
    ((*EXPLAIN, "--pruner", "uniform", "--pruner", "uniform"), "duplicate pruner uniform"),
    ((*EXPLAIN, "--codebook", "nowhere"), "no codebook in nowhere"),
    ((*EXPLAIN, "--codebook", "narrow"), "codebook is for D=16 .* this model has D=32"),
    ((*EXPLAIN, "--codebook", "foreign"), r"built for made-up \(fingerprint f00d\)"),
    ((*EXPLAIN, "--codebook", "narrow", "--pruner", "uniform"), "codebook is for D=16"),
    ((*EXPLAIN, "--frames", "3"), "frames and fps are for videos, and what was given is none"),
]


@pytest.mark.parametrize(("arguments", "sentence"), MISUSES, ids=lambda value: " ".join(value[-2:])[:40])
def test_misuse_is_one_sentence_and_nothing_is_written(run, folder, arguments, sentence):
    before = sorted(folder.rglob("*"))
    code, out, err = run(*arguments)
    errors = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert (code, out, len(errors)) == (2, "", 1)
    assert re.search(sentence, errors[0])
    assert sorted(folder.rglob("*")) == before


def test_an_enormous_picture_is_one_sentence(run, folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    code, out, err = run(*EXPLAIN)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search("good.png is enormous .*make it smaller", err)


def test_a_full_disk_is_one_sentence_and_leaves_the_old_page(run, folder, quick, monkeypatch):
    def full(path, *_):
        Path(path).open("w").close()
        raise OSError(errno.ENOSPC, "No space left on device")

    Path("page.html").write_bytes(b"old")
    monkeypatch.setattr(page_module, "render_page", lambda record, pictures: "new")
    monkeypatch.setattr(Path, "write_text", full)
    code, out, err = run(*EXPLAIN)
    assert (code, out, err.count("\n")) == (1, "", 2)
    assert "cannot write page.html: No space left on device; make room" in err
    assert Path("page.html").read_bytes() == b"old"
    assert not list(folder.glob(".wordsight*"))


def test_where_the_page_goes_is_checked_before_the_model_is_loaded(run, folder, monkeypatch):
    monkeypatch.setattr("wordsight.cli.explain.load_vlm", lambda name, options: 1 / 0)
    assert run("explain", "good.png", "--out", "file/page.html")[0] == 2
    with pytest.raises(ZeroDivisionError):
        run(*EXPLAIN)
