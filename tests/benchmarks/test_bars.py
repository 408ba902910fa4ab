"""The short table: ours, its control, and the best of each other kind; and what is above ours."""

from types import SimpleNamespace

import numpy as np

from wordsight.evaluation.statistics import interval_of_tasks

ACCURACIES = {
    "none": [0.9],
    "resized": [0.8, 0.8, 0.8],
    "random": [0.5, 0.4, 0.3],
    "divprune": [0.7, 0.7, 0.4],
    "cenprune": [0.6, 0.6, 0.7],
    "cls_topk": [0.6, 0.5, 0.4],
    "mmtok": [0.6, 0.5, 0.4],
    "fastv": [0.9, 0.9, 0.9],
    "codebook": [0.6, 0.5, 0.4],
    "codebook_mmr": [0.7, 0.6, 0.5],
    "codebook_mmr:codebook=benchmarks/control-codebook": [0.6, 0.6, 0.5],
    "learned_mmr": [0.8, 0.6, 0.5],
}


def test_of_each_other_kind_there_is_the_pruner_that_is_best_over_all_budgets(benchmarks):
    keeps = benchmarks.bars.KEEPS
    of_each, rows = {"accuracy": 0.1, "tasks": 1, "blind": 0.0}, []
    for name, accuracies in ACCURACIES.items():
        for keep in (1.0,) if name == "none" else sorted(keeps):
            accuracy = accuracies[keeps.index(keep) if keep in keeps else 0]
            mean = {"tasks": 2, "accuracy": accuracy, "blind": 0.25}
            rows += [{"pruner": name, "keep": keep, **each} for each in (of_each, mean)]
    table = benchmarks.bars.in_brief(rows, "codebook_mmr")
    assert [row[:3] for row in table.body] == [
        ("none", "all tokens", "0.900"),
        ("resized", "a smaller picture", "0.800"),
        ("random", "nothing", "0.500"),
        ("cenprune", "tokens alone", "0.600"),
        ("cls_topk", "vision tower", "0.600"),
        ("mmtok", "question", "0.600"),
        ("fastv", "language model", "0.900"),
        ("codebook", "ours", "0.600"),
        ("codebook_mmr", "ours", "0.700"),
        ("codebook_mmr", "ours, with a book of random tokens", "0.600"),
    ]
    assert {len(row) for row in table.body} == {5}
    assert table.body[3][2:] == ("0.600", "0.600", "0.700")
    assert table.notes == ("Without the picture: 0.250.",)


def test_above_is_what_is_above_at_the_corrected_level(benchmarks):
    """Of two tasks: one rival is right where ours is not, one on as many others, one reads the question.

    What is concluded is of two rivals, and of seven other pairs, at three keeps.
    """
    pictures, keeps = 40, benchmarks.bars.KEEPS
    ours = [float(i % 2) for i in range(pictures)]
    scores = {
        "codebook_mmr": ours,
        "divprune": [1.0] * pictures,
        "cenprune": [1 - score for score in ours],
        "mmtok": [1.0] * pictures,
    }
    questions = [{"picture": str(i)} for i in range(pictures)]
    answered = [
        {"pruner": name, "keep": keep, "scores": [each]} for name, each in scores.items() for keep in keeps
    ]
    rows = [
        {"pruner": name, "keep": keep, "tasks": 2, "retention": {0.2: 0.99, 0.1: 0.96, 0.05: 0.9}[keep]}
        for name in scores
        for keep in keeps
    ]
    answers = [{"questions": questions, "answered": answered}] * 2
    table = benchmarks.bars.bars(SimpleNamespace(rows=rows, answers=answers), "codebook_mmr")
    gap = np.array(scores["divprune"]) - ours
    low, high = interval_of_tasks([gap, gap], [range(pictures)] * 2, 1 - 0.05 / 27, ends=(-1, 1))
    found = f"divprune {0.5:+.3f} [{low:+.3f}, {high:+.3f}]"
    assert table.body == [
        ("20%", "99.0% (met: 99%)", "1 of 2", found),
        ("10%", "96.0% (missed: 97%)", "1 of 2", found),
        ("5%", "90.0% (missed: 93%)", "1 of 2", found),
    ]


