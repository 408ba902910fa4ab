"""Evidence, comparisons and calibrations on Ray: the same as by one process, whoever dies meanwhile.

Run by `make test-ray`, on a cluster of two CPUs that is started here.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from uuid import uuid4

import pytest
import yaml

from wordsight.evaluation.comparison import compare
from wordsight.evaluation.results import Results
from wordsight.media.sources import open_source
from wordsight.pruners.random import Random
from wordsight.redundancy import collecting
from wordsight.redundancy.build import Clustering, build_codebook
from wordsight.redundancy.collecting import EvidencePlan, collect_evidence
from wordsight.redundancy.criteria import criterion
from wordsight.redundancy.evidence import Evidence
from wordsight.synthetic.scenes import render
from wordsight.tasks.scenes import Scenes

pytestmark = pytest.mark.timeout(600)
HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "cluster.md"
START = """
import logging, sys, ray
ray.init(num_cpus=2, include_dashboard=False, object_store_memory=2**27, logging_level=logging.CRITICAL)
print("ADDRESS", ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""
EVERYTHING = ("--confidence", "1.1", "--largest", "144", "--min-images", "0")


@pytest.fixture
def traps(monkeypatch):
    """Imported by the name that workers find it by."""
    monkeypatch.syspath_prepend(HERE)
    return import_module("traps")


@pytest.fixture(scope="module")
def environment():
    """For the cluster and its drivers: workers find the traps, and count on one thread."""
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    extra = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    extra |= {"RAY_worker_niceness": "0"}  # else what runs beside the tests makes them endless
    extra |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid4().hex}  # else a driver would not be let in
    return os.environ | extra


