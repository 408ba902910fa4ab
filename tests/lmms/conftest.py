"""lmms-eval in this process, which takes a while to import, with a task of its own: questions about scenes.

Run by `make test-lmms`, in an environment with lmms-eval.
"""

import io
from itertools import count

import pytest

pytest.importorskip("lmms_eval", reason="make test-lmms installs lmms-eval")

import checkpoints
import torch
from datasets import Dataset, Features, Image, Value
from lmms_eval.evaluator import simple_evaluate
from lmms_eval.loggers import EvaluationTracker
from lmms_eval.tasks import TaskManager

from wordsight.tasks.scenes import Scenes

FUNCTIONS = """
from wordsight.tasks.scoring import score


def pictures(doc):
    return [doc["image"].convert("RGB")]


def question(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]


def scored(doc, results):
    return {"right": score("exact", results[0], (doc["answer"],), {})}
"""
TASK = """
task: scenes
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: FILE
test_split: test
output_type: generate_until
doc_to_visual: !function functions.pictures
doc_to_text: !function functions.question
doc_to_target: answer
generation_kwargs:
  max_new_tokens: 12
process_results: !function functions.scored
metric_list:
  - metric: right
    aggregation: mean
    higher_is_better: true
"""
LIKELIHOOD = """
include: scenes.yaml
task: likely
output_type: loglikelihood
"""


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def examples():
    """Two questions about each of twenty pictures."""
    found = Scenes(pictures=20).first(40)
    assert len(found) == 40
    return found


@pytest.fixture(scope="session")
def tasks(examples, tmp_path_factory):
    """The folder of a task of lmms-eval that asks these, and of one of likelihoods."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = []
    for example in examples:
        stream = io.BytesIO()
        example.images.save(stream, "PNG")
        picture = {"bytes": stream.getvalue(), "path": None}
        rows.append({"image": picture, "question": example.question, "answer": example.answer})
    features = Features({"image": Image(), "question": Value("string"), "answer": Value("string")})
    Dataset.from_list(rows, features=features).to_parquet(folder / "scenes.parquet")
    (folder / "functions.py").write_text(FUNCTIONS)
    (folder / "scenes.yaml").write_text(TASK.replace("FILE", str(folder / "scenes.parquet")))
    (folder / "likely.yaml").write_text(LIKELIHOOD)
    return folder


@pytest.fixture(scope="session")
def evaluate(tasks):
    """A function that runs a model of lmms-eval, and returns what it says; with a folder, as its command
    does with --output_path and --log_samples.
    """
    manager = TaskManager("ERROR", include_path=str(tasks), include_defaults=False)
    runs = count()

    def run(model, arguments, out=None, task="scenes", **options):
        tracker = EvaluationTracker(output_path=str(out)) if out else None
        how = {"batch_size": 1, "device": "cpu", "log_samples": True, **options}
        found = simple_evaluate(
            model, arguments, tasks=[task], task_manager=manager, evaluation_tracker=tracker, **how
        )
        samples = found.pop("samples")
        texts = [sample["filtered_resps"][0] for sample in samples[task]]
        if tracker:
            tracker.save_results_aggregated(found, samples, f"run_{next(runs):02}")
            tracker.save_results_samples(task, samples[task])
        return texts, samples[task]

    return run


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A function that writes a tiny checkpoint of a family, and returns its folder."""

    def write(name):
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp(name)
        checkpoints.save(*getattr(checkpoints, name)(), folder)
        return folder

    return write
