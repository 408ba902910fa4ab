"""Every command that loads a model takes the same options of how, and says what came of them."""

import json
import sys
from inspect import signature
from typing import get_args

import pytest
from transformers.utils import logging

from wordsight import cli
from wordsight.cli.common import load_options, load_vlm
from wordsight.models.load_options import GenerationOptions, LoadOptions
from wordsight.models.vlm import VLM

COMMANDS = [
    cli.ask.ask,
    cli.probe.probe,
    cli.explain.explain,
    cli.view.view,
    cli.compare.compare,
    cli.recommend.recommend,
    cli.analyze.analyze,
    cli.info.info,
    cli.codebook.build,
    cli.codebook.calibrate,
    cli.codebook.compact,
    cli.codebook.inspect,
]
SHARED = signature(load_options, eval_str=True).parameters


@pytest.mark.parametrize("name", sorted(SHARED.keys() - {"device_map", "quantization", "adapter"}))
def test_the_help_says_what_holds_where_an_option_is_left_out(name):
    """Those that are not here are of what is not done by default."""
    parameter = SHARED[name]
    (option,) = get_args(parameter.annotation)[1:]
    assert parameter.default is not None or "by default" in option.help


@pytest.fixture
def saved(tiny, tmp_path):
    """A folder with the tiny model."""
    tiny.model.save_pretrained(tmp_path / "tiny")
    tiny.processor.save_pretrained(tmp_path / "tiny")
    return str(tmp_path / "tiny")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_a_command_takes_all_of_them(command):
    taken = {name: each.default for name, each in signature(command).parameters.items()}
    assert taken.items() >= {name: each.default for name, each in SHARED.items()}.items()
    assert "load" not in taken


def test_all_of_them_but_the_token_are_those_of_load_options():
    assert set(SHARED) == set(LoadOptions.__dataclass_fields__) - {"token"}


def test_they_reach_the_model_and_the_record(saved, tmp_path, picture, monkeypatch, capsys):
    picture.save(tmp_path / "p.png")
    options = (
        "--dtype bfloat16 --device cpu --attention eager --processor do_rescale=true --processor resample=2"
    )
    generation = "--generation max_new_tokens=3 --generation repetition_penalty=1.5"
    given = [*options.split(), *generation.split(), "--model", saved, "--json"]
    monkeypatch.setattr(sys, "argv", ["wordsight", "ask", str(tmp_path / "p.png"), "what is it?", *given])
    cli.main()
    said = capsys.readouterr()
    record = json.loads(said.out)
    measured = record["measured_with"]
    assert (measured["dtype"], measured["device"], measured["attention"]) == (
        "torch.bfloat16",
        "cpu",
        "eager",
    )
    assert measured["options"] == {
        "dtype": "bfloat16",
        "attention": "eager",
        "processor": {"do_rescale": True, "resample": 2},
        "generation": {"max_new_tokens": 3, "repetition_penalty": 1.5},
    }
    assert record["cut"] is True


def test_a_cut_answer_is_said_on_stderr(run, tmp_path, picture):
    picture.save(tmp_path / "p.png")
    code, _, err = run("ask", str(tmp_path / "p.png"), "what is it?")
    assert (code, "an answer was cut; --generation max_new_tokens=NUMBER lets it go on" in err) == (0, True)


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def test_the_values_of_texts_reach_the_options():
    found = load_options(template=["enable_thinking=true"], generation=["stop=END"], device="cuda:1")
    assert found == LoadOptions(
        device="cuda:1",
        template={"enable_thinking": True},
        generation=GenerationOptions(stop=("END",)),
    )


@pytest.mark.parametrize(
    ("name", "is_terminal", "expected"), [("m", True, 0), ("m", False, 1), ("demo", True, 1)]
)
def test_loading_shows_bars_on_a_terminal(name, is_terminal, expected, monkeypatch):
    hidden = []
    monkeypatch.setattr(logging, "disable_progress_bar", lambda: hidden.append(1))
    monkeypatch.setattr(VLM, "from_pretrained", lambda name, options: name)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    load_vlm(name)
    assert len(hidden) == expected
