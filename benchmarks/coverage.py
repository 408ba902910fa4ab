"""How often intervals hold the mean that they are of, and how near the number of pictures needed is.

Scores are made up like those of the tasks, or drawn from those of the verdict: several questions a picture,
which hang together, so that the mean is known. Beside the intervals of the library stand three others: the
percentile bootstrap, the bias-corrected and accelerated one (BCa), and Student's t without Wilson's form.
Beside those over three models and pictures (over_models.py) stand the percentiles of the bootstrap over both,
and Student's t over pictures alone, for which the models are the only ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from safetensors.numpy import load_file

from over_models import corrected, pooled
from pages import write_between
from pool import count_of_conclusions
from wordsight._utils.files import replacing
from wordsight._utils.progress import track
from wordsight.evaluation.environment import machine
from wordsight.evaluation.statistics import (
    DIFFERENCES,
    SCORES,
    Scores,
    interval,
    interval_of_tasks,
    margin,
    pictures_needed,
    student_quantile,
)

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "results.md"
PICTURES = (10, 20, 50, 200)
MODELS = 3
SPREADS = (0.0, 0.01, 0.02, 0.05, 0.08)  # standard deviations of models, of a mean difference
FORMS = ("wordsight", "bootstrap", "pictures alone")
PILOTS = (2, 10, 20, 50, 100)  # pictures that the number needed is estimated from
RESAMPLES = 1000
LOSS = 0.03  # that is to be told from none
METHODS = ("wordsight", "bootstrap", "BCa", "t")
NORMAL = NormalDist()
Draw = tuple[Scores, NDArray[np.int64]]  # scores of questions, and the numbers of their pictures
Source = Callable[[np.random.Generator, int], Draw]
Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]  # (draws,) each


@dataclass(frozen=True)
class Scenario:
    """Where scores come from, their mean, and what means lie between."""

    source: Source
    mean: float
    ends: tuple[float, float] = SCORES


def main(
    draws: Annotated[int, typer.Option(help="of every scenario and number of pictures")] = 4000,
    trials: Annotated[int, typer.Option(help="of the number of pictures needed")] = 1000,
    models_only: Annotated[bool, typer.Option(help="keep the figures that are not over models")] = False,
) -> None:
    """Write results/coverage.json and the tables of docs/results.md."""
    about = {**machine(), "numpy": np.__version__, "command": " ".join(["python", *sys.argv])}
    over_models = {
        "draws": draws,
        "coverage": {
            f"{spread}, {pictures} pictures": coverage_of_models(spread, pictures, draws)
            for spread in track(SPREADS, "models", len(SPREADS))
            for pictures in (100, 400)
        },
        "environment": about,
    }
    known = (
        json.loads((RESULTS / "coverage.json").read_text()) if models_only else over_pictures(draws, trials)
    )
    record = {"environment": about, **known, "over_models": over_models}
    with replacing(RESULTS / "coverage.json") as draft:
        draft.write_text(json.dumps(record, indent=1) + "\n")
    write_tables(record)


def over_pictures(draws: int, trials: int) -> dict[str, Any]:
    """The coverage of every scenario, and how near the number of pictures needed is."""
    return {
        "level": 0.95,
        "draws": draws,
        "coverage": {
            name: {"mean": scenario.mean, **coverage(scenario, draws)}
            for name, scenario in track(scenarios().items(), "coverage", len(scenarios()))
        },
        "mean_of_tasks": {str(count): coverage_of_tasks(count, draws) for count in PICTURES},
        "loss": LOSS,
        "trials": trials,
        "needed": {
            name: needed(source, trials) for name, source in track(without_loss().items(), "needed", 4)
        },
    }


def scenarios() -> dict[str, Scenario]:
    """Scores of the kinds that there are, by name."""
    scores, index = _verdict("all visual tokens")
    pruned, _ = _verdict("divprune | 0.1")
    drawn, _ = _verdict("random | 0.1")
    return {
        "accuracy .80, 12 questions, correlation .1": binary(0.8, 0.1),
        "accuracy .80, 12 questions, correlation .3": binary(0.8, 0.3),
        "accuracy .97, 12 questions, correlation .03": binary(0.97, 0.03),
        "accuracy .97, 12 questions, correlation .1": binary(0.97, 0.1),
        "accuracy .60, 1 to 3 questions, correlation .2": binary(0.6, 0.2, 1, 3),
        "accuracy .90, one question": binary(0.9, 0.1, 1, 1),
        "captions: F1 about .90": Scenario(_captions, 0.9),
        "verdict: every token, .962": _resampled(scores, index, SCORES),
        "difference, 12 questions: 15 % lost, 5 % won": paired(0.15, 0.05, 0.05),
        "difference, 12 questions: 2 % lost, 1 % won": paired(0.02, 0.01, 0.05),
        "difference, one question: 15 % lost, 5 % won": paired(0.15, 0.05, 0.05, 1, 1),
        "difference, one question: 4 % lost, 2 % won": paired(0.04, 0.02, 0.05, 1, 1),
        "verdict: DivPrune minus every token at 10 %": _resampled(pruned - scores, index, DIFFERENCES),
        "verdict: DivPrune minus random at 10 %": _resampled(pruned - drawn, index, DIFFERENCES),
    }


def without_loss() -> dict[str, Source]:
    """Differences whose mean is nothing."""
    scores, index = _verdict("all visual tokens")
    verdict = _resampled(_verdict("divprune | 0.1")[0] - scores, index, DIFFERENCES)

    def turned(rng: np.random.Generator, pictures: int) -> Draw:
        drawn, numbers = verdict.source(rng, pictures)
        return drawn * rng.choice([-1, 1], pictures)[numbers], numbers

    return {
        "verdict: DivPrune minus every token at 10 %, signs drawn": turned,
        "12 questions: 3 % lost, 3 % won": paired(0.03, 0.03, 0.05).source,
        "12 questions: 10 % lost, 10 % won": paired(0.1, 0.1, 0.05).source,
        "one question: 4 % lost, 4 % won": paired(0.04, 0.04, 0.05, 1, 1).source,
    }


def binary(mean: float, correlation: float, fewest: int = 8, most: int = 16) -> Scenario:
    """Answers right or wrong; the chance to be right differs between pictures (beta-binomial)."""
    weight = 1 / correlation - 1

    def source(rng: np.random.Generator, pictures: int) -> Draw:
        numbers = np.repeat(np.arange(pictures), rng.integers(fewest, most + 1, pictures))
        chances = rng.beta(mean * weight, (1 - mean) * weight, pictures)
        return (rng.random(len(numbers)) < chances[numbers]).astype(float), numbers

    return Scenario(source, mean)


def paired(lost: float, won: float, correlation: float, fewest: int = 8, most: int = 16) -> Scenario:
    """Differences of two methods' answers: mostly none, some lost, some won."""
    weights = np.array([lost, won, 1 - lost - won]) * (1 / correlation - 1)

    def source(rng: np.random.Generator, pictures: int) -> Draw:
        numbers = np.repeat(np.arange(pictures), rng.integers(fewest, most + 1, pictures))
        chances = rng.dirichlet(weights, pictures)
        place = rng.random(len(numbers))
        is_lost = place < chances[numbers, 0]
        is_won = ~is_lost & (place < chances[numbers, :2].sum(1))
        return is_won * 1.0 - is_lost, numbers

    return Scenario(source, won - lost, DIFFERENCES)


