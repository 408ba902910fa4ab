"""wordsight analyze: its record, its files, that it goes on, and what it refuses."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from wordsight import cli
from wordsight.analysis import dropping
from wordsight.redundancy import examining
from wordsight.redundancy.collecting import collect_evidence
from wordsight.reports.folder import ANALYSIS_FILES
from wordsight.synthetic.scenes import render

NOISE = r"rounding in float32 .* counts as no change\n\d+ tokens a second: at most .* for \d more pictures?\n"
FEW = "analyze: 2 pictures; what is found on fewer than 20 is not to be believed\n"
ANALYZE = ("analyze", "--images", "photos", "--out", "out")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two photos, a folder of one, and a folder without any."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dropping, "LENGTH", 3)
    for name in ("photos", "one", "empty"):
        Path(name).mkdir()
    for path, seed in (("photos/1.png", 1), ("photos/2.png", 2), ("one/1.png", 1)):
        render(seed).image.save(path)
    Path("file").write_text("a file")
    return tmp_path


def test_tables_and_the_answer_are_shown_and_a_report_is_written(run):
    code, out, err = run(*ANALYZE)
    assert code == 0
    assert re.fullmatch(rf"{FEW}{NOISE}wrote out/analysis.html\n", err)
    shown = " ".join(out.split())
    for part in ("Spearman's rho", "[CLS] similarity", "all 3 orders", "These pictures do not show whether"):
        assert part in shown
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(ANALYSIS_FILES)
    assert Path("out.evidence/manifest.json").is_file()


def test_json_is_the_record_that_is_written(run, tiny):
    code, out, _ = run(*ANALYZE, "--json", "--question", "what is the background?", "--sure", "0.1")
    record = json.loads(out)
    assert code == 0
    assert record == json.loads(Path("out/analysis.json").read_text())
    assert (record["question"], record["sure"]) == ("what is the background?", 0.1)
    assert record["environment"]["fingerprint"] == tiny.fingerprint


def test_evidence_of_a_codebook_serves_again_and_a_report_takes_its_own_place(run, tiny, monkeypatch):
    collect_evidence(tiny, sorted(Path("photos").iterdir()), "book.evidence")
    monkeypatch.setattr(examining, "measure_experiments", lambda *given: pytest.fail("examined again"))
    for _ in range(2):
        assert run(*ANALYZE, "--evidence", "book.evidence")[0] == 0
    assert not Path("out.evidence").exists()


def test_a_run_that_was_stopped_goes_on(run, monkeypatch):
    def stop(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("wordsight.analysis.picture_states.effects", stop)
        code, out, err = run(*ANALYZE)
    assert (code, out, err.count("\n")) == (130, "", 4)
    assert not Path("out").exists()
    monkeypatch.setattr(examining, "measure_experiments", lambda *given: pytest.fail("examined again"))
    assert run(*ANALYZE)[0] == 0


def test_a_picture_that_cannot_be_read_is_skipped_and_named(run):
    Path("photos/0.png").write_text("no picture")
    code, out, err = run(*ANALYZE, "--json")
    assert code == 0
    assert re.match(rf"{FEW}{NOISE}skipped photos/0.png: no picture that can be read", err)
    record = json.loads(out)
    assert record["pictures"] == ["1.png", "2.png"]
    assert list(record["skipped"]) == ["photos/0.png"]
    assert "photos/0.png" in Path("out/analysis.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--images", "nowhere", "--out", "out"), "no such folder: nowhere"),
        (("--images", "empty", "--out", "out"), "no pictures in empty"),
        (("--images", "one", "--out", "out"), "expected at least two different pictures that can be read"),
        ((*ANALYZE[1:], "--limit", "1"), "expected at least two different pictures that can be read"),
        ((*ANALYZE[1:], "--limit", "0"), "limit"),
        ((*ANALYZE[1:], "--sure", "0"), "sure must be a probability in (0, 1], got 0"),
        ((*ANALYZE[1:], "--sure", "1.5"), "sure must be a probability in (0, 1], got 1.5"),
        ((*ANALYZE[1:], "--sure", "nan"), "sure must be a probability in (0, 1], got nan"),
        ((*ANALYZE[1:], "--sure", "very"), "sure"),
        (("--images", "photos", "--out", "one"), "one: it holds 1.png, which would be gone"),
        (("--images", "photos", "--out", "file"), "cannot write file: it is a file"),
        (("--images", "photos", "--out", "file/out"), "cannot write file/out"),
        (("--images", "photos", "--out", "photos/out"), "it is in photos, which is used too"),
        (
            (*ANALYZE[1:], "--evidence", "out/found"),
            "cannot write out: out/found, which is used too, is in it",
        ),
        ((*ANALYZE[1:], "--evidence", "file/found"), "cannot write file/found"),
        (("--images", "photos"), "out"),
    ],
)
def test_a_misuse_is_told_in_one_sentence_and_leaves_nothing_behind(run, folder, arguments, told):
    before = sorted(folder.rglob("*"))
    code, out, err = run("analyze", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert told in err
    assert sorted(folder.rglob("*")) == before


def test_a_model_without_any_order_is_a_misuse(run, folder, tiny, monkeypatch):
    tower = replace(tiny.family.tower(tiny.model), has_cls=False)
    monkeypatch.setattr(type(tiny.family), "tower", lambda self, model: tower)
    monkeypatch.setattr(type(tiny.family), "signals", lambda self, model: tower.signals)
    deaf = SimpleNamespace(self_attn=SimpleNamespace(config=tiny.model.config.text_config))
    monkeypatch.setattr("wordsight.models.text_attention.attention_layers", lambda vlm: [deaf])
    code, out, err = run(*ANALYZE)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "tiny has no intermediate state to order tokens by" in err
    assert not Path("out.evidence").exists()


def test_a_folder_of_no_pictures_is_told_before_the_model_is_loaded(run, monkeypatch):
    monkeypatch.setattr(cli.analyze, "load_vlm", lambda name, options: pytest.fail("the model was loaded"))
    assert run("analyze", "--images", "nowhere", "--out", "out")[0] == 2
