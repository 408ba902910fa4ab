"""The tour that `make demo` gives: pictures answered with fewer tokens, what tokens say, and a small
comparison. Pictures are photos where the extra `photos` is installed; the comparison is on rendered scenes.
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
from wordsight.evaluation.comparison import Settings, compare
from wordsight.evaluation.results import Row, check_results
from wordsight.models import photos
from wordsight.models.showcase import Showcase, showcase
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.redundancy import probe
from wordsight.reports import drawing
from wordsight.reports.formats import terminal
from wordsight.reports.tables import comparison
from wordsight.tasks.scenes import Scenes

FORMAT = 2
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
    model: Annotated[str, "that answers, and whose tokens are drawn; the comparison is of the embedded one"]
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
    methods = [pruners.make(f"{name}:keep={keep}") for keep in KEEPS[1:] for name in METHODS]
    results = compare(embedded, [Scenes()], methods, settings=Settings(pictures=COMPARED))
    results.save(results_file)
    record: DemoRecord = {
        "format": FORMAT,
        "model": shown.model,
        "answers": answers,
        "pictures": [str(drawn)],
        "results": str(results_file),
        "rows": results.rows,
    }
    files = f"What the tokens say: {drawn}\nThe comparison, with its environment: {results_file}"
    return Tour(record, [_answer_table(answers), terminal(comparison(results.rows)), files])


def _answers(vlm: VLM, shown: Showcase) -> list[DemoAnswers]:
    rows: list[DemoAnswers] = []
    for name, questions in shown.questions.items():
        for question in questions:
            answers = {
                keep: vlm.answer(shown.folder / name, question, pruner=_pruner(shown, keep)).text
                for keep in KEEPS
            }
            rows.append({"picture": name, "question": question, "answers": answers})
    return rows


def _pruner(shown: Showcase, keep: float) -> Pruner:
    return pruners.make(f"{shown.pruner}:keep={keep}")


def _answer_table(answers: list[DemoAnswers]) -> Table:
    table = Table(
        "picture", "question", *(f"{keep:.0%} of the tokens" for keep in KEEPS), box=None, pad_edge=False
    )
    for row in answers:
        table.add_row(row["picture"], row["question"], *row["answers"].values())
    return table


def _drawn(vlm: VLM, shown: Showcase) -> Image.Image:
    """The first picture, what its tokens say, and the fifth and tenth of them that are kept, side by side."""
    with Image.open(shown.folder / next(iter(shown.questions))) as file:
        image = file.convert("RGB")
    prompt = vlm.encode(image, probe.QUESTION)
    large = drawing.enlarged(image, drawing.boxes(image, prompt.visual))
    boxes = drawing.boxes(large, prompt.visual)
    probed = probe.probe_tokens(vlm, prompt)
    labels = drawing.labels(probed.words, probed.says_nothing.tolist())
    panels = [("what each token says alone", drawing.draw_words(large, boxes, labels))]
    for keep in KEEPS[1:]:
        kept = _pruner(shown, keep)(prompt).visual.slot.tolist()
        panels.append(
            (f"{shown.pruner}, {keep:.0%} of the tokens kept", drawing.draw_kept(large, boxes, set(kept)))
        )
    return drawing.side_by_side(panels)
