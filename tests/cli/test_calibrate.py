"""wordsight codebook calibrate: its record, its tables, and the book it writes only if one pays."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from wordsight.cli import codebook
from wordsight.evaluation import calibration as calibrate
from wordsight.media.images import find_pictures
from wordsight.models.vlm import VLM
from wordsight.redundancy import examining
from wordsight.redundancy.build import Clustering
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.collecting import collect_evidence
from wordsight.redundancy.criteria import CRITERIA
from wordsight.redundancy.evidence import Evidence
from wordsight.synthetic.scenes import render
from wordsight.tasks.scenes import Scenes

CALIBRATE = (
    *("codebook", "calibrate", "--images", "photos", "--out", "out", "--questions", "20"),
    *("--largest", "144", "--min-images", "0"),
)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """One criterion and one keep."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "CRITERIA", {"certainty": CRITERIA["certainty"]})
        patch.setattr(calibrate, "KEEPS", (0.1,))
        yield


@pytest.fixture(scope="module")
def collected(tiny, tmp_path_factory):
    """A folder with two photos, their evidence in out.evidence."""
    root = tmp_path_factory.mktemp("collected")
    (root / "photos").mkdir()
    for seed in (1, 2):
        render(seed).image.save(root / "photos" / f"{seed}.png")
    collect_evidence(tiny, find_pictures(root / "photos"), root / "out.evidence")
    return root


@pytest.fixture(scope="module")
def calibration(tiny, collected):
    found = Evidence.load(collected / "out.evidence")
    clustering = Clustering(largest=144, images=0)
    return calibrate.calibrate(tiny, found, Scenes(split="validation"), questions=20, clustering=clustering)


