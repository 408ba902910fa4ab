"""Measure a trained model by the gates, with intervals and blind scores, through wordsight itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.progress import track

from alignment import known_names
from answering import lookalikes
from cases import Case, cases, unseen_cases
from features import cache_features
from measures import accuracy, area_under_curve, calibration_error, resampled
from names import UNSURE
from outlines import read_outline
from photos import read_photos
from questions import Question, Questioner
from recipes import RECIPES
from vision import restrict_attention
from wheels import BUILD
from wordsight import VLM
from wordsight._utils.files import replacing
from wordsight._utils.numbers import with_interval
from wordsight.evaluation.environment import environment
from wordsight.redundancy.probe import ARTICLES, QUESTION, keep_only, probe_tokens

GATES = Path(__file__).with_name("gates.json")
LONGEST = 24  # new tokens


@dataclass
class Scores:
    """What was asked and answered, one entry a question."""

    right: dict[str, list[bool]] = field(default_factory=dict)
    blind: dict[str, list[bool]] = field(default_factory=dict)
    pictures: dict[str, list[str]] = field(default_factory=dict)
    said: list[dict[str, str]] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    first_right: list[bool] = field(default_factory=list)
    unsure: dict[str, list[float]] = field(default_factory=dict)
    later: list[bool] = field(default_factory=list)

    def add(self, case: Case, question: Question, text: str, blind: str) -> None:
        """Note an answer, and the one without the picture."""
        self.right.setdefault(question.kind, []).append(same(text, question.answer))
        self.blind.setdefault(question.kind, []).append(same(blind, question.answer))
        self.pictures.setdefault(question.kind, []).append(case.name)
        self.said.append({"case": case.name, "asked": question.text, "said": text, "is": question.answer})


def evaluate(
    photos: Annotated[Path, typer.Argument(help="the folder that the model was trained with")],
    model: Annotated[str, typer.Option(help="recipe and seed")] = "b-0",
    split: Annotated[str, typer.Option(help="validation while choosing, test once")] = "validation",
    unseen: Annotated[Path | None, typer.Option(help="class folders of a source training never saw")] = None,
    outlines: Annotated[
        Path | None, typer.Option(help="Caltech-101's Annotations, beside its photos")
    ] = None,
    most: Annotated[
        int, typer.Option(help="photos, unknown ones, collages and pairs, the first of each")
    ] = 1000,
) -> None:
    """Print every gate, and write all figures beside the model."""
    vlm = VLM.from_pretrained(str(BUILD / f"model-{model}"), dtype=torch.float32)
    shown = read_photos(photos)
    features = cache_features(shown)
    if RECIPES[model[0]].windowed:
        restrict_attention(vlm.model.model.vision_tower)
    names = known_names(shown)
    questioner = Questioner(shown, lookalikes(shown, features["photos"]))
    asked = list(cases(shown, features, questioner, split, most))
    scores = ask(vlm, asked)
    if unseen is not None:
        ask(vlm, list(unseen_cases(unseen, names)), scores)
    figures = measure(scores, vlm.processor.tokenizer, names)
    if outlines is not None:
        figures |= read_alone(vlm, asked, outlines)
    report = {
        "model": model,
        "split": split,
        "most": most,
        "gates": judged(figures),
        "environment": {**environment(vlm), "model": model},
        "said": scores.said,
    }
    target = BUILD / f"gates-{model}-{split}.json"
    with replacing(target) as draft:
        draft.write_text(json.dumps(report, indent=1) + "\n")
    for gate in report["gates"]:
        print(line(gate))


def ask(vlm: VLM, asked: Sequence[Case], scores: Scores | None = None) -> Scores:
    """Ask everything: each question first, names after another question too, and all of it blind."""
    scores = scores or Scores()
    known_blind: dict[str, str] = {}
    for case in track(asked, "pictures"):
        visual = None
        for question in case.questions:
            prompt = vlm.encode(case.images, question.text, visual=visual)
            visual = prompt.visual
            key = f"{len(case.images)} {question.text}"
            if key not in known_blind:
                (known_blind[key],) = vlm.generate([keep_only(prompt, [])], max_new_tokens=LONGEST)
            (text,) = vlm.generate([prompt], max_new_tokens=LONGEST)
            scores.add(case, question, text, known_blind[key])
            if question.kind in ("names", "unknown"):
                _note_first_word(vlm, prompt, question.kind, question.answer, scores)
        if case.questions[0].kind == "names":
            _ask_again(vlm, case, visual, scores)
    return scores


def same(said: str, answer: str) -> bool:
    """Whether an answer is the wanted one, but for case and a full stop."""
    return said.strip().strip(".").lower() == answer.lower()


def _note_first_word(vlm: VLM, prompt: Any, kind: str, answer: str, scores: Scores) -> None:
    chances = vlm.logits([prompt])[0].softmax(-1)
    first = _first_token(vlm, UNSURE)
    scores.unsure.setdefault(kind, []).append(float(chances[first]))
    if kind == "names":
        scores.confidence.append(float(chances.max()))
        scores.first_right.append(int(chances.argmax()) == _first_token(vlm, answer))


def _first_token(vlm: VLM, text: str) -> int:
    return vlm.processor.tokenizer(f" {text}", add_special_tokens=False)["input_ids"][0]


def _ask_again(vlm: VLM, case: Case, visual: Any, scores: Scores) -> None:
    """The name as the second question, after the model's own answer to another one."""
    other, naming = case.questions[1], case.questions[0]
    (text,) = vlm.generate([vlm.encode(case.images, other.text, visual=visual)], max_new_tokens=LONGEST)
    prompt = vlm.encode(case.images, naming.text, turns=[(other.text, text)], visual=visual)
    (text,) = vlm.generate([prompt], max_new_tokens=LONGEST)
    scores.later.append(same(text, naming.answer))


