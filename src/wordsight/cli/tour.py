"""The tour that `make demo` gives: pictures answered with fewer tokens, what tokens say, and a small
comparison. Pictures are photos where the extra `photos` is installed; the comparison is on rendered scenes.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from PIL import Image
from typing_extensions import TypedDict

from wordsight import pruners
from wordsight._utils.files import check_file, replacing
from wordsight._utils.numbers import counted, signed
from wordsight.cli.common import program
from wordsight.evaluation.comparison import Settings, compare
from wordsight.evaluation.metrics import UNPRUNED
from wordsight.evaluation.results import Row, check_results
from wordsight.models import photos
from wordsight.models.showcase import Showcase, showcase
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.pruners.book import BookPruner
from wordsight.redundancy import probe
from wordsight.redundancy.codebook import own_book
from wordsight.reports import drawing
from wordsight.reports.formats import terminal
from wordsight.reports.tables import Table, comparison
from wordsight.tasks.scenes import Scenes
from wordsight.tasks.scoring import score

FORMAT = 3
KEEPS = (0.2, 0.1)
SHOWN = KEEPS[-1]  # of the answers and the pictures
METHODS = (*pruners.BEST_FIRST, "random")
COMPARED = 21  # pictures: what is found on fewer than 20 is not to be believed
RIGHT, WRONG = "\N{CHECK MARK}", "\N{BALLOT X}"


class DemoAnswer(TypedDict):
    """What was said with a share of the tokens."""

    pruner: Annotated[str, "a SPEC, or none"]
    keep: float
    said: str
    right: bool


class DemoAnswers(TypedDict):
    """The answers to a question about a picture."""

    picture: str
    question: str
    truth: str
    answers: Annotated[
        list[DemoAnswer], "the first is of all tokens; if it is wrong, the others are left out"
    ]


class DemoRecord(TypedDict):
    """What `wordsight demo` shows."""

    format: int
    model: Annotated[str, "that answers, and whose tokens are drawn; the comparison is of the embedded one"]
    answers: list[DemoAnswers]
    pictures: Annotated[list[str], "the paths of what was drawn"]
    results: Annotated[str, "the path of the comparison's results"]
    rows: Annotated[list[Row], "of the comparison"]
    conclusions: Annotated[list[str], "sentences about the rows"]
    next: Annotated[str, "the command to go on with"]


@dataclass(frozen=True)
class Tour:
    """What was shown: as a JSON record, and as tables for the terminal."""

    record: DemoRecord
    renderables: list[Any]


def tour(out: Path, *, notify: Callable[[str], None] = print) -> Tour:
    """Run the main job and write its pictures and results into `out`; `notify` gets a sentence a step."""
    drawn, results_file = out / "tokens.png", out / "compare.json"
    check_file(drawn)
    check_results(results_file)
    shown = showcase(photos.NAME if photos.is_installed() else "demo")
    embedded = VLM.from_pretrained()
    notify(f"asking the model {shown.model} about {len(shown.questions)} pictures")
    vlm = embedded if shown.model == embedded.name else VLM.from_pretrained(shown.model)
    answers = _answers(vlm, shown)
    notify("reading what every token of a picture says")
    with replacing(drawn) as draft:
        _drawn(vlm, shown).save(draft, format="PNG")
    notify(f"comparing pruners on all questions about {COMPARED} pictures that the model never saw")
    methods = [pruners.make(name).with_budget(keep=keep) for keep in KEEPS for name in METHODS]
    results = compare(embedded, [Scenes()], methods, settings=Settings(pictures=COMPARED))
    results.save(results_file)
    conclusions = [conclusion(results.rows, name) for name in (pruners.BEST_FIRST[0], "divprune", "codebook")]
    record: DemoRecord = {
        "format": FORMAT,
        "model": shown.model,
        "answers": answers,
        "pictures": [str(drawn)],
        "results": str(results_file),
        "rows": results.rows,
        "conclusions": conclusions,
        "next": _next_command(shown, out),
    }
    parts = [terminal(_answer_table(answers)), terminal(comparison(results.rows)), *conclusions]
    files = f"What the tokens say: {drawn}\nThe comparison, with its environment: {results_file}"
    return Tour(
        record, [*parts, files, f"Next, a page of all that a picture's tokens say:\n{record['next']}"]
    )


def _answers(vlm: VLM, shown: Showcase) -> list[DemoAnswers]:
    return [
        {"picture": name, "question": asked, "truth": truth, "answers": _said(vlm, shown, name, asked)}
        for name, questions in shown.questions.items()
        for asked, truth in questions.items()
    ]


def _said(vlm: VLM, shown: Showcase, name: str, question: str) -> list[DemoAnswer]:
    """The answer with all tokens and, if that is right, those with the tokens that each pruner keeps."""
    said: list[DemoAnswer] = []
    for pruner, method in {UNPRUNED: None, **_methods(shown)}.items():
        keep = SHOWN if method else 1.0
        text = vlm.answer(shown.folder / name, question, pruner=method).text
        right = score("exact", text, (shown.questions[name][question],), {}) == 1
        said.append({"pruner": pruner, "keep": keep, "said": text, "right": right})
        if not said[0]["right"]:
            break
    return said


def _methods(shown: Showcase) -> dict[str, Pruner]:
    """The pruners that leave tokens out, by name, with the model's own codebook if it comes with one."""
    book, methods = own_book(shown.model), dict[str, Pruner]()
    for name in shown.pruners:
        method = pruners.make(name).with_budget(keep=SHOWN)
        if not isinstance(method, BookPruner):
            methods[name] = method
        elif book:
            methods[name] = replace(method, codebook=book)
    return methods


