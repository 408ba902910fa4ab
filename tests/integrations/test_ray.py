"""What is told of a cluster without one; tests/ray has one."""

import re
from pathlib import Path

import pytest

from wordsight.errors import UsageError, WordsightError
from wordsight.evaluation.calibration import CalibrationPlan
from wordsight.evaluation.comparison import Comparison, Settings
from wordsight.integrations import ray
from wordsight.integrations.ray import RayWorkers
from wordsight.pruners.random import Random
from wordsight.synthetic.scenes import render
from wordsight.tasks.scenes import Scenes

GIB = 2**30


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    render(2_000_001).image.save(tmp_path / "photos" / "one.png")


@pytest.mark.parametrize(
    ("needs", "there", "actors"),
    [
        ({"CPU": 1, "GPU": 0}, {"CPU": 16}, 16),
        ({"CPU": 1, "GPU": 1}, {"CPU": 16, "GPU": 8}, 8),
        ({"CPU": 1, "GPU": 0.5}, {"CPU": 16, "GPU": 2}, 4),
        ({"CPU": 1, "GPU": 0, "memory": 15 * GIB}, {"CPU": 16, "memory": 64 * GIB}, 4),
    ],
)
def test_there_are_as_many_actors_as_fit_or_as_asked_for(needs, there, actors):
    assert ray._room(RayWorkers(), needs, there) == actors
    assert ray._room(RayWorkers(actors=2), needs, there) == 2
    with pytest.raises(UsageError, match=f"no room for {actors + 1} actors of .* enough for {actors}; lower"):
        ray._room(RayWorkers(actors=actors + 1), needs, there)


def test_a_model_that_fits_nowhere_is_told_with_its_size():
    needs, there = {"CPU": 1, "memory": 15 * GIB}, {"CPU": 2, "memory": 8 * GIB}
    with pytest.raises(UsageError, match=r"1 actor of 15\.0 GiB of memory each: the cluster has 8\.0 GiB of"):
        ray._room(RayWorkers(), needs, there)


BUILD = ("codebook", "build", "photos", "--out", "book", "--min-images", "0")
CALIBRATE = ("codebook", "calibrate", "--images", "photos", "--out", "book", "--min-images", "0")
COMPARE = ("compare", "--task", "scenes", "--pruner", "random", "--keep", "0.2", "--out", "out.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ray", "local"), r"--ray needs Ray: pip install 'wordsight\[ray\]'"),
        (("--actors", "2"), "--actors and --num-gpus-per-actor are of --ray, which is missing"),
        (("--num-gpus-per-actor", "1"), "are of --ray, which is missing"),
    ],
)
@pytest.mark.parametrize("command", [BUILD, CALIBRATE, COMPARE], ids=["build", "calibrate", "compare"])
def test_misuse_of_the_options_is_one_sentence(command, options, message, run, monkeypatch):
    monkeypatch.setattr(ray, "find_spec", lambda name: None)
    code, _, err = run(*command, *options)
    errors = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert (code, len(errors)) == (2, 1)
    assert re.search(message, errors[0])


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ((*BUILD, "--part", "0/2"), "leave it or --ray out"),
        ((*COMPARE, "--part", "0/2"), "leave it or --ray out"),
        (COMPARE[:-2], "--ray measures into OUT.cells: give --out, in a folder that all machines share"),
    ],
)
def test_what_does_not_go_with_ray_is_one_sentence(command, message, run):
    code, _, err = run(*command, "--ray", "auto")
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


@pytest.mark.parametrize(
    ("command", "name", "cache"),
    [(CALIBRATE, "calibrate_on_ray", "book.cells"), (COMPARE, "compare_on_ray", "out.json.cells")],
)
def test_commands_give_workers_their_options_and_a_cache(command, name, cache, run, monkeypatch):
    given = []

    def stopped(*arguments):
        given.extend(arguments)
        raise WordsightError("this is far enough")

    monkeypatch.setattr(ray, name, stopped)
    code, _, err = run(*command, "--ray", "auto", "--actors", "3", "--num-gpus-per-actor", "0.5")
    assert (code, err.splitlines()[-1]) == (1, "error: this is far enough")
    workers, plan = given[0], next(each for each in given if isinstance(each, CalibrationPlan | Comparison))
    assert (workers.address, workers.actors, workers.gpus) == ("auto", 3, 0.5)
    assert getattr(plan, "settings", plan).cache == Path(cache)


def test_a_model_that_is_named_twice_is_refused_before_the_work(tmp_path):
    comparison = Comparison([Scenes()], [Random(keep=0.2)], settings=Settings(cache=tmp_path / "cells"))
    with pytest.raises(UsageError, match="duplicate model demo"):
        ray.compare_on_ray(RayWorkers(), comparison, ["demo", "demo"])


def test_an_address_without_a_cluster_is_told_at_once(monkeypatch):
    monkeypatch.setattr(ray, "find_spec", lambda name: "there")
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "nowhere"):
        with (
            pytest.raises(UsageError, match=f"no Ray cluster answers at {address}: .*expected HOST:PORT"),
            ray._connected(address),
        ):
            raise AssertionError