@pytest.fixture(scope="module")
def address(environment):
    """Of a cluster of two CPUs."""
    command = [sys.executable, "-c", START]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as cluster:
        yield next(line for line in cluster.stdout if line.startswith("ADDRESS")).split()[1]
        cluster.stdin.close()
        cluster.wait(60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six pictures, of which the third is damaged."""
    place = tmp_path_factory.mktemp("pictures")
    for number in range(6):
        render(2_000_001 + number).image.save(place / f"{number}.png")
    (place / "2.png").write_bytes(b"no picture")
    return place


@pytest.fixture(scope="module")
def one_process(embedded, folder, tmp_path_factory):
    """The evidence as one process writes it, in three shards, and its book."""
    place = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(collecting, "FEWEST_SHARDS", 3)
        plan = EvidencePlan(condition=criterion("default"))
        evidence = collect_evidence(embedded, open_source(folder), place / "evidence", plan)
    assert len(list((place / "evidence" / "tokens").iterdir())) == 3
    assert list(evidence.skipped) == [str(folder / "2.png")]
    return place / "evidence"


def begun(one_process, place):
    """A folder whose evidence has shards of two pictures, and none of them yet."""
    place.mkdir()
    shutil.copy(one_process / "manifest.json", place)
    return place


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def run(environment, *arguments, cwd=None):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, cwd=cwd, capture_output=True, text=True
    )


def test_a_book_is_the_same_as_by_one_process(address, environment, folder, one_process, tmp_path):
    evidence = begun(one_process, tmp_path / "evidence")
    options = ("--out", tmp_path / "book", "--evidence", evidence, "--ray", address, "--json", *EVERYTHING)
    built = run(environment, "-m", "wordsight", "codebook", "build", folder, *options)
    assert built.returncode == 0, built.stderr
    assert files(evidence) == files(one_process)
    record = json.loads(built.stdout)
    assert record["counts"]["pictures"] == 5
    assert f"skipped {folder / '2.png'}: " in built.stderr
    assert "3 of 3 jobs done, " in built.stderr
    assert " tokens a second on 2 actors" in built.stderr
    clustering = Clustering(images=0, largest=144)
    condition = replace(criterion("default"), confidence=1.1)
    book = build_codebook(Evidence.load(one_process), condition, clustering)
    book.save_pretrained(tmp_path / "expected")
    assert files(tmp_path / "book") == files(tmp_path / "expected")


def test_a_job_whose_worker_is_killed_is_done_again(address, environment, folder, one_process, tmp_path):
    evidence = begun(one_process, tmp_path / "evidence")
    collected = run(environment, HERE / "traps.py", "evidence", address, folder, evidence, 2)
    assert collected.returncode == 0, collected.stderr
    assert len(list((tmp_path / "evidence.deaths").iterdir())) == 2
    assert files(evidence) == files(one_process)


def test_a_job_that_kills_three_workers_is_one_sentence_and_the_rest_is_kept(
    address, environment, folder, one_process, tmp_path
):
    evidence = begun(one_process, tmp_path / "evidence")
    collected = run(environment, HERE / "traps.py", "evidence", address, folder, evidence, 99)
    assert collected.returncode == 1
    errors = [line for line in collected.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "a worker died 3 times at the same job" in errors[0]
    assert len(list((tmp_path / "evidence.deaths").iterdir())) == 3
    kept = files(evidence)
    assert 1 < len(kept) < len(files(one_process))
    assert kept.items() <= files(one_process).items()


def test_a_driver_that_died_is_gone_on_with(address, environment, folder, one_process, tmp_path):
    evidence = begun(one_process, tmp_path / "evidence")
    command = [sys.executable, HERE / "traps.py", "evidence", address, folder, evidence, "0"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as driver:
        while not list(evidence.glob("tokens/*.safetensors")):
            assert driver.poll() is None
            time.sleep(0.1)
        driver.send_signal(signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in evidence.rglob("*.safetensors")}
    again = run(environment, *command[1:])
    assert again.returncode == 0, again.stderr
    assert files(evidence) == files(one_process)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_comparison_is_the_same_though_a_worker_and_the_driver_are_killed(
    address, environment, embedded, traps, tmp_path
):
    options = ("--task", "scenes:pictures=4", "--limit", "8", "--keep", "0.2", "--pruner", "random")
    lethal = f"traps:Lethal:graves={tmp_path / 'graves'},deaths=1"
    out = ("--pruner", lethal, "--out", "out.json", "--json", "--ray", address)
    command = [sys.executable, "-m", "wordsight", "compare", *options, *out]
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as driver:
        while not (before := list(tmp_path.glob("out.json.cells/*.json"))):
            assert driver.poll() is None
            time.sleep(0.1)
        driver.send_signal(signal.SIGKILL)
    again = run(environment, *command[1:], cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    left = int(re.search(r"(\d+) of \1 jobs done, .* answers a second on", again.stderr)[1])
    assert left <= 5 - len(before)
    assert len(list((tmp_path / "graves").iterdir())) == 1
    assert not (tmp_path / "out.json.cells").exists()
    methods = [Random(keep=0.2), traps.Lethal(keep=0.2, graves=str(tmp_path / "graves"), deaths=1)]
    expected = json.loads(json.dumps(compare(embedded, [Scenes(pictures=4)], methods, limit=8).as_json()))
    record = json.loads(again.stdout)
    del record["environment"]["command"]
    assert record == expected
    assert Results.load(tmp_path / "out.json").rows == expected["rows"]


@pytest.fixture
def calibrated(embedded, folder, traps, tmp_path):
    """The record of a calibration by one process; evidence and book lie in a folder."""
    place = tmp_path / "expected"
    plan = EvidencePlan(clustering=traps.PLAN.clustering)
    evidence = collect_evidence(embedded, open_source(folder).first(1), place / "evidence", plan)
    found = traps.PLAN.results(embedded, evidence)
    found.book.save_pretrained(place / "book")
    return found.record


def test_a_calibration_is_the_same_as_by_one_process(address, environment, folder, calibrated, tmp_path):
    ran = run(environment, HERE / "traps.py", "calibration", address, folder, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"(\d+) of \1 jobs done, .* jobs a second on 2 actors", ran.stdout)
    for name in ("evidence", "book"):
        assert files(tmp_path / name) == files(tmp_path / "expected" / name)
    assert json.loads((tmp_path / "record.json").read_text()) == json.loads(json.dumps(calibrated))


def indented(page, first, after):
    """The block of a page that begins with a line, without its indent; it ends before `after`."""
    text = page.read_text("utf-8")
    start = text.index(f"    {first}")
    return dedent(text[start : text.index(after, start)])


def test_the_cluster_and_the_script_of_the_page_can_be_read():
    config = yaml.safe_load(indented(PAGE, "cluster_name:", "\nThen "))
    ray = import_module("ray.autoscaler._private.util")
    ray.validate_config(ray.prepare_config(config))
    script = indented(PAGE, "#!/bin/bash", "\n`compare ")
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


REFUSED = [
    (("--actors", 3), "no room for 3 actors of 1 CPU each: the cluster has 2 CPU, enough for 2"),
    (("--num-gpus-per-actor", 1), "no room for 1 actor of 1 GPU each: the cluster has 0 GPU, enough for 0"),
    (("--ray", "127.0.0.1:1"), "no Ray cluster answers at 127.0.0.1:1: "),
    (("--ray", "nowhere"), "no Ray cluster answers at nowhere: "),
    (("--model", str(HERE)), f"on {socket.gethostname()}: cannot load model '{HERE}'"),
]


def test_what_cannot_be_is_one_sentence_before_the_work(address, environment, folder, tmp_path):
    for options, message in REFUSED:
        out = ("--out", tmp_path / "book", *EVERYTHING, "--ray", address)
        built = run(environment, "-m", "wordsight", "codebook", "build", folder, *out, *options)
        assert built.returncode == 2
        assert message in built.stderr.splitlines()[-1]
    assert not (tmp_path / "book.evidence").exists()