def _answer_table(answers: list[DemoAnswers]) -> Table:
    right = [row for row in answers if row["answers"][0]["right"]]
    columns = [
        "all tokens" if each["pruner"] == UNPRUNED else f"{each['pruner']}, {each['keep']:.0%}"
        for each in (right[0]["answers"] if right else ())
    ]
    body = [
        (
            *(row["picture"], row["question"], row["truth"]),
            *(f"{RIGHT if each['right'] else WRONG} {each['said']}" for each in row["answers"]),
        )
        for row in right
    ]
    note = (
        f"Shown are {len(right)} of {counted(len(answers), 'question')}: those that the model answers right "
        "with all tokens. How often pruners are right is in the next table, of questions that nobody chose."
    )
    return Table("Answers", ("picture", "question", "truth", *columns), body, (note,), keys=3)


def conclusion(rows: Sequence[Row], pruner: str) -> str:
    """What the rows say of a pruner at the smallest budget, beside random tokens and the unpruned model."""
    keep = min(row["keep"] for row in rows if row["keep"])
    row, random = (
        next(row for row in rows if row["pruner"] == name and row["keep"] == keep)
        for name in (pruner, "random")
    )
    difference = row["difference_to"]["random"]
    _, low, high = difference
    if low is None or high is None or low <= 0 <= high:
        verdict = "which is not told apart from random tokens"
    else:
        verdict = f"which is {'more' if low > 0 else 'less'} than random tokens do, beyond chance"
    return (
        f"With {keep:.0%} of the tokens, {pruner} answers {row['accuracy']:.0%} of the questions right, "
        f"{verdict} ({random['accuracy']:.0%}; difference {signed(difference)}); all tokens: "
        f"{row['unpruned']:.0%}."
    )


def _next_command(shown: Showcase, out: Path) -> str:
    """`explain` about the first picture, by this environment's program."""
    name, questions = next(iter(shown.questions.items()))
    model = () if shown.model == "demo" else ("--model", shown.model)
    asked = ("--question", next(iter(questions)), "--out", str(out / Path(name).with_suffix(".html")))
    return f"{program()} {shlex.join(['explain', str(shown.folder / name), *model, *asked])}"


def _drawn(vlm: VLM, shown: Showcase) -> Image.Image:
    """The first picture, what its tokens say, and those that each pruner keeps, side by side."""
    with Image.open(shown.folder / next(iter(shown.questions))) as file:
        image = file.convert("RGB")
    methods = _methods(shown)
    signals = frozenset().union(*(method.required_signals for method in methods.values()))
    prompt = vlm.encode(image, probe.QUESTION, signals=signals)
    large = drawing.enlarged(image, drawing.boxes(image, prompt.visual))
    boxes = drawing.boxes(large, prompt.visual)
    probed = probe.probe_tokens(vlm, prompt)
    labels = drawing.labels(probed.words, probed.says_nothing.tolist())
    panels = [("what each token says alone", drawing.draw_words(large, boxes, labels))]
    for name, method in methods.items():
        kept = method(prompt).visual.slot.tolist()
        panels.append((f"{name}, {SHOWN:.0%} of the tokens kept", drawing.draw_kept(large, boxes, set(kept))))
    return drawing.side_by_side(panels)
