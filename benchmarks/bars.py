"""The bars that a comparison has to clear, with the figures, whether it does or not."""

from __future__ import annotations

from statistics import fmean

import numpy as np

from over_models import corrected
from wordsight._utils.numbers import signed
from wordsight.evaluation.results import Results, Row
from wordsight.evaluation.statistics import DIFFERENCES, Scores, interval_of_tasks
from wordsight.pruners import make
from wordsight.pruners.book import BookPruner
from wordsight.pruners.layerwise import LayerPruner
from wordsight.pruners.scorer import ScorerPruner
from wordsight.reports.tables import Table

QUALITY = {0.2: 0.99, 0.1: 0.97, 0.05: 0.93}  # what share of the unpruned accuracy is aimed at, by keep
KEEPS = tuple(QUALITY)
WITHOUT_PRUNER = ("none", "resized")
OURS, QUESTION, MODEL = "ours", "question", "language model"  # what is said of a pruner's kind
PUBLISHED = "@published"
CONTROL = ":codebook=benchmarks/control-codebook"  # the same with a book of random tokens
COVERAGE = "scope:alpha=0.0"
SHOWN_AS_OURS = "codebook_scope"
ASKED_AGAIN = (  # of several seeds, on other pictures: seeds.py
    (SHOWN_AS_OURS, "divprune"),
    (SHOWN_AS_OURS, SHOWN_AS_OURS + CONTROL),
    (SHOWN_AS_OURS, COVERAGE),
    (COVERAGE, "divprune"),
)
OTHERS = (  # what something is concluded from, beside ours and each of its rivals
    (COVERAGE, "divprune"),
    (COVERAGE, SHOWN_AS_OURS + CONTROL),
    ("codebook_coverage", "divprune"),
    ("codebook_coverage", "codebook_coverage" + CONTROL),
    ("codebook", "random"),
    ("codebook", "codebook" + CONTROL),
    ("learned_mmr", "divprune"),
)


def bars(results: Results, ours: str) -> Table:
    """On the mean over tasks: the quality that our method keeps, and every pruner that it is below.

    Below: the interval of the difference lies above zero, corrected for all that is concluded, among those
    that know the pictures only and drop tokens before the language model.
    """
    rows = results.rows
    most = max(row["tasks"] for row in rows)
    kept = {(row["pruner"], row["keep"]): row["retention"] for row in rows if row["tasks"] == most}
    scores, pictures = by_task(results)
    rivals, level, body = rivals_of(rows, ours), level_of(rows, ours), []
    for keep, bar in QUALITY.items():
        above = []
        for name in rivals:
            gap, low, high = _difference(scores[name, keep], scores[ours, keep], pictures, level)
            if low > 0:
                above.append((gap, low, high, name))
        listed = [f"{name} {signed(gap)}" for *gap, name in sorted(above, reverse=True)]
        share = kept[ours, keep]
        assert share is not None, "the model answers some questions rightly"
        verdict = "met" if share >= bar else "missed"
        quality = f"{share:.1%} ({verdict}: {bar:.0%})"
        body.append((f"{keep:.0%}", quality, f"{len(above)} of {len(rivals)}", "; ".join(listed) or "none"))
    head = ("keep", f"quality kept by {ours}", "pruners above it", "by how much [corrected]")
    return Table("Bars", head, body)


def concluded(results: Results, ours: str) -> Table:
    """A row for each pair of pruners that something is concluded from: their difference at each keep, the
    mean over tasks, at `level_of`.
    """
    scores, pictures = by_task(results)
    level = level_of(results.rows, ours)
    body = []
    for name, other in ((ours, "divprune"), (ours, ours + CONTROL), (ours, COVERAGE), *OTHERS):
        each = [_difference(scores[name, keep], scores[other, keep], pictures, level) for keep in KEEPS]
        body.append((f"{row_label(name)} - {row_label(other)}", *map(signed, each)))
    return Table("Concluded", ("difference", *(f"{keep:.0%}" for keep in KEEPS)), body)


def rivals_of(rows: list[Row], ours: str) -> list[str]:
    """What knows the pictures only and drops tokens before the language model, but for ours."""
    names = dict.fromkeys(row["pruner"] for row in rows)
    return [n for n in names if n not in (*WITHOUT_PRUNER, ours) and kind(n) not in (QUESTION, MODEL)]


def level_of(rows: list[Row], ours: str) -> float:
    """The level of each interval so that all of them hold in 95 % of cases: every rival minus ours and every
    pair of OTHERS, at each keep.
    """
    return corrected((len(rivals_of(rows, ours)) + len(OTHERS)) * len(KEEPS))