@pytest.fixture
def folder(collected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(collected, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def verdict(calibration, monkeypatch):
    """A function that fixes the verdict beforehand; it returns the calls of the library."""
    calls = []

    def give(pays, beside_diversity=False):
        def calibrated(plan, vlm, found):
            calls.append((plan, found))
            beside = calibration.record["beside_diversity"] | {"pays": beside_diversity}
            record = calibration.record | {"pays": pays, "beside_diversity": beside, "enough_pictures": True}
            return replace(calibration, record=record)

        monkeypatch.setattr(calibrate.CalibrationPlan, "results", calibrated)
        return calls

    return give


def test_calibrate_as_json_tells_the_record_and_writes_a_book_only_if_it_pays(run, folder):
    code, out, err = run(*CALIBRATE, "--json")
    record = json.loads(out)
    assert code == 0
    assert record["format"] == 1
    assert set(record["choosing"]) == {f"certainty q{share}" for share in calibrate.SHARES}
    assert sum(record["questions"].values()) == 20
    assert (folder / "out").exists() == (record["pays"] or record["beside_diversity"]["pays"])
    note, last = err.splitlines(keepends=True)
    assert note == (
        "note: 10 pictures will test the book, and none pays on fewer than 20; more --questions are about "
        "more pictures\n"
    )
    assert last == (
        f"{record['prototypes']} prototypes in out\n"
        if record["pays"]
        else "no codebook written: too few pictures tested the best of these\n"
    )


def test_who_has_asked_about_all_pictures_is_not_told_to_ask_more(run, folder):
    rows = []
    for seed in range(20):
        render(seed).image.save(folder / f"{seed}.png")
        rows.append({"image": f"{seed}.png", "question": "rows?", "answer": "cat"})
    Path("q.json").write_text(json.dumps(rows))
    _, _, err = run(*CALIBRATE, "--task", "q.json")
    assert err.startswith("note: ")
    assert "; give a task about more pictures: of those in its validation split, half test the book" in err
    assert "--questions" not in err


@pytest.mark.parametrize("alone", [True, False])
def test_a_book_that_pays_is_written(run, folder, verdict, alone):
    verdict(pays=alone, beside_diversity=not alone)
    code, out, _ = run(*CALIBRATE, "--json")
    record, book = json.loads(out), Codebook.from_pretrained(folder / "out")
    assert code == 0
    assert len(book.prototypes) == record["prototypes"]
    assert book.config["condition"] == record["settings"]


def test_a_book_that_does_not_pay_is_not_written_and_leaves_the_old_one(run, folder, verdict):
    verdict(pays=True)
    run(*CALIBRATE)
    before = (folder / "out" / "config.json").read_bytes()
    verdict(pays=False)
    code, _, err = run(*CALIBRATE)
    assert code == 0
    assert err.endswith("no codebook written: the best of these does not pay on this model and task\n")
    assert (folder / "out" / "config.json").read_bytes() == before


def test_calibrate_asks_every_token_ones_own_questions(run, folder, verdict):
    calls = verdict(pays=True)
    assert run(*CALIBRATE, "--ask", "is it night?", "--evidence", "own")[0] == 0
    ((plan, found),) = calls
    assert list(plan.asked_alone) == found.manifest["questions"] == ["is it night?"]


@pytest.mark.parametrize(
    ("pays", "told"), [(True, "codebook pays alone"), (False, "codebook does not pay alone, and does not")]
)
def test_the_tables_end_with_the_verdict(run, verdict, pays, told):
    verdict(pays)
    code, out, _ = run(*CALIBRATE)
    assert code == 0
    assert told in " ".join(out.splitlines()[-2:])
    assert "codebooks of random tokens" in out


def test_calibrate_asks_the_validation_split_whatever_it_is_told(run, verdict):
    calls = verdict(pays=False)
    run(*CALIBRATE, "--task", "scenes:split=test,pictures=5")
    ((plan, _),) = calls
    assert (plan.task.split, plan.task.pictures) == ("validation", 5)
    assert plan.questions == 20
    assert (plan.clustering.largest, plan.clustering.images) == (144, 0)


def test_a_calibration_that_was_stopped_asks_only_what_is_left(run, folder, monkeypatch):
    asked, answers = [], VLM.answers

    def counted(vlm, prompts, *options, **given):
        asked.append(len(prompts))
        if len(asked) == stop:
            raise KeyboardInterrupt
        return answers(vlm, prompts, *options, **given)

    monkeypatch.setattr(VLM, "answers", counted)
    stop = 0
    assert run(*CALIBRATE, "--json")[0] == 0
    whole = len(asked)
    assert not (folder / "out.cells").exists()
    stop = whole + 4
    run(*CALIBRATE, "--json")
    assert len(list((folder / "out.cells").iterdir())) == 3
    asked.clear()
    stop = 0
    assert run(*CALIBRATE, "--json")[0] == 0
    assert len(asked) == whole - 3
    assert not (folder / "out.cells").exists()


def test_what_is_finished_is_kept_where_nobody_reads_the_record(run, folder, verdict, monkeypatch):
    verdict(pays=False)
    (folder / "out.cells").mkdir()
    (folder / "out.cells" / "finished.json").touch()

    def unread(*given, **named):
        raise BrokenPipeError

    monkeypatch.setattr(codebook, "print_result", unread)
    assert run(*CALIBRATE)[0] == 1
    assert (folder / "out.cells" / "finished.json").exists()


@pytest.fixture
def examined(monkeypatch):
    """The pictures that are examined while the test runs."""
    names, measure = [], examining.measure_experiments

    def noted(vlm, picture, *rest):
        names.append(picture.size)
        return measure(vlm, picture, *rest)

    monkeypatch.setattr(examining, "measure_experiments", noted)
    return names


@pytest.mark.parametrize("options", [("--out", "out"), ("--out", "new", "--evidence", "out.evidence")])
def test_evidence_that_is_there_is_read_again(run, verdict, examined, options):
    calls = verdict(pays=False)
    assert run(*CALIBRATE[:4], *options, "--min-images", "0")[0] == 0
    assert not examined
    assert len(calls[0][1]) == 2 * 144


def test_evidence_that_is_not_there_is_collected_and_kept_beside_the_book(run, folder, verdict, examined):
    verdict(pays=False)
    assert run(*CALIBRATE[:4], "--out", "new", "--limit", "1", "--min-images", "0")[0] == 0
    assert len(examined) == 1
    assert len(Evidence.load(folder / "new.evidence")) == 144
    assert not (folder / "new").exists()


def test_a_bad_picture_is_named_and_the_calibration_goes_on(run, folder, verdict):
    verdict(pays=False)
    (folder / "photos" / "1.png").write_text("not a picture")
    code, _, err = run(*CALIBRATE[:4], "--out", "new", "--min-images", "0")
    assert code == 0
    assert re.search("^skipped photos/1.png: ", err, re.M)


def test_too_few_questions_are_told_before_a_token_is_examined(run, folder, examined):
    code, _, err = run(*CALIBRATE[:4], "--out", "new", "--min-images", "0", "--task", "scenes:pictures=1")
    assert (code, err.count("\n")) == (2, 1)
    assert "questions about at least four pictures" in err
    assert not examined
    assert not (folder / "new.evidence").exists()
