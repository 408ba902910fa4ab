"""The cache: a killed run goes on and gives the rows of one that was not, and nothing in it is ever stale."""

import inspect
import json
import pickle
from dataclasses import dataclass

import pytest
import torch

from wordsight._utils.artifacts import sealed
from wordsight._utils.registry import spec
from wordsight.errors import UsageError
from wordsight.evaluation.comparison import Comparison, Settings, compare
from wordsight.evaluation.prepared_task import PreparedTask
from wordsight.evaluation.result_cache import ResultCache, cache_beside
from wordsight.models.fingerprints import Fingerprint
from wordsight.models.load_options import LoadOptions
from wordsight.models.vlm import VLM
from wordsight.pruners.codebook import CodebookPruner
from wordsight.pruners.learned import Learned
from wordsight.pruners.random import Random
from wordsight.pruners.uniform import Uniform
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.scorer import Scorer
from wordsight.synthetic.scenes import render
from wordsight.tasks.base import Example, Task
from wordsight.tasks.digest import questions_digest
from wordsight.tasks.questions import Questions

PICTURES = [render(seed).image for seed in range(2)]


@dataclass(kw_only=True)
class Lengths(Task):
    """Two questions about each of two pictures; the score is the length said."""

    max_new_tokens = 3

    def examples(self):
        for number, picture in enumerate(PICTURES):
            for word in ("cat", "what is at the left of the image"):
                yield Example(picture, str(number), f"{word}?", "any", "any")

    def score(self, example, said):
        return min(len(said), 20) / 20


class Killed(Exception):
    """What stands in for a kill."""


@dataclass(kw_only=True)
class Fragile(Uniform):
    """A pruner that kills the run while `kills`; it counts how often it pruned."""

    kills = False
    pruned = 0

    def select(self, tokens):
        if type(self).kills:
            raise Killed
        type(self).pruned += 1
        return super().select(tokens)


PRUNERS = [Random(keep=0.1), Uniform(keep=0.1), Fragile(keep=0.1), Uniform(keep=0.5)]


@pytest.fixture
def fragile(monkeypatch):
    monkeypatch.setattr(Fragile, "kills", True)
    return Fragile


def run(vlm, folder, pruners=PRUNERS, **options):
    return compare(vlm, [Lengths()], pruners, settings=Settings(cache=folder), **options).rows


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """The cache of a run that was not killed, and its rows."""
    folder = tmp_path_factory.mktemp("cache")
    return folder, run(tiny, folder)


def test_a_killed_run_goes_on_and_gives_the_rows_of_one_that_was_not(tiny, tmp_path, fragile, monkeypatch):
    with pytest.raises(Killed):
        run(tiny, tmp_path)
    # Unpruned, blind, resized at the first keep, and the two pruners before the one that killed it.
    assert len(list(tmp_path.iterdir())) == 5
    monkeypatch.setattr(fragile, "kills", False)
    monkeypatch.setattr(Random, "score", lambda self, tokens: pytest.fail("random was run again"))
    resumed = run(tiny, tmp_path)
    monkeypatch.undo()
    assert resumed == compare(tiny, [Lengths()], PRUNERS).rows


def test_a_finished_run_reads_no_picture_again(tiny, finished, monkeypatch):
    folder, rows = finished
    monkeypatch.setattr(VLM, "encode", lambda *_, **__: pytest.fail("a picture was read"))
    assert run(tiny, folder) == rows


def test_one_more_pruner_is_all_that_is_run(tiny, tmp_path, monkeypatch):
    run(tiny, tmp_path, PRUNERS[:2])
    monkeypatch.setattr(Random, "score", lambda self, tokens: pytest.fail("random was run again"))
    rows = run(tiny, tmp_path, PRUNERS[:3])
    monkeypatch.undo()
    assert rows == compare(tiny, [Lengths()], PRUNERS[:3]).rows


def test_pairs_are_formed_with_scores_of_before(tiny, finished):
    folder, rows = finished
    again = run(tiny, folder)
    told = next(row for row in again if row["pruner"] == "uniform" and row["keep"] == 0.1)
    assert told["difference_to"]["random"] == rows[3]["difference_to"]["random"]


@pytest.fixture
def counted(monkeypatch):
    """Names of what is run: pruners, and the unpruned model."""
    found = []
    answers = PreparedTask.answers
    monkeypatch.setattr(
        PreparedTask, "answers", lambda self, pruner: found.append(spec(pruner)) or answers(self, pruner)
    )
    encode = VLM.encode
    monkeypatch.setattr(
        VLM, "encode", lambda self, *given, **named: found.append("encode") or encode(self, *given, **named)
    )
    return found


