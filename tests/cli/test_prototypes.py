"""wordsight codebook compact and explain: their records, their files, and what they refuse."""

import json
from pathlib import Path

import pytest
import torch

from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.probe import QUESTION
from wordsight.synthetic.scenes import render


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny):
    """Two photos, a book of their tokens, and one of another model."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for seed in (1, 2):
        render(seed).image.save(f"photos/{seed}.png")
    embeds = tiny.encode("photos/1.png", QUESTION).visual.embeds[::6]
    for name, fingerprint in (("book", tiny.fingerprint), ("foreign", "f00d")):
        config = {"format": 1, "model": "made-up", "fingerprint": fingerprint}
        Codebook(torch.cat([embeds, embeds[:3]]), config).save_pretrained(name)
    return tmp_path


COMPACT = ("codebook", "compact", "book", "--out", "small")


def test_compact_writes_a_book_without_repetitions(run):
    code, out, err = run(*COMPACT, "--similarity", "1")
    assert (code, err) == (0, "24 of 27 prototypes in small\n")
    assert len(Codebook.from_pretrained("small").prototypes) == 24
    assert "24 of 27 prototypes stay" in out
    assert "Give --images" in out


def test_compact_as_json_tells_what_changed_on_pictures(run):
    code, out, _ = run(*COMPACT, "--similarity", "0.7", "--images", "photos", "--json")
    record = json.loads(out)
    assert code == 0
    assert record["prototypes"]["after"] == len(Codebook.from_pretrained("small").prototypes) < 27
    assert record["on_pictures"]["tokens"] == 288
    assert 0 < record["on_pictures"]["redundancy"]["largest_fall"] <= record["largest_fall_possible"]


def test_compact_shows_the_share_kept_by_both(run):
    code, out, _ = run(*COMPACT, "--images", "photos", "--limit", "1")
    assert code == 0
    assert [part in out for part in ("kept by both", "144 tokens of 1 pictures", "20%")] == [True] * 3


def test_compact_names_pictures_that_cannot_be_read(run):
    Path("photos/bad.png").write_text("no picture")
    code, _, err = run(*COMPACT, "--images", "photos")
    assert code == 0
    assert "set aside photos/bad.png" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere", "--out", "small"), "no codebook in nowhere"),
        (("book", "--out", "photos"), "which is not of a codebook"),
        (("book", "--out", "photos/../book"), "--out is book itself"),
        (("book", "--out", "small", "--similarity", "1.5"), "similarity must be a cosine in (0, 1]"),
        (("book", "--out", "small", "--images", "nowhere"), "no such folder: nowhere"),
        (("foreign", "--out", "small", "--images", "photos"), "prototypes mean nothing in another model"),
    ],
)
def test_compact_refuses_in_one_sentence_and_writes_nothing(run, folder, arguments, told):
    before = sorted(folder.rglob("*"))
    code, out, err = run("codebook", "compact", *arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert sorted(folder.rglob("*")) == before