def _captions(rng: np.random.Generator, pictures: int) -> Draw:
    return rng.beta(9, 1, pictures), np.arange(pictures)


def _verdict(method: str) -> Draw:
    """The scores of a method on a model of the first verdict, and the numbers of their pictures."""
    record = json.loads((RESULTS / "verdict_1.json").read_text())
    index = np.unique([picture for picture, _ in record["questions"]], return_inverse=True)[1]
    return load_file(RESULTS / "verdict_1.safetensors")[method].astype(float), index


def _resampled(scores: Scores, index: NDArray[np.int64], ends: tuple[float, float]) -> Scenario:
    """Pictures of the verdict, drawn again and again, as if there were no others."""
    groups = [scores[index == number] for number in range(1 + max(index))]

    def source(rng: np.random.Generator, pictures: int) -> Draw:
        chosen = [groups[i] for i in rng.integers(len(groups), size=pictures)]
        return np.concatenate(chosen), np.repeat(np.arange(pictures), [*map(len, chosen)])

    return Scenario(source, float(scores.mean()), ends)


def coverage(scenario: Scenario, draws: int) -> dict[str, dict[str, dict[str, float]]]:
    """The share of the intervals that hold the mean, and their mean width, by number of pictures."""
    found: dict[str, dict[str, dict[str, float]]] = {"holds": {}, "width": {}}
    for pictures in PICTURES:
        rng = np.random.default_rng(pictures)
        drawn = [scenario.source(rng, pictures) for _ in range(draws)]
        bounds = {"wordsight": _ours(drawn, scenario.ends), **_others(drawn, pictures, scenario.ends)}
        found["holds"][str(pictures)] = {
            name: float(np.mean((low <= scenario.mean + 1e-9) & (scenario.mean <= high + 1e-9)))
            for name, (low, high) in bounds.items()
        }
        found["width"][str(pictures)] = {
            name: float((high - low).mean()) for name, (low, high) in bounds.items()
        }
    return found


