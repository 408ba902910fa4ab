"""The embedded model and its codebook, as they are shipped."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

import wordsight.demo
from wordsight import Codebook, CodebookPruner
from wordsight.demo import PICTURES, QUESTIONS
from wordsight.redundancy import probe
from wordsight.synthetic.questions import ask
from wordsight.synthetic.scenes import CLASSES, OBJECT_CLASSES, SPLITS, render

FOLDER = Path(wordsight.demo.__file__).parent
SCENES = [render(SPLITS["validation"] + 50_000 + i) for i in range(12)]


def test_checkpoint_loads_as_any_users_checkpoint_does():
    model = AutoModelForImageTextToText.from_pretrained(FOLDER / "model")
    processor = AutoProcessor.from_pretrained(FOLDER / "model")
    assert isinstance(model, LlavaForConditionalGeneration)
    assert processor.tokenizer.is_fast


def test_weights_are_half_precision_safetensors_of_at_most_25_megabytes():
    weights = FOLDER / "model" / "model.safetensors"
    assert weights.stat().st_size <= 25_000_000
    assert AutoModelForImageTextToText.from_pretrained(FOLDER / "model", dtype="auto").dtype == torch.float16


def test_answers_are_far_above_chance_on_scenes_it_never_saw(embedded):
    marks = []
    for seed, scene in enumerate(SCENES):
        questions = [
            question for question in ask(scene, seed) if question.type in ("existence", "background")
        ]
        prompts = [embedded.encode(scene.image, question.text) for question in questions]
        said = embedded.generate(prompts, max_new_tokens=8)
        marks += [text == question.answer for text, question in zip(said, questions, strict=True)]
    assert sum(marks) / len(marks) > 0.75


def test_object_tokens_say_their_own_word(embedded):
    marks = []
    for scene in SCENES[:6]:
        reading = probe.probe_tokens(embedded, embedded.encode(scene.image, probe.QUESTION))
        for label, words in zip(scene.labels.flatten().tolist(), reading.words, strict=True):
            if 0 <= label < OBJECT_CLASSES:
                marks.append(words[0][0] in CLASSES[label].split())
    assert sum(marks) / len(marks) > 0.6


def test_shipped_codebook_belongs_to_the_shipped_model(embedded):
    CodebookPruner().check(embedded)


def test_shipped_codebook_says_where_it_comes_from():
    config = Codebook.from_pretrained("demo").config
    assert config["counts"]["pictures"] >= 200
    assert {
        "model",
        "fingerprint",
        "questions",
        "condition",
        "thresholds",
        "pictures_sha256",
        "versions",
    } <= set(config)


@pytest.mark.parametrize("name", QUESTIONS)
def test_tour_has_its_pictures(name):
    assert (PICTURES / name).is_file()


def test_card_has_the_accuracies_of_the_committed_results():
    card = (FOLDER / "model" / "README.md").read_text()
    gates = json.loads((Path(__file__).parent.parent / "benchmarks" / "results" / "gates.json").read_text())
    for task, kinds in next(iter(gates["models"].values()))["accuracy"].items():
        for kind, figures in kinds.items():
            (row,) = (line for line in card.splitlines() if line.startswith(f"| {task} | {kind} | "))
            assert f"{figures['accuracy']:.3f} [" in row
            assert f"{figures['blind']:.3f}" in row
