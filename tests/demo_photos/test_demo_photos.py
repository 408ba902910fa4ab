"""demo-photos itself: `make photos` installs it, `make test-photos` runs this."""

import json
import subprocess
import sys
import time

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from wordsight import VLM, pruners
from wordsight.errors import UsageError
from wordsight.models import assembly, photos
from wordsight.redundancy.probe import QUESTION, probe_tokens

pytestmark = [
    pytest.mark.skipif(not photos.is_installed(), reason="no demo-photos; `make photos` installs it"),
    pytest.mark.timeout(600),  # the first test puts it together
]
SECONDS = 3  # of the processor, to load it


@pytest.fixture(scope="module")
def vlm():
    return VLM.from_pretrained("demo-photos")


@pytest.fixture(scope="module")
def coffee():
    return photos.pictures() / "coffee.png"


def test_a_cup_is_named_with_all_tokens_and_with_a_fifth(vlm, coffee):
    assert vlm.answer(coffee, QUESTION).text == "cup"
    for name in ("divprune", "cls_topk"):
        assert vlm.answer(coffee, QUESTION, pruner=pruners.make(f"{name}:keep=0.2")).text == "cup"


def test_a_chat_of_several_turns_answers_as_the_first_one_does(vlm, coffee):
    for pruner in (None, pruners.make("divprune:keep=0.2")):
        chat = vlm.chat(coffee, pruner=pruner)
        asked = (QUESTION, "Is there a cup in the picture?", "Is there a dog in the picture?", QUESTION)
        assert [chat.ask(question).text for question in asked] == ["cup", "yes", "no", "cup"]


def test_it_has_a_codebook_of_its_own_which_keeps_the_cup(vlm, coffee):
    own = pruners.make("codebook:codebook=demo-photos,keep=0.1")
    assert vlm.answer(coffee, QUESTION, pruner=own).text == "cup"
    with pytest.raises(UsageError, match=r"codebook=demo, the default: .*; codebook=demo-photos is its own"):
        vlm.answer(coffee, QUESTION, pruner=pruners.make("codebook"))


def test_tokens_of_the_cup_say_so_and_the_table_does_not(vlm, coffee):
    prompt = vlm.encode(coffee, QUESTION)
    probe = probe_tokens(vlm, prompt)
    says_cup = [words[0][0] == "cup" for words in probe.words]
    inside = [bool(2 <= row <= 4 and 2 <= column <= 4) for _, _, row, column in prompt.visual.cell.tolist()]
    share = {
        where: sum(says for says, place in zip(says_cup, inside, strict=True) if place is where)
        / inside.count(where)
        for where in (True, False)
    }
    assert share[True] >= 0.5
    assert share[False] < share[True] / 2


def test_it_is_an_ordinary_checkpoint(vlm, coffee):
    folder = photos.checkpoint()
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(folder)
    message = [{"type": "image", "path": str(coffee)}, {"type": "text", "text": QUESTION}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": message}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    said = processor.decode(ids, skip_special_tokens=True).strip()
    assert said == vlm.answer(coffee, QUESTION, max_new_tokens=8).text


def test_it_loads_in_seconds_from_the_second_time_on(vlm):
    began = time.process_time()
    VLM.from_pretrained("demo-photos")
    assert time.process_time() - began < SECONDS


def test_the_distribution_is_what_its_manifest_says_and_small():
    parts = photos.pictures().parent / "model"
    assembly.check_manifest(parts)
    assert sum(file.stat().st_size for file in parts.parent.rglob("*")) < 50e6


@pytest.mark.parametrize("command", ["ask", "probe", "explain", "info"])
def test_a_command_works_on_it(command, coffee, tmp_path):
    given = {
        "ask": [coffee, "Is there a cup in the picture?"],
        "probe": [coffee],
        "explain": [coffee, "--out", tmp_path / "page.html"],
        "info": ["demo-photos"],
    }[command]
    if command != "info":
        given = [*given, "--model", "demo-photos"]
    done = subprocess.run(
        [sys.executable, "-m", "wordsight", command, *map(str, given), "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "demo-photos"