def coverage_of_tasks(pictures: int, draws: int) -> float:
    """The share of the intervals of the mean over five tasks, of so many pictures each, that hold it."""
    rng, tasks = np.random.default_rng(pictures), [*scenarios().values()][:5]
    mean, bounds = np.mean([task.mean for task in tasks]), []
    for _ in range(draws):
        drawn = [task.source(rng, pictures) for task in tasks]
        bounds.append(interval_of_tasks([scores for scores, _ in drawn], [names for _, names in drawn]))
    low, high = np.array(bounds, float).T
    return float(np.mean((low <= mean) & (mean <= high)))


def coverage_of_models(spread: float, pictures: int, draws: int) -> dict[str, dict[str, dict[str, float]]]:
    """Of a difference of .1 between two methods on three models: the share of the intervals that hold it, and
    their mean width, at 95 % and at the level of everything that is concluded on docs/findings.md.
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for level in (0.95, corrected(count_of_conclusions())):
        rng = np.random.default_rng(pictures)
        ends = np.array([_of_models(rng, spread, pictures, level) for _ in range(draws)])  # (draws, FORMS, 2)
        holds = ((ends[..., 0] <= 0.1) & (ends[..., 1] >= 0.1)).mean(0)
        width = (ends[..., 1] - ends[..., 0]).mean(0)
        found[f"{level:.4f}"] = {
            name: {"holds": float(held), "width": float(wide)}
            for name, held, wide in zip(FORMS, holds, width, strict=True)
        }
    return found


def _of_models(
    rng: np.random.Generator, spread: float, pictures: int, level: float
) -> list[tuple[float, float]]:
    """Intervals of one draw: one question a picture, .25 won and .15 lost; each model wins more or less,
    and half of all answers are shared.
    """
    wins = np.clip(0.25 + rng.normal(0, spread, (MODELS, 1)), 0, 0.85)
    place = np.where(
        rng.random((MODELS, pictures)) < 0.5, rng.random(pictures), rng.random((MODELS, pictures))
    )
    gaps = (place < wins).astype(float) - (place > 0.85)
    names = np.arange(pictures)
    of_models, of_pictures = map(_resamples, gaps.shape)
    means = ((of_models @ gaps) * of_pictures).sum(1) / gaps.size
    _, *ours = pooled(gaps, names, level)["interval"]
    alone = interval(gaps.mean(0), names, level, ends=DIFFERENCES)
    return [tuple(ours), tuple(np.quantile(means, [(1 - level) / 2, (1 + level) / 2])), alone]


@cache
def _resamples(count: int) -> Scores:
    """(RESAMPLES, count) how often each is drawn."""
    rng = np.random.default_rng(count)
    return rng.multinomial(count, np.full(count, 1 / count), RESAMPLES).astype(float)


def _ours(drawn: list[Draw], ends: tuple[float, float]) -> Bounds:
    low, high = np.array([interval(scores, pictures, ends=ends) for scores, pictures in drawn]).T
    return low, high


def _others(drawn: list[Draw], pictures: int, ends: tuple[float, float]) -> dict[str, Bounds]:
    """The other intervals, with the same rule where no picture differs."""
    parts: dict[str, list[Bounds]] = {name: [] for name in METHODS[1:]}
    for start in range(0, len(drawn), 1000):
        some = drawn[start : start + 1000]
        totals = np.stack([np.bincount(names, scores, pictures) for scores, names in some], dtype=np.float64)
        counts = np.stack([np.bincount(names, minlength=pictures) for _, names in some])
        mean = totals.sum(1) / counts.sum(1)
        is_flat = np.ptp(totals / counts, axis=1) < 1e-9
        share = margin(pictures)
        flat = (mean - share * (mean - ends[0]), mean + share * (ends[1] - mean))
        for name, (low, high) in _of_sums(totals, counts, mean).items():
            low, high = np.maximum(low, ends[0]), np.minimum(high, ends[1])
            parts[name].append((np.where(is_flat, flat[0], low), np.where(is_flat, flat[1], high)))
    return {
        name: (np.concatenate([low for low, _ in each]), np.concatenate([high for _, high in each]))
        for name, each in parts.items()
    }


def _of_sums(totals: Scores, counts: NDArray[np.int64], mean: Scores) -> dict[str, Bounds]:
    """Of sums over pictures (draws, pictures): of scores and of questions."""
    draws, pictures = totals.shape
    rest = totals - mean[:, None] * counts
    error = np.sqrt(pictures / (pictures - 1) * (rest**2).sum(1)) / counts.sum(1)
    reach = student_quantile(0.95, pictures - 1) * error
    weights = (
        np.random.default_rng(0)
        .multinomial(pictures, np.full(pictures, 1 / pictures), RESAMPLES)
        .T.astype(float)
    )
    means = np.sort((totals @ weights) / (counts @ weights), 1)  # (draws, RESAMPLES)
    below = (means < mean[:, None] - 1e-9).mean(1) / 2 + (means <= mean[:, None] + 1e-9).mean(1) / 2
    bias = np.array([NORMAL.inv_cdf(min(max(each, 1e-3), 1 - 1e-3)) for each in below])
    without = (totals.sum(1, keepdims=True) - totals) / (counts.sum(1, keepdims=True) - counts)
    moved = without.mean(1, keepdims=True) - without
    power = 6 * (moved**2).sum(1) ** 1.5
    skew = np.divide((moved**3).sum(1), power, out=np.zeros(draws), where=power > 0)

    def at(z: float) -> Scores:
        shares = bias + (bias + z) / (1 - skew * (bias + z))
        places = np.array([NORMAL.cdf(each) for each in shares]) * (RESAMPLES - 1)
        found: Scores = means[np.arange(draws), places.round().astype(int)]
        return found

    ends = np.quantile(means, [0.025, 0.975], axis=1)
    return {
        "bootstrap": (ends[0], ends[1]),
        "BCa": (at(-1.959964), at(1.959964)),
        "t": (mean - reach, mean + reach),
    }


def needed(source: Source, trials: int) -> dict[str, Any]:
    """The fewest pictures, by twentieths, with which four draws of five tell that there is no loss, and what
    is said of them on fewer.
    """
    pictures = 20
    while _telling(source, pictures, trials) < 0.8:
        pictures = int(pictures * 1.05) + 1
    estimates = {}
    for pilot in PILOTS:
        rng = np.random.default_rng(pilot)
        said = np.array([pictures_needed(*source(rng, pilot), LOSS) for _ in range(trials)])
        is_near = (said >= pictures / 1.5) & (said <= pictures * 1.5)
        estimates[str(pilot)] = {"median": float(np.median(said)), "within_1.5": float(is_near.mean())}
    return {"pictures": pictures, "estimates": estimates}


def _telling(source: Source, pictures: int, trials: int) -> float:
    rng = np.random.default_rng(pictures)
    lows = _ours([source(rng, pictures) for _ in range(trials)], DIFFERENCES)[0]
    return float((lows > -LOSS).mean())


def write_tables(record: dict[str, Any]) -> None:
    """The coverage of every scenario, and what the number of pictures needed comes to."""
    head = ["scores", *(f"{count}: {name}" for count in PICTURES for name in METHODS[:2])]
    lines = [head, ["---"] * len(head)]
    for name, found in record["coverage"].items():
        holds = found["holds"]
        lines.append([name, *(f"{holds[str(n)][m]:.3f}" for n in PICTURES for m in METHODS[:2])])
    of_tasks = record["mean_of_tasks"]
    lines.append(
        ["mean of five tasks", *(cell for n in PICTURES for cell in (f"{of_tasks[str(n)]:.3f}", ""))]
    )
    write_between(PAGE, "coverage", "".join(f"| {' | '.join(cells)} |\n" for cells in lines))
    levels = list(next(iter(record["over_models"]["coverage"].values())))
    head = ["standard deviation of models", *(f"{level}: {name}" for level in levels for name in FORMS)]
    lines = [head, ["---"] * len(head)]
    for name, found in record["over_models"]["coverage"].items():
        cells = [found[level][form] for level in levels for form in FORMS]
        lines.append([name, *(f"{each['holds']:.4f} ({each['width']:.3f})" for each in cells)])
    write_between(PAGE, "coverage over models", "".join(f"| {' | '.join(cells)} |\n" for cells in lines))
    head = ["differences without loss", "needed", *(f"said on {pilot}" for pilot in PILOTS)]
    lines = [head, ["---"] * len(head)]
    for name, found in record["needed"].items():
        said = [f"{e['median']:.0f} ({e['within_1.5']:.0%})" for e in found["estimates"].values()]
        lines.append([name, str(found["pictures"]), *said])
    write_between(PAGE, "needed", "".join(f"| {' | '.join(cells)} |\n" for cells in lines))


if __name__ == "__main__":
    typer.run(main)
