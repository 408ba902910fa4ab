"""Tasks of lmms-eval against scores worked by hand, on tiny data in their own schemas."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wordsight import tasks
from wordsight._utils.registry import spec
from wordsight.errors import UsageError
from wordsight.evaluation.metrics import Baselines
from wordsight.evaluation.result_cache import RunResult
from wordsight.tasks import lmms

pytestmark = pytest.mark.timeout(600)  # the first one makes the data, and lists all tasks of lmms-eval
ROOT = Path(__file__).parents[2]
SUITES = json.loads((ROOT / "benchmarks/paper/suites.json").read_text())
NAMES = [name.format(tasks=ROOT / "benchmarks/paper/tasks") for each in SUITES for name in each["tasks"]]


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The folder that the dry run reads."""
    folder = tmp_path_factory.mktemp("paper")
    script = ROOT / "benchmarks/paper/dry.py"
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(autouse=True)
def _here(data, monkeypatch):
    monkeypatch.chdir(data)


def together(task, said):
    """What the answers score together, of a task whose score is no mean."""
    examples = task.first(None)
    aggregate = task.aggregate(examples, [said(example) for example in examples])
    return aggregate(range(len(examples)))


@pytest.mark.parametrize("name", NAMES[:11])  # MVBench's films are looked for in HF_HOME
def test_the_answers_that_a_suite_gives_are_right(name):
    task = tasks.make(name)
    assert spec(task) == name
    examples = task.first(None)
    assert [task.score(each, each.answer) for each in examples] == [1.0] * len(examples)
    assert all(len(each.images) == len(list(each.images)) for each in examples)


@pytest.mark.parametrize("name", NAMES[:3])
def test_captions_are_scored_by_those_that_were_given(name):
    task = tasks.make(name)
    assert together(task, lambda example: example.answer) > 1
    assert together(task, lambda example: "nothing of it") == 0


def test_mme_counts_pairs_that_are_right_twice():
    task = tasks.make("lmms:mme")
    assert together(task, lambda example: example.answer) == 200
    # Yes to all: half of the answers are right, and no pair.
    assert together(task, lambda example: "Yes") == 50


def test_half_a_pair_is_refused_before_the_model_runs():
    with pytest.raises(UsageError, match=r"pairwise.*--pictures"):
        tasks.make("lmms:mme").first(3)


def test_the_yes_ratio_of_pope_is_of_what_is_said():
    # Half of eight labels are yes, as lmms-eval's own has it; five of eight answers are.
    examples = tasks.make("lmms:pope").first(None)
    said = ["Yes", "no", "yes", "Yes.", "no", "yes, there is", "no", "yes"]
    result = RunResult([0.0] * 8, 4.0, answers=[said])
    assert Baselines(examples, result, result).metrics(result, {}, None)["yes_ratio"] == 5 / 8
    labels = tasks.make("lmms:pope,metric=pope_yes_ratio")
    assert together(labels, lambda example: "yes") == 0.5


def test_f1_is_that_of_yes_and_accuracy_a_mean():
    # Yes to all: half of it is right, and everything there is was found.
    assert together(tasks.make("lmms:pope,metric=pope_f1_score"), lambda example: "yes") == pytest.approx(
        2 / 3
    )
    accuracy = tasks.make("lmms:pope")
    examples = accuracy.first(None)
    assert accuracy.aggregate(examples, ["yes"] * len(examples)) is None
    assert [accuracy.score(each, "yes") for each in examples].count(1.0) * 2 == len(examples)


BY_KIND = """
task: by_kind
dataset_path: lmms-lab-encoder/POPE
test_split: test
output_type: generate_until
doc_to_visual: !function lmms_eval.tasks.pope.utils.pope_doc_to_visual
doc_to_text: "{{question}}"
doc_to_target: answer
process_results: !function by_kind.process_results
metric_list:
  - metric: by_kind
    aggregation: !function by_kind.aggregate
    higher_is_better: true
score_key: score
"""
MEAN_OVER_KINDS = """
from statistics import fmean
def process_results(doc, results):
    return {"by_kind": {"kind": int(doc["id"]) < 6, "score": float(results[0] == doc["answer"])}}
def aggregate(results):
    kinds = {each["kind"] for each in results}
    return fmean(fmean(each["score"] for each in results if each["kind"] == kind) for kind in kinds)
"""


def test_a_mean_over_categories_is_known_as_such_though_the_first_documents_are_of_one(tmp_path, monkeypatch):
    (tmp_path / "by_kind.yaml").write_text(BY_KIND)
    (tmp_path / "by_kind.py").write_text(MEAN_OVER_KINDS)
    monkeypatch.setattr(lmms, "TRIED", 6)
    task = tasks.make(f"lmms:by_kind,include_path={tmp_path}")
    assert together(task, lambda example: example.answer if example.index >= 6 else "") == 0.5


def test_questions_about_one_picture_are_together():
    assert len({each.picture_id for each in tasks.make("lmms:pope").first(None)}) == 4
    assert len(tasks.make("lmms:pope").first(None, 3)) == 6
    assert len(tasks.make("lmms:pope").first(3)) == 3


def test_only_documents_that_have_the_metric_are_asked():
    assert len(tasks.make("lmms:seedbench").first(None)) == 4  # the fifth is a video


def test_places_of_pictures_inside_a_prompt_are_worded():
    question = tasks.make("lmms:mantis").first(1)[0].question
    assert question.startswith("What is alike in (image 1) and (image 2)?")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lmms:pop", "did you mean pope"),
        ("lmms:mvbench", "lmms:mvbench_action_sequence"),
        ("lmms:pope,metric=f1", "choose from pope_accuracy"),
        ("lmms:pope,split=validation", "one split"),
        ("lmms:pope,include_path=nowhere", "no folder"),
        ("lmms:gqa", "cannot be loaded"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_sentence(name, message):
    with pytest.raises(UsageError, match=message):
        tasks.make(name)
