"""The tour that `make demo` gives: pictures answered with fewer tokens, what tokens say, and a small
comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from PIL import Image
from rich.table import Table
from typing_extensions import TypedDict

from wordsight import pruners
from wordsight._utils.files import check_file, replacing
from wordsight.demo import PICTURES, QUESTIONS
from wordsight.evaluation.comparison import Settings, compare
from wordsight.evaluation.results import Row, check_results
from wordsight.models.vlm import VLM
from wordsight.redundancy import probe
from wordsight.reports import drawing
from wordsight.reports.formats import terminal
from wordsight.reports.tables import comparison
from wordsight.tasks.scenes import Scenes

FORMAT = 1
KEEPS = (1.0, 0.2, 0.1)
METHODS = ("random", "cls_topk", "divprune", "codebook")
COMPARED = 21  # pictures: what is found on fewer than 20 is not to be believed


class DemoAnswers(TypedDict):
    """The answers to a question about a picture."""

    picture: str
    question: str
    answers: Annotated[dict[float, str], "by the share of the tokens that is kept"]


class DemoRecord(TypedDict):
    """What `wordsight demo` shows."""

    format: int
    answers: list[DemoAnswers]
    pictures: Annotated[list[str], "the paths of what was drawn"]
    results: Annotated[str, "the path of the comparison's results"]
    rows: Annotated[list[Row], "of the comparison"]


@dataclass(frozen=True)
class Tour:
    """What was shown: as a JSON record, and as tables for the terminal."""

    record: DemoRecord
    renderables: list[Any]


def tour(out: Path, *, notify: Callable[[str], None] = print) -> Tour:
    """Run the main job on the embedded model and write its pictures and results into `out`; `notify` gets a
    sentence at the beginning of each step.
    """
    drawn, results_file = out / "tokens.png", out / "compare.json"
    check_file(drawn)
    check_results(results_file)
    notify("loading the embedded model and its codebook")
    vlm = VLM.from_pretrained()
    answers = _answers(vlm)
    notify("reading what every token of a picture says")
    with replacing(drawn) as draft:
        _drawn(vlm, PICTURES / next(iter(QUESTIONS))).save(draft, format="PNG")
    notify(f"comparing pruners on all questions about {COMPARED} pictures that the model never saw")
    methods = [pruners.make(f"{name}:keep={keep}") for keep in KEEPS[1:] for name in METHODS]
    results = compare(vlm, [Scenes()], methods, settings=Settings(pictures=COMPARED))
    results.save(results_file)
    record: DemoRecord = {
        "format": FORMAT,
        "answers": answers,
        "pictures": [str(drawn)],
        "results": str(results_file),
        "rows": results.rows,
    }
    files = f"What the tokens say: {drawn}\nThe comparison, with its environment: {results_file}"
    return Tour(record, [_answer_table(answers), terminal(comparison(results.rows)), files])


def _answers(vlm: VLM) -> list[DemoAnswers]:
    rows: list[DemoAnswers] = []
    for name, questions in QUESTIONS.items():
        for question in questions:
            answers = {
                keep: vlm.answer(PICTURES / name, question, pruner=pruners.make(f"codebook:keep={keep}")).text
                for keep in KEEPS
            }
            rows.append({"picture": name, "question": question, "answers": answers})
    return rows


def _answer_table(answers: list[DemoAnswers]) -> Table:
    table = Table(
        "picture", "question", *(f"{keep:.0%} of the tokens" for keep in KEEPS), box=None, pad_edge=False
    )
    for row in answers:
        table.add_row(row["picture"], row["question"], *row["answers"].values())
    return table


def _drawn(vlm: VLM, picture: Path) -> Image.Image:
    """The picture, what its tokens say, and the fifth and tenth of them that the codebook keeps, side by
    side.
    """
    with Image.open(picture) as file:
        image = file.convert("RGB")
    prompt = vlm.encode(image, probe.QUESTION)
    large = drawing.enlarged(image, drawing.boxes(image, prompt.visual))
    boxes = drawing.boxes(large, prompt.visual)
    probed = probe.probe_tokens(vlm, prompt)
    labels = drawing.labels(probed.words, probed.says_nothing.tolist())
    panels = [("what each token says alone", drawing.draw_words(large, boxes, labels))]
    for keep in KEEPS[1:]:
        kept = pruners.make(f"codebook:keep={keep}")(prompt).visual.slot.tolist()
        panels.append(
            (f"codebook, {keep:.0%} of the tokens kept", drawing.draw_kept(large, boxes, set(kept)))
        )
    return drawing.side_by_side(panels)
