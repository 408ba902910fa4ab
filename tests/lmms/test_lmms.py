import os
import subprocess
import sys
from pathlib import Path

import pytest

import wordsight
from wordsight import VLM, compare, pruners
from wordsight.evaluation.comparison import Settings
from wordsight.integrations.lmms_eval.results import lmms_results
from wordsight.tasks import make as make_task

pytestmark = pytest.mark.timeout(600)
DEMO = f"pretrained={Path(wordsight.__file__).parent / 'demo' / 'model'},device_map=cpu,dtype=float32"
LLAVA = f"base=llava_hf,{DEMO}"
PRUNERS = ("divprune", "codebook_mmr", "fastv", "mmtok", "uniform:positions=contiguous", "uniform")
BASES = [  # of lmms-eval, the family of the checkpoint, and arguments of its own
    ("llava_hf", "llava_next", "device_map=cpu,dtype=float32"),
    ("llava_hf", "llava_onevision", "device_map=cpu,dtype=float32"),
    ("qwen2_vl", "qwen2_vl", "device_map=cpu,min_pixels=256,max_pixels=4096"),
    ("qwen2_5_vl", "qwen2_5_vl", "device_map=cpu,min_pixels=256,max_pixels=4096"),
    ("qwen3_vl", "qwen3_vl", "device_map=cpu,min_pixels=256,max_pixels=4096"),
    ("internvl_hf", "internvl", "device_map=cpu"),
    ("idefics2", "idefics2", "device_map=cpu"),
]


@pytest.fixture(scope="module")
def logs(evaluate, tmp_path_factory):
    """The folder of runs with each of the pruners, with none and blind, and what each said."""
    folder = tmp_path_factory.mktemp("logs")
    said = {spec: evaluate("wordsight", f"{LLAVA},pruner='{spec}',keep=0.1", folder)[0] for spec in PRUNERS}
    return folder, said | {
        name: evaluate("wordsight", f"{LLAVA},pruner={name}", folder)[0] for name in ("none", "blind")
    }


@pytest.fixture(scope="module")
def ours(tasks):
    """The results of our own comparison on the same task."""
    task = make_task(f"lmms:scenes,include_path={tasks}")
    vlm = VLM.from_pretrained()
    vlm.pass_tokens = 1  # one prompt at a time, as lmms-eval reads them
    methods = [
        pruners.make(spec.replace(":", ":keep=0.1,") if ":" in spec else f"{spec}:keep=0.1")
        for spec in PRUNERS
    ]
    return compare(vlm, [task], methods, settings=Settings(reference="uniform"))


def test_answers_are_those_of_our_own_comparison(logs, ours):
    _, said = logs
    expected = {each["pruner"]: each["texts"][0] for each in ours.answers[0]["answered"]}
    same = {
        spec: sum(one == other for one, other in zip(texts, expected[spec], strict=True))
        for spec, texts in said.items()
    }
    assert same == dict.fromkeys(said, 40)


def test_logs_become_the_rows_of_our_own_comparison(logs, ours):
    folder, _ = logs
    rows = {row["pruner"]: row for row in lmms_results(folder, "uniform").rows}
    expected = {row["pruner"]: row for row in ours.rows if row["pruner"] != "resized"}
    assert rows.keys() == expected.keys()
    differs = {"model", "task", "split", "by_type"}  # names, and what takes smaller pictures and types
    for spec, row in rows.items():
        gaps = expected[spec].pop("difference_to")
        assert row.pop("difference_to") == {name: pytest.approx(gap) for name, gap in gaps.items()}
        same = row.keys() - differs
        assert {name: row[name] for name in same} == pytest.approx(
            {name: expected[spec][name] for name in same}
        )


def test_an_unpruned_run_says_what_the_class_itself_says(logs, evaluate):
    _, said = logs
    assert evaluate("llava_hf", DEMO)[0] == said["none"]