def test_another_version_measures_again_and_leaves_what_is_there(tiny, tmp_path, counted, monkeypatch):
    run(tiny, tmp_path, PRUNERS[:1])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    counted.clear()
    monkeypatch.setattr("wordsight.redundancy.measured_with.versions", lambda: {"wordsight": "0.0.9"})
    run(tiny, tmp_path, PRUNERS[:1])
    assert "random" in counted
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(tmp_path.iterdir())) == 2 * len(before)


CHANGES = {
    "limit": {"limit": 2},
    "model": {"fingerprint": "f00d"},
    "tuned": {"parts": {"vision_tower": "aa", "language_model": "bb"}},
    "options": {"options": LoadOptions(processor={"do_resize": True})},
    "pass_tokens": {"pass_tokens": 4000},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_setting_measures_again(tiny, tmp_path, counted, change):
    run(tiny, tmp_path, PRUNERS[:1])
    counted.clear()
    other = VLM(tiny.model, tiny.processor, "tiny", pass_tokens=change.get("pass_tokens", tiny.pass_tokens))
    other.__dict__["_fingerprint"] = Fingerprint(
        change.get("fingerprint", tiny.fingerprint), change.get("parts", tiny.parts)
    )
    other.options = change.get("options", tiny.options)
    run(other, tmp_path, PRUNERS[:1], limit=change.get("limit"))
    assert "random" in counted


def test_another_thread_count_measures_again_on_a_cpu(tiny, tmp_path, counted, monkeypatch):
    run(tiny, tmp_path, PRUNERS[:1])
    counted.clear()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    run(tiny, tmp_path, PRUNERS[:1])
    assert "random" in counted


def by_book(fingerprint):
    book = Codebook(torch.randn(3, 32), {"format": 1, "model": "made-up", "fingerprint": fingerprint})
    return CodebookPruner(codebook=book, keep=0.1)


def by_scorer(fingerprint):
    layers = {"first": torch.randn(4, 33), "second": torch.randn(1, 5)}
    return Learned(scorer=Scorer(layers, {"model": "made-up", "fingerprint": fingerprint}), keep=0.1)


@pytest.mark.parametrize("pruner", [by_book, by_scorer])
def test_another_codebook_or_scorer_under_the_same_name_is_measured(tiny, tmp_path, counted, pruner):
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        counted.clear()
        run(tiny, tmp_path, [pruner(tiny.fingerprint)])
    assert counted == []
    assert len(list(tmp_path.iterdir())) == 5


def test_a_pruner_whose_code_has_changed_is_measured_again(tiny, tmp_path, counted, monkeypatch):
    (tmp_path / "mine.py").write_text("# one")
    monkeypatch.setattr(inspect, "getsourcefile", lambda cls: str(tmp_path / "mine.py"))
    run(tiny, tmp_path / "cells", [Uniform(keep=0.1)])
    counted.clear()
    (tmp_path / "mine.py").write_text("# two")
    run(tiny, tmp_path / "cells", [Uniform(keep=0.1)])
    assert "uniform" in counted


def questions(folder, *, answer="any", question="what?", pictures=(0, 1), **fields):
    """A file of questions about two pictures."""
    rows = []
    for i, seed in enumerate(pictures):
        render(seed).image.save(folder / f"{i}.png")
        rows.append({"image": f"{i}.png", "question": question, "answer": answer, **fields})
    (folder / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return Questions(path=str(folder / "q.jsonl"))


def answered(vlm, folder, task):
    results = compare(vlm, [task], [Uniform(keep=0.1)], settings=Settings(cache=folder / "cells"))
    row = next(row for row in results.rows if row["pruner"] == "uniform")
    (said,) = (each["texts"] for each in results.answers[0]["answered"] if each["pruner"] == "uniform")
    return row["accuracy"], said[0]


def test_edited_answers_count_at_once_without_the_model(tiny, tmp_path, counted):
    accuracy, said = answered(tiny, tmp_path, questions(tmp_path))
    assert accuracy == 0
    counted.clear()
    assert answered(tiny, tmp_path, questions(tmp_path, answer=["any", *said])) == (1.0, said)
    assert answered(tiny, tmp_path, questions(tmp_path, answer=said[0]))[0] in (0.5, 1.0)
    assert answered(tiny, tmp_path, questions(tmp_path, answer=said[0][:3], scorer="exact"))[0] == 0
    assert counted == []


@pytest.mark.parametrize(
    "change", [{"pictures": (0, 2)}, {"question": "which?"}, {"options": ["any", "other"]}, {"hint": "look"}]
)
def test_other_questions_under_the_same_name_are_measured(tiny, tmp_path, counted, change):
    answered(tiny, tmp_path, questions(tmp_path))
    counted.clear()
    changed = answered(tiny, tmp_path, questions(tmp_path, **change))
    assert "uniform" in counted
    (tmp_path / "fresh").mkdir()
    assert changed == answered(tiny, tmp_path / "fresh", questions(tmp_path / "fresh", **change))


def test_a_picture_that_looks_the_same_to_its_name_is_told_by_its_pixels():
    one, other = PICTURES[0], PICTURES[0].copy()
    other.putpixel((0, 0), (1, 2, 3))
    asked = [Example(each, "0", "?", "yes", "any") for each in (one, one.copy(), other)]
    first, same, another = (questions_digest([each]) for each in asked)
    assert first == same != another


PLACE = {"model": "m", "task": "a", "pruner": "uniform", "keep": 0.1, "tokens": None}
MADE_WITH = {
    "versions": {"wordsight": "1"},
    "timing": None,
    "fingerprint": "f00d",
    "dtype": "x",
    "device": "cpu",
    "threads": 1,
    "attention": "sdpa",
    "pass_tokens": 9,
    "questions": "q",
    "count": 2,
    "seeds": 1,
    "max_new_tokens": 3,
    "codebook": None,
    "code": None,
}
MEASURED = {"answers": [["yes", "no"]], "tokens_kept": 14.5, "drops_all": 2, "timing": None}


def test_a_result_comes_back_as_it_was(tmp_path):
    timed = MEASURED | {"timing": {"rounds": 7, "new_tokens": 2, "batches": []}}
    cache = ResultCache(tmp_path)
    assert cache.get(PLACE, MADE_WITH, lambda: timed) == timed
    assert cache.get(PLACE, MADE_WITH, lambda: pytest.fail("measured again")) == timed
    other = cache.get(PLACE | {"task": "b"}, MADE_WITH, lambda: MEASURED)
    assert other == MEASURED


@pytest.mark.parametrize("name", MADE_WITH)
def test_whatever_a_result_is_made_with_tells_it_from_others(tmp_path, name):
    cache = ResultCache(tmp_path)
    cache.get(PLACE, MADE_WITH, lambda: MEASURED)
    value = {"versions": {"wordsight": "2"}, "timing": {"rounds": 9}, "count": 1, "seeds": 3}.get(name, 77)
    changed = MEASURED | {"drops_all": 0}
    assert cache.get(PLACE, MADE_WITH | {name: value}, lambda: changed) == changed


def test_a_share_and_a_count_are_two_places(tmp_path):
    cache = ResultCache(tmp_path)
    for place in (PLACE | {"keep": 1.0}, PLACE | {"keep": None, "tokens": 1}):
        cache.get(place, MADE_WITH, lambda: MEASURED)
    assert len(list(tmp_path.iterdir())) == 2


def test_without_a_folder_nothing_is_kept():
    found = iter([MEASURED, MEASURED | {"drops_all": 0}])
    cache = ResultCache(None)
    assert [cache.get(PLACE, MADE_WITH, lambda: next(found))["drops_all"] for _ in range(2)] == [2, 0]


@pytest.fixture
def cell(tmp_path):
    """The file of a finished result."""
    ResultCache(tmp_path).get(PLACE, MADE_WITH, lambda: MEASURED)
    (path,) = tmp_path.iterdir()
    return path


@pytest.mark.parametrize("number", [None, 1, 2, 4])
def test_results_of_another_format_are_refused_in_one_sentence(cell, number):
    record = json.loads(cell.read_text())
    assert record.pop("format") == 3
    cell.write_text(json.dumps(record | ({"format": number} if number else {})))
    with pytest.raises(
        UsageError, match=r"has format .*, and this version of wordsight reads 3.*: delete it"
    ):
        ResultCache(cell.parent)


DAMAGES = {
    "cut": lambda text: text[:50],
    "empty": lambda text: "",
    "a list": lambda text: "[]",
    "a flipped bit": lambda text: text.replace("14.5", "15.5"),
    "another answer": lambda text: text.replace('"yes"', '"yet"'),
    "another pruner": lambda text: text.replace('"uniform"', '"random"'),
    "no number": lambda text: text.replace("14.5", "NaN"),
    "an endless number": lambda text: text.replace("14.5", "Infinity"),
    "a long number": lambda text: text.replace("14.5", "9" * 5000),
    "deep": lambda text: "[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_result_is_one_sentence_before_any_work(cell, damage):
    cell.write_text(damage(cell.read_text()))
    with pytest.raises(UsageError, match=rf"{cell.name} cannot be used as .*: delete it and run") as refusal:
        ResultCache(cell.parent)
    assert "\n" not in str(refusal.value)


FORGED = {
    "too few answers": {"answers": [["yes"]]},
    "two seeds": {"answers": [["yes", "no"]] * 2},
    "no answers": {"answers": []},
    "fewer tokens than none": {"tokens_kept": -1},
    "a number that is text": {"answers": [["yes", 7]]},
    "no timing": {"timing": []},
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_a_result_that_cannot_be_is_one_sentence_though_its_digest_is_right(cell, change):
    record = json.loads(cell.read_text())
    del record["digest"]
    record["result"] |= change
    cell.write_text(json.dumps(sealed(record)))
    with pytest.raises(UsageError, match=f"{cell.name} .*: delete it and run"):
        ResultCache(cell.parent)


def test_a_result_under_the_name_of_another_pruners_is_noticed(cell):
    other = PLACE | {"pruner": "random"}
    ResultCache(cell.parent).get(other, MADE_WITH, lambda: MEASURED)
    (second,) = (path for path in cell.parent.iterdir() if path != cell)
    first, others = cell.read_bytes(), second.read_bytes()
    cell.write_bytes(others)
    second.write_bytes(first)
    with pytest.raises(UsageError, match=r"it is that of (uniform|random), under another name.*: delete it"):
        ResultCache(cell.parent)


def test_the_folder_is_gone_when_the_work_is_done_and_stays_when_it_fails(tmp_path):
    for fails in (True, False):
        try:
            with cache_beside(tmp_path / "out.json") as folder:
                folder.mkdir(exist_ok=True)
                (folder / "x.json").write_text(json.dumps({}))
                if fails:
                    raise Killed
        except Killed:
            assert (tmp_path / "out.json.cells" / "x.json").exists()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def comparison(tmp_path):
    return Comparison([Lengths(), Lengths(split="validation")], PRUNERS, settings=Settings(cache=tmp_path))


def test_parts_that_processes_measure_give_the_results_of_one_process(tiny, comparison, monkeypatch):
    for number in (2, 0, 1):
        job = pickle.loads(pickle.dumps(comparison))
        missing = job.measure_part(tiny, (number, 3))["missing"]
    assert missing == []
    monkeypatch.setattr(VLM, "encode", lambda *_, **__: pytest.fail("a picture was read"))
    collected = comparison.results(tiny)
    monkeypatch.undo()
    alone = compare(tiny, comparison.tasks, PRUNERS)
    assert (collected.rows, collected.answers) == (alone.rows, alone.answers)


def test_a_part_measures_its_share_and_says_what_is_missing(tiny, comparison, tmp_path):
    record = comparison.measure_part(tiny, (1, 3))
    # Of each task the unpruned model and the blind one, four pruners, and resized pictures at two budgets.
    assert len(list(tmp_path.iterdir())) == 5
    assert len(record["missing"]) == 16 - 5
    blind = {"model": "tiny", "task": spec(Lengths()), "pruner": "blind", "keep": None, "tokens": 0}
    assert blind not in record["missing"]
    again = comparison.measure_part(tiny, (0, 3))["missing"]
    assert [place for place in record["missing"] if place in again] == again
    assert len(again) == 16 - 5 - 6


def test_a_part_that_there_is_not_is_refused(tiny, comparison):
    for part in ((3, 3), (-1, 3), (0, 0)):
        with pytest.raises(UsageError, match=f"there is no part {part[0]} of {part[1]}"):
            comparison.measure_part(tiny, part)
    with pytest.raises(UsageError, match="a part is measured into a cache"):
        Comparison([Lengths()], PRUNERS).measure_part(tiny, (0, 3))


def test_cells_are_measured_by_name_and_hold_the_pictures_of_one_task(tiny, comparison):
    missing = comparison.missing(tiny)
    cells = comparison.cells(tiny)
    assert [cells(name) for name in (missing[0], missing[-1])] == [4, 4]
    assert ["_prepared" in vars(run) for run in cells.runs] == [False, True]
    assert comparison.missing(tiny) == missing[1:-1]
    with pytest.raises(UsageError, match=r"would measure something else than .*; use machines of one kind"):
        cells("0" * 32)
