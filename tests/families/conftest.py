"""Tiny models of every family, random pictures and videos, and a report of what passed."""

import json
from collections import defaultdict
from pathlib import Path

import checkpoints  # first: it makes torchvision importable
import facts
import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from wordsight import Video
from wordsight.models import families
from wordsight.models.vlm import VLM

KINDS = ("image", "images", "video")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A function that writes the tiny checkpoint of a family, once, and returns its folder."""
    folders = {}

    def write(name):
        if name not in folders:
            if facts.VARIANTS.get(name, name) not in hf.CONFIG_MAPPING:
                pytest.skip(f"transformers {hf.__version__} does not know it; the newest runs it")
            torch.manual_seed(0)
            folder = tmp_path_factory.mktemp(name)
            try:
                checkpoints.save(*getattr(checkpoints, name)(), folder)
            except ImportError as error:
                pytest.skip(f"{str(error).strip().splitlines()[0]} `make test` installs it.")
            folders[name] = folder
        return folders[name]

    return write


@pytest.fixture(scope="session")
def loaded(checkpoint):
    """A function that loads the tiny checkpoint of a family, once."""
    models = {}

    def load(name):
        if name not in models:
            models[name] = VLM.from_pretrained(str(checkpoint(name)))
        return models[name]

    return load


# With the session's scope, tests come family by family, and media by media in them.
@pytest.fixture(scope="session", params=[*families.names(), *facts.VARIANTS])
def vlm(request, loaded):
    """The tiny model of every family in turn."""
    return loaded(request.param)


@pytest.fixture(scope="session")
def mapped(vlm):
    """The tiny model of every family whose tokens have a place in a picture."""
    assert vlm.family.has_picture_map == (facts.kind(vlm) not in facts.NO_MAP)
    if not vlm.family.has_picture_map:
        pytest.skip(f"no machine runs it: {vlm.family.no_map}")
    return vlm


@pytest.fixture(scope="session")
def picture():
    """A function that makes a picture of noise, so that every patch is another."""

    def noise(width, height, seed):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    return noise


@pytest.fixture(scope="session", params=KINDS)
def media(request, picture):
    """One picture, two of different shapes, or four frames."""
    if request.param == "video":
        return Video.of([picture(60, 40, seed) for seed in range(4)], fps=2)
    images = [picture(90, 40, 0), picture(50, 50, 1)]
    return images[0] if request.param == "image" else images


def pytest_addoption(parser):
    parser.addoption("--families", help="run the tests of these checkpoints alone, by commas")
    parser.addoption("--report", help="write which families passed which kinds of tests into this JSON file")


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "shows(column): what of a family the test shows; the property `cannot` says that it has it not",
    )
    config.report = defaultdict(lambda: defaultdict(list))


def pytest_collection_modifyitems(config, items):
    if only := config.getoption("--families"):
        of = [getattr(getattr(item, "callspec", None), "params", {}).get("vlm") for item in items]
        items[:] = [item for item, name in zip(items, of, strict=True) if name in only.split(",")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    mark = item.get_closest_marker("shows")
    counts = call.when == "call" or outcome.failed
    if mark and counts and "cannot" not in dict(item.user_properties):
        column = mark.args[0] if mark.args else item.callspec.params["media"]
        item.config.report[item.callspec.params["vlm"]][column].append(outcome.outcome)
    return outcome


def pytest_sessionfinish(session):
    if path := session.config.getoption("--report"):
        record = {"passed": session.config.report, "transformers": hf.__version__}
        Path(path).write_text(json.dumps(record, indent=1) + "\n")