def measure(scores: Scores, tokenizer: Any, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Every gate's figure by its name."""
    figures = {}
    for kind, right in scores.right.items():
        if kind != "unknown":
            blind = float(np.mean(scores.blind[kind]))
            figures[kind] = accuracy(right, scores.pictures[kind]) | {"blind": blind}
    first, later = (np.array(one, float) for one in (scores.right["names"], scores.later))
    figures["second_turn"] = resampled(lambda a, b: float(a.mean() - b.mean()), first, later)
    sure, right = np.array(scores.confidence), np.array(scores.first_right, float)
    figures["calibration"] = resampled(calibration_error, sure, right)
    unknown, known = (np.array(scores.unsure.get(kind, [])) for kind in ("unknown", "names"))
    if len(unknown):
        figures["abstention"] = resampled(area_under_curve, unknown, known)
    naming = [one["said"] for one in scores.said if one["asked"] == QUESTION and one["is"]]
    begun = [text.lower().split()[:1] not in [[article] for article in ARTICLES] for text in naming]
    figures["begins_with_name"] = accuracy(begun, [str(i) for i in range(len(begun))])
    readable = [is_whole(tokenizer, name) for name in names]
    figures["readable_first_word"] = accuracy(readable, list(names))
    return figures


def is_whole(tokenizer: Any, name: str) -> bool:
    """Whether a name's first token is its first word."""
    first = tokenizer(f" {name}", add_special_tokens=False)["input_ids"][0]
    return tokenizer.decode([first]).strip() == name.split()[0]


def read_alone(vlm: VLM, asked: Iterable[Case], annotations: Path) -> dict[str, dict[str, Any]]:
    """What single tokens say, inside and outside of outlines that people drew."""
    right, pictures, sure = [], [], []
    for case in asked:
        if case.photo is None or not case.photo.known:
            continue
        share = read_outline(Path(case.photo.path), annotations, case.images[0].size)
        if share is None:
            continue
        probe = probe_tokens(vlm, vlm.encode(case.images, QUESTION))
        says_name = (probe.tokens[:, 0] == _first_token(vlm, case.photo.name)).numpy()
        right += says_name[share >= 0.5].tolist()
        pictures += [case.name] * int((share >= 0.5).sum())
        if (share == 0).any():
            sure.append(float(probe.confidence[torch.from_numpy(share == 0)].mean()))
    return {
        "salient_alone": accuracy(right, pictures),
        "background_confidence": resampled(lambda one: float(one.mean()), np.array(sure)),
    }


def judged(figures: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The gates with their figures and verdicts; what was not measured says so by None."""
    found = []
    for gate in json.loads(GATES.read_text())["gates"]:
        figure = figures.get(gate["name"])
        found.append(gate | (figure or {"value": None}) | {"passes": passes(gate, figure)})
    return found


def passes(gate: dict[str, Any], figure: dict[str, Any] | None) -> bool | None:
    """Whether a figure is on the right side of a gate's threshold; None where there is no figure."""
    if figure is None:
        return None
    value = figure["value"]
    if "at_least" in gate:
        return value >= gate["at_least"]
    return value <= gate["at_most"] if "at_most" in gate else value < gate["below"]


def line(gate: dict[str, Any]) -> str:
    """A gate in one line."""
    if gate["passes"] is None:
        return f"{gate['name']:22} not measured        {gate['says']}"
    reached = with_interval(gate["value"], *gate["interval"], form="{:.3f}".format)
    blind = f", blind {gate['blind']:.3f}" if "blind" in gate else ""
    verdict = "passes" if gate["passes"] else "FAILS"
    return f"{gate['name']:22} {verdict} {reached}{blind}  {gate['says']}"


if __name__ == "__main__":
    typer.run(evaluate)