def row_label(name: str) -> str:
    """What the row of a pruner is called in tables."""
    return name.replace(CONTROL, " with a random book")


def _difference(
    first: list[Scores], second: list[Scores], pictures: list[list[str]], level: float
) -> tuple[float, float, float]:
    """The mean over tasks of the first minus the second, task by task, and the ends of its interval."""
    gaps = [one - other for one, other in zip(first, second, strict=True)]
    low, high = interval_of_tasks(gaps, pictures, level, ends=DIFFERENCES)
    assert low is not None, "there are two pictures or more"
    assert high is not None, "there are two pictures or more"
    return float(np.mean([gap.mean() for gap in gaps])), low, high


def as_published(results: Results, ours: Results) -> Table:
    """Methods as their authors have released them, minus the same with our defaults: the mean over tasks, by
    questions that both were asked, corrected for all rows (Bonferroni).
    """
    scores, pictures = by_task(results)
    of_ours, asked = by_task(ours)
    assert pictures == asked, "both were asked the same questions"
    most = max(row["tasks"] for row in results.rows)
    rows = [row for row in results.rows if row["tasks"] == most and PUBLISHED in row["pruner"]]
    tokens = {(row["pruner"], row["keep"]): row["tokens_kept"] for row in ours.rows if row["tasks"] == most}
    level = corrected(len(rows))
    body = []
    for row in rows:
        name, keep = row["pruner"].removesuffix(PUBLISHED), row["keep"]
        theirs, mine = scores[row["pruner"], keep], of_ours[name, keep]
        means = (float(np.mean([each.mean() for each in of])) for of in (mine, theirs))
        read = f"{tokens[name, keep]:.1f}, {row['tokens_kept']:.1f}"
        gap = signed(_difference(theirs, mine, pictures, level))
        body.append((name, *(f"{mean:.3f}" for mean in means), read, gap))
    head = ("method", "our default", "as published", "tokens, each", "published - default [corrected]")
    return Table("As published", head, body)


def by_task(results: Results) -> tuple[dict[tuple[str, float | None], list[Scores]], list[list[str]]]:
    """Task by task the scores of every pruner at every keep, the mean over runs, and the pictures asked
    about.
    """
    scores: dict[tuple[str, float | None], list[Scores]] = {}
    for task in results.answers:
        for each in task["answered"]:
            mean: Scores = np.mean(each["scores"], 0)
            scores.setdefault((each["pruner"], each["keep"]), []).append(mean)
    return scores, [[question["picture"] for question in task["questions"]] for task in results.answers]


def in_brief(rows: list[Row], ours: str) -> Table:
    """The mean accuracy over tasks by keep of no pruner, smaller pictures, random tokens, ours and its
    control, and of each other kind the pruner whose mean over keeps is highest.
    """
    most = max(row["tasks"] for row in rows)
    accuracies: dict[str, list[float]] = {}
    for row in sorted(rows, key=lambda row: KEEPS.index(row["keep"]) if row["keep"] in KEEPS else -1):
        if row["tasks"] == most:
            accuracies.setdefault(row["pruner"], []).append(row["accuracy"])
    kinds: dict[str, list[str]] = {}
    for name in accuracies:
        if name not in WITHOUT_PRUNER:
            kinds.setdefault(kind(name), []).append(name)
    best = {of: max(names, key=lambda name: fmean(accuracies[name])) for of, names in kinds.items()}
    named = {"none": "all tokens", "resized": "a smaller picture", "random": "nothing"}
    named |= {best[of]: of for of in kinds if of != OURS}
    named |= {"codebook": OURS, ours: OURS, ours + CONTROL: "ours, with a book of random tokens"}
    body = []
    for name, of in named.items():
        each = accuracies[name] if name != "none" else accuracies[name] * len(KEEPS)
        body.append((name.removesuffix(CONTROL), of, *(f"{value:.3f}" for value in each)))
    blind = next(row["blind"] for row in rows if row["tasks"] == most)
    head = ("pruner", "reads", *(f"{keep:.0%}" for keep in KEEPS))
    return Table("In brief", head, body, (f"Without the picture: {blind:.3f}.",))


def kind(name: str) -> str:
    """What a pruner reads to choose, or whose it is."""
    pruner = make(name)
    if isinstance(pruner, LayerPruner):
        return MODEL
    if pruner.reads_question:
        return QUESTION
    if isinstance(pruner, BookPruner | ScorerPruner):
        return OURS
    return "vision tower" if pruner.required_signals else "tokens alone"
