"""wordsight codebook compact, inspect and info: their records, their files, and what they refuse."""

import json
import re
from pathlib import Path

import pytest
import torch

from wordsight.redundancy.book_info import info_lines
from wordsight.redundancy.codebook import Codebook, import_released
from wordsight.redundancy.criteria import PAPER, Condition, criterion
from wordsight.redundancy.probe import QUESTION
from wordsight.reports.folder import BOOK_FILES
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
        config = {"format": 2, "model": "made-up", "fingerprint": fingerprint}
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
    assert [part in out for part in ("kept by both", "144 tokens of 1 picture ", "20%")] == [True] * 3


def test_compact_names_pictures_that_cannot_be_read(run):
    Path("photos/bad.png").write_text("no picture")
    code, _, err = run(*COMPACT, "--images", "photos")
    assert code == 0
    assert "skipped photos/bad.png" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere", "--out", "small"), "no codebook in nowhere"),
        (("book", "--out", "photos"), "it holds 1.png, which would be gone"),
        (("book", "--out", "photos/../book"), "the same command uses book"),
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


INSPECT = ("codebook", "inspect", "book", "--images", "photos", "--out", "out")


def test_inspect_shows_clusters_and_writes_a_report(run):
    code, out, err = run(*INSPECT)
    assert (code, err) == (0, "wrote out/book.html\n")
    assert "27 prototypes for made-up" in out
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(BOOK_FILES)
    page = Path("out/book.html").read_text()
    assert not re.search(r"(src|href|srcset)=\"(?!data:)", page)
    assert page.count('class="patch"') > 27  # of every prototype, and of clusters
    assert "wordsight codebook inspect" in page


def test_inspect_as_json_is_the_record_that_is_written(run, tiny):
    Path("photos/bad.png").write_text("no picture")
    code, out, err = run(*INSPECT, "--keep", "0.5", "--sure", "0.1", "--json")
    record = json.loads(out)
    assert (code, err.count("photos/bad.png")) == (0, 1)
    assert record == json.loads(Path("out/book.json").read_text())
    assert (record["pictures"], list(record["skipped"])) == (["1.png", "2.png"], ["photos/bad.png"])
    assert (record["keep"], record["says"]["sure"], record["dropped"]) == (0.5, 0.1, 144)
    assert record["environment"]["fingerprint"] == tiny.fingerprint


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere", *INSPECT[3:]), "no codebook in nowhere"),
        (("foreign", *INSPECT[3:]), "prototypes mean nothing in another model"),
        (("book", "--images", "nowhere", "--out", "out"), "no such folder: nowhere"),
        (("book", "--images", "photos", "--out", "photos"), "it holds 1.png, which would be gone"),
        ((*INSPECT[2:], "--sure", "1.5"), "sure must be a probability in (0, 1], got 1.5"),
        ((*INSPECT[2:], "--keep", "7"), "keep must be a share of the tokens in (0, 1], got 7"),
    ],
)
def test_inspect_refuses_in_one_sentence_and_writes_nothing(run, folder, arguments, told):
    before = sorted(folder.rglob("*"))
    code, out, err = run("codebook", "inspect", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert told in err
    assert sorted(folder.rglob("*")) == before


def test_info_tells_in_words_how_a_book_was_built(run):
    code, out, _ = run("codebook", "info", "demo")
    lines = out.splitlines()
    assert code == 0
    assert lines[:3] == [
        "model         demo",
        "fingerprint   2ea502a2db094e47",
        "prototypes    383 of width 256",
    ]
    assert "redundant if  divergence from the blind answer below 0.01156, the 0.3 quantile" in lines
    assert len({line[13] for line in lines}) == 1  # aligned


def test_info_as_json_is_the_config_with_the_shape(run):
    record = json.loads(run("codebook", "info", "book", "--json")[1])
    config = Codebook.from_pretrained("book").config
    assert record == {"prototypes": 27, "width": 32, **config}


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (Condition(), "confidence below the 0.5 quantile and regional + 16 x global divergence "),
        (
            PAPER,
            "confidence below 0.15 and regional + 16 x global divergence (the measure of the authors' code)",
        ),
        (criterion("certainty").at(0.3), "certainty below the 0.3 quantile"),
        (criterion("global"), "16 x global divergence (Jensen-Shannon) below the 0.5 quantile"),
        (Condition(confidence=None, divergence=None), "always"),
    ],
)
def test_info_tells_every_condition_in_words(condition, words):
    info = {"prototypes": 1, "width": 4, "format": 2, "model": "made-up", "fingerprint": None}
    *_, last = info_lines({**info, "condition": condition.as_json()})
    assert last.startswith(f"redundant if  {words}")


def test_info_tells_where_an_imported_and_compacted_book_comes_from(run, folder):
    torch.save(torch.cat([torch.eye(4), torch.eye(4)]), "released.pt")
    import_released("released.pt", "llava").compact(0.9).save_pretrained("small")
    lines = run("codebook", "info", "small")[1].splitlines()
    assert lines == [
        "model          llava",
        "fingerprint    unknown: any model of this width is accepted",
        "prototypes     4 of width 4",
        "imported from  released.pt",
        "compacted      from 8 prototypes; one stays of those at a cosine of 0.9 or more",
    ]
