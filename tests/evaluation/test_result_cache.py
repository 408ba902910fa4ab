"""The cache: a killed run goes on and gives the rows of one that was not; two runs are never mixed."""

import json
from dataclasses import dataclass, replace

import pytest
import torch

from wordsight.errors import UsageError
from wordsight.evaluation.comparison import Settings, compare
from wordsight.evaluation.result_cache import ResultCache, RunResult, cache_beside
from wordsight.models.vlm import VLM
from wordsight.pruners.codebook import CodebookPruner
from wordsight.pruners.random import Random
from wordsight.pruners.uniform import Uniform
from wordsight.redundancy.codebook import Codebook
from wordsight.synthetic.scenes import render
from wordsight.tasks.base import Example, Task

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


def test_results_of_another_version_are_refused_before_any_work(tiny, tmp_path, monkeypatch):
    run(tiny, tmp_path, PRUNERS[:1])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("wordsight.evaluation.comparison.versions", lambda: {"wordsight": "0.0.9"})
    monkeypatch.setattr(VLM, "encode", lambda *_, **__: pytest.fail("a picture was read"))
    with pytest.raises(UsageError, match=r"another run \(versions was .*, is .*0\.0\.9"):
        run(tiny, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_results_of_another_limit_are_refused(tiny, finished):
    with pytest.raises(UsageError, match=r"limit was None, is 2"):
        run(tiny, finished[0], limit=2)


def test_results_of_another_model_of_the_same_name_are_refused(tiny, finished):
    other = VLM(tiny.model, tiny.processor, "tiny")
    other.__dict__["fingerprint"] = "f00d"
    with pytest.raises(UsageError, match=rf"fingerprint was {tiny.fingerprint}, is f00d"):
        run(other, finished[0])


def test_results_of_other_questions_under_the_same_name_are_refused(tiny, finished, monkeypatch):
    monkeypatch.setattr(
        Lengths, "examples", lambda self: iter([Example(PICTURES[0], "0", "hm?", "x", "any")])
    )
    with pytest.raises(UsageError, match="questions was"):
        run(tiny, finished[0])


def test_results_of_another_codebook_under_the_same_name_are_refused(tiny, tmp_path):
    def pruner(seed):
        torch.manual_seed(seed)
        book = Codebook(torch.randn(3, 32), {"format": 1, "model": "made-up", "fingerprint": None})
        return CodebookPruner(codebook=book, keep=0.1)

    run(tiny, tmp_path, [pruner(1)])
    with pytest.raises(UsageError, match="codebook was"):
        run(tiny, tmp_path, [pruner(2)])


def test_a_damaged_result_is_named(tiny, tmp_path):
    run(tiny, tmp_path, PRUNERS[:1])
    path = sorted(tmp_path.iterdir())[0]
    path.write_text(path.read_text()[:50])
    with pytest.raises(UsageError, match=rf"{path.name} is damaged .*delete it"):
        run(tiny, tmp_path)


PLACE = {"model": "m", "task": "a", "pruner": "uniform", "keep": 0.1, "tokens": None}
SETTINGS = {"versions": {"wordsight": "1"}, "limit": None, "pictures": None, "timing": None}
MADE_WITH = SETTINGS | {
    "fingerprint": "f00d",
    "dtype": "x",
    "device": "cpu",
    "questions": "q",
    "codebook": None,
}


def test_a_result_comes_back_as_it_was(tmp_path):
    result = RunResult([0.1, 1 / 3], 14.5, 2, {"rounds": 7, "new_tokens": 2, "batches": []})
    cache = ResultCache(tmp_path, SETTINGS)
    assert cache.get(PLACE, MADE_WITH, lambda: result) == result
    assert cache.get(PLACE, MADE_WITH, lambda: pytest.fail("measured again")) == result
    other = cache.get(PLACE | {"task": "b"}, MADE_WITH, lambda: replace(result, drops_all=0))
    assert other.drops_all == 0


def test_a_share_and_a_count_are_two_places(tmp_path):
    cache = ResultCache(tmp_path, SETTINGS)
    for place in (PLACE | {"keep": 1.0}, PLACE | {"keep": None, "tokens": 1}):
        cache.get(place, MADE_WITH, lambda: RunResult([1.0], 1.0))
    assert len(list(tmp_path.iterdir())) == 2


def test_without_a_folder_nothing_is_kept():
    found = iter([RunResult([1.0], 1.0), RunResult([0.0], 1.0)])
    cache = ResultCache(None, SETTINGS)
    assert [cache.get(PLACE, MADE_WITH, lambda: next(found)).scores for _ in range(2)] == [[1.0], [0.0]]


@pytest.mark.parametrize("number", [None, 1, 3])
def test_results_of_another_format_are_refused_in_one_sentence(tmp_path, number):
    ResultCache(tmp_path, SETTINGS).get(PLACE, MADE_WITH, lambda: RunResult([1.0], 1.0))
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())
    assert record.pop("format") == 2
    path.write_text(json.dumps(record | ({"format": number} if number else {})))
    with pytest.raises(
        UsageError, match="holds unfinished results of another version of wordsight: delete it"
    ):
        ResultCache(tmp_path, SETTINGS)


def test_a_result_without_its_scores_is_named(tmp_path):
    ResultCache(tmp_path, SETTINGS).get(PLACE, MADE_WITH, lambda: RunResult([1.0], 1.0))
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())
    del record["result"]["scores"]
    path.write_text(json.dumps(record))
    with pytest.raises(UsageError, match=rf"{path.name} is damaged \(.*result\.scores.*\); delete it"):
        ResultCache(tmp_path, SETTINGS)


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