def test_published_is_compared_with_the_default_of_the_same_method_on_the_same_questions(benchmarks):
    """Of two tasks; the published one is wrong on one question of the first and reads more tokens."""
    pictures = 30
    questions = [{"picture": str(i)} for i in range(pictures)]
    right = [1.0] * pictures
    once_wrong = [[0.0, *right[1:]], right]

    def results(name, kept, of_tasks):
        answers = [
            {"questions": questions, "answered": [{"pruner": name, "keep": 0.1, "scores": [scores]}]}
            for scores in of_tasks
        ]
        rows = [{"pruner": name, "keep": 0.1, "tasks": 2, "tokens_kept": kept}]
        return SimpleNamespace(rows=[*rows, {"pruner": "none", "keep": 1.0, "tasks": 2}], answers=answers)

    theirs, ours = results("dart@published", 12.0, once_wrong), results("dart", 10.0, [right, right])
    ours.rows.pop()
    table = benchmarks.bars.as_published(theirs, ours)
    gaps = [np.array(once_wrong[0]) - right, np.zeros(pictures)]
    low, high = interval_of_tasks(gaps, [range(pictures)] * 2, 0.95, ends=(-1, 1))
    gap = f"{-1 / 60:+.3f} [{low:+.3f}, {high:+.3f}]"
    assert table.body == [("dart", "1.000", "0.983", "10.0, 12.0", gap)]


def test_what_is_concluded_is_corrected_for_all_of_it(benchmarks):
    """Two tasks of 40 pictures; each method is right about the first so many of them."""
    bars, pictures, control = benchmarks.bars, 40, " with a random book"
    right = {"codebook_scope": 30, "divprune": 20, "scope:alpha=0.0": 28, "codebook_coverage": 24}
    right |= {"codebook": 12, "random": 16, "learned_mmr": 13}
    right |= {name + bars.CONTROL: right[name] - 5 for name in ("codebook_scope", "codebook_coverage")}
    right["codebook" + bars.CONTROL] = 10
    answered = [
        {"pruner": name, "keep": keep, "scores": [[float(i < count) for i in range(pictures)]]}
        for name, count in right.items()
        for keep in bars.KEEPS
    ]
    answers = [{"questions": [{"picture": str(i)} for i in range(pictures)], "answered": answered}] * 2
    rows = [{"pruner": name} for name in (*right, "none", "mmtok")]
    table = bars.concluded(SimpleNamespace(rows=rows, answers=answers), "codebook_scope")
    assert {row[0]: row[1][:6] for row in table.body} == {
        "codebook_scope - divprune": "+0.250",
        f"codebook_scope - codebook_scope{control}": "+0.125",
        "codebook_scope - scope:alpha=0.0": "+0.050",
        "scope:alpha=0.0 - divprune": "+0.200",
        f"scope:alpha=0.0 - codebook_scope{control}": "+0.075",
        "codebook_coverage - divprune": "+0.100",
        f"codebook_coverage - codebook_coverage{control}": "+0.125",
        "codebook - random": "-0.100",
        f"codebook - codebook{control}": "+0.050",
        "learned_mmr - divprune": "-0.175",
    }
    gap = np.repeat([0.0, 1.0, 0.0], [25, 5, 10])
    level = 1 - 0.05 / (3 * (9 + 7))  # rivals and other pairs, at three keeps
    low, high = interval_of_tasks([gap, gap], [range(pictures)] * 2, level, ends=(-1, 1))
    assert table.body[1][1:] == (f"+0.125 [{low:+.3f}, {high:+.3f}]",) * 3
    assert table.head == ("difference", "20%", "10%", "5%")