@pytest.mark.parametrize(("base", "family", "own"), BASES, ids=lambda each: each.split("=")[0])
def test_every_class_over_transformers_is_pruned(evaluate, checkpoint, base, family, own):
    arguments = f"pretrained={checkpoint(family)},{own}"
    whole, _ = evaluate(base, arguments, limit=4)
    said, samples = evaluate("wordsight", f"base={base},{arguments},pruner=none", limit=4)
    assert said == whole
    _, samples = evaluate("wordsight", f"base={base},{arguments},pruner=divprune,keep=0.5", limit=4)
    run = samples[0]["token_counts"][0]["wordsight"]["run"]
    assert 0.4 * run["tokens_total"] <= run["tokens_kept"] <= 0.6 * run["tokens_total"]


def test_classes_that_read_plain_text_are_pruned_too(evaluate, checkpoint):
    own = f"pretrained={checkpoint('qwen2_5_vl')},device_map=cpu,min_pixels=256,max_pixels=4096"
    arguments = f"base=qwen2_5_vl,{own},pruner=uniform,tokens=3"
    _, samples = evaluate("wordsight", arguments, limit=2, force_simple=True)
    assert samples[0]["token_counts"][0]["wordsight"]["run"]["tokens_kept"] == 3


def test_questions_that_fail_end_the_run(evaluate):
    with pytest.raises(SystemExit, match=r"2 of 4 questions of scenes failed.*no memory left"):
        evaluate("wordsight", f"{LLAVA},pruner=breaking:Breaking", limit=4)


def test_a_run_that_ends_exits_with_one_sentence(tasks):
    arguments = f"{LLAVA},pruner=breaking:Breaking"
    command = [sys.executable, "-m", "lmms_eval", "--model", "wordsight", "--model_args", arguments]
    command += ["--tasks", "scenes", "--include_path", str(tasks), "--limit", "2", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("wordsight: 1 of 2 questions of scenes failed")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (f"{LLAVA}", "pruner=SPEC"),
        (f"{LLAVA},pruner=divprun", "did you mean 'divprune'"),
        (f"{LLAVA},pruner=divprune,keep=2", "keep must be"),
        (f"{LLAVA},pruner=divprune,keep=some", "keep must be"),
        (f"{LLAVA},pruner=divprune,keep=0.2,tokens=3", "one of the two"),
        (f"{LLAVA},pruner=none,keep=0.2", "leave it out beside pruner=none"),
        (f"{LLAVA},pruner=divprune:keep=0.2,positions=contiguous", "positions is no argument.*quotes"),
        (f"{LLAVA},divprune", "expected NAME=VALUE"),
        (f"{DEMO},pruner=divprune", "base=None: expected a model of lmms-eval"),
        (f"base=smolvlm,{DEMO},pruner=divprune", "base=smolvlm: expected a model of lmms-eval"),
        ("base=dummy,pruner=divprune", "has not both a processor and a model"),
        ("base=llava_hf,pretrained=nowhere,device_map=cpu,pruner=divprune", "cannot load nowhere as base"),
        (f"{LLAVA},pruner=codebook:codebook=nowhere", "nowhere"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(evaluate, arguments, message):
    with pytest.raises(SystemExit, match=message) as ended:
        evaluate("wordsight", arguments, limit=1)
    assert str(ended.value).startswith("wordsight: ")


def test_a_class_that_loads_a_model_without_a_head_is_refused(evaluate, checkpoint):
    arguments = f"base=huggingface,pretrained={checkpoint('idefics3')},device_map=cpu"
    with pytest.raises(SystemExit, match="Huggingface of lmms-eval has not both"):
        evaluate("wordsight", f"{arguments},pruner=divprune", limit=1)


def test_likelihoods_are_refused(evaluate):
    with pytest.raises(SystemExit, match="likely scores answers by their likelihood"):
        evaluate("wordsight", f"{LLAVA},pruner=divprune", task="likely", limit=1, force_simple=True)


def test_its_response_cache_is_refused(evaluate, tmp_path):
    with pytest.raises(SystemExit, match="leave out --use_cache"):
        evaluate("wordsight", f"{LLAVA},pruner=divprune", limit=1, use_cache=str(tmp_path / "cache"))
    evaluate("llava_hf", DEMO, limit=1, use_cache=str(tmp_path / "cache"))
