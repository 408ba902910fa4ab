"""Verdict: what the record of a recommendation supports, in words, and no more than that."""

from __future__ import annotations

from typing import Annotated, Literal

from typing_extensions import NotRequired, TypedDict

from wordsight._utils.numbers import signed
from wordsight._utils.registry import extended
from wordsight.evaluation.latency import Spans
from wordsight.evaluation.metrics import RESIZED, UNPRUNED
from wordsight.evaluation.statistics import FEWEST_PICTURES, Interval

FREE = ("random", "uniform", "pool")  # baselines that need no signal and no search
Conclusion = Literal["pays", "does not pay", "cannot tell", "nothing to choose"]


class Terms(TypedDict):
    """What was asked of a pruner."""

    budget: Annotated[float, "the share of the visual tokens to keep"]
    tolerance: Annotated[float, "the share of the unpruned quality that may be lost"]
    latency_ms: Annotated[float | None, "the longest that a question may take"]
    limit: Annotated[int | None, "so many questions of each split are asked"]
    pictures: Annotated[int | None, "about the first so many pictures of each"]


class Candidate(TypedDict):
    """What a pruner did in the race on the validation split."""

    questions: Annotated[int, "that it was asked"]
    pictures: int
    accuracy: Annotated[float, "mean over pictures"]
    dropped: Annotated[bool, "whether it was given up early"]


class Confirmation(TypedDict):
    """What the finalists do on the test split; besides their SPECs, none is the unpruned model and resized
    are smaller pictures.
    """

    questions: int
    pictures: int
    enough_pictures: Annotated[bool, f"false if they are fewer than {FEWEST_PICTURES}: not to be believed"]
    pictures_needed: Annotated[
        int | None, "to tell a loss of the tolerance from none in four draws of five; null if none do"
    ]
    blind: Annotated[float, "accuracy with no visual token"]
    accuracy: dict[str, float]
    tokens: Annotated[dict[str, float], "visual tokens read, mean over questions"]
    difference_to: Annotated[dict[str, Interval], "accuracy of the leader minus that of another, paired"]


class Time(TypedDict):
    """Milliseconds of a question, medians of rounds in which the unpruned model and the leader take turns."""

    rounds: int
    unpruned_ms: Spans
    pruned_ms: Spans
    speed_up: Annotated[Interval, "how many times as fast"]


class Findings(TypedDict):
    """What was measured of the candidates, by their SPECs; without `candidates` and what follows if all were
    too slow.
    """

    task: str
    validation: Annotated[int, "questions of the validation split"]
    terms: Terms
    level: Annotated[float, "the chance that the race drops the best"]
    left_out: Annotated[dict[str, str], "pruners that cannot run, and why"]
    milliseconds: Annotated[dict[str, float], "of a question, where latency_ms is given"]
    too_slow: list[str]
    candidates: NotRequired[Annotated[dict[str, Candidate], "the best first"]]
    leader: NotRequired[str]
    test: NotRequired[Confirmation]
    time: NotRequired[Time]


class Verdict(TypedDict):
    """What the findings support."""

    verdict: Conclusion
    winner: Annotated[str | None, "the leader, if it pays and nothing that is free is as good"]
    advice: Annotated[list[str], "in sentences"]


def advise(record: Findings) -> Verdict:
    """The verdict, the winner if the intervals support one, and the advice in sentences.

    The verdict is "cannot tell" where there are too few pictures, "nothing to choose" where every candidate
    is too slow or the unpruned model is always wrong. A winner is better than all that is free, each by an
    interval of its own: a claim of all of them needs no correction for their number.
    """
    if obstacle := _obstacle(record):
        return {"verdict": "nothing to choose", "winner": None, "advice": [obstacle]}
    verdict, reason = _verdict(record)
    test = record["test"]
    comparable = _others(record) if test["enough_pictures"] else []
    lines = [reason, *(_comparison(record, name) for name in comparable), _blind(record)]
    is_ahead = all(test["difference_to"][name][1] > 0 for name in _others(record) if _is_free(record, name))
    winner = record["leader"] if verdict == "pays" and is_ahead else None
    return {"verdict": verdict, "winner": winner, "advice": [*lines, *_what_to_use(record, verdict, winner)]}


def _what_to_use(record: Findings, verdict: Conclusion, winner: str | None) -> list[str]:
    """What to give as --pruner, nothing where it cannot be told. What costs nothing was held against the
    leader alone, so that it takes the leader's place only where it is better.
    """
    leader, budget = record["leader"], record["terms"]["budget"]
    if verdict == "cannot tell":
        return []
    if verdict == "does not pay":
        return [f"Do not use {leader} at {budget:.0%} for such questions."]
    gaps = record["test"]["difference_to"]
    free = {name: gaps[name] for name in _others(record) if winner is None and _is_free(record, name)}
    names = {
        name: "smaller pictures" if name == RESIZED else f"--pruner {extended(name, f'keep={budget}')}"
        for name in (leader, *free)
    }
    if better := [names[name] for name, (_, _, high) in free.items() if high < 0]:
        return [f"Use {' or '.join(better)}."]
    as_good = [names[name] for name, (_, low, _) in free.items() if low <= 0]
    return [f"Use {names[leader]}{', or try ' * bool(as_good)}{' or '.join(as_good)}."]


def _obstacle(record: Findings) -> str | None:
    """Why there is nothing to say about any pruner."""
    if "leader" not in record:
        fastest = min(record["milliseconds"].values())
        return (
            f"No candidate answers a question within {record['terms']['latency_ms']:g} ms; the fastest takes "
            f"{fastest:.0f} ms."
        )
    if not record["test"]["accuracy"][UNPRUNED]:
        return (
            "The unpruned model answers no question of the test split right, so that there is no quality to "
            "keep; are the answers worded as the model words them?"
        )
    return None


def _verdict(record: Findings) -> tuple[Conclusion, str]:
    """Whether pruning with the leader pays, in a word and in a sentence."""
    test, tolerance = record["test"], record["terms"]["tolerance"]
    _, low, high = test["difference_to"][UNPRUNED]
    lost = tolerance * test["accuracy"][UNPRUNED]  # as much quality may be lost
    _, slowest, fastest = record["time"]["speed_up"]
    figures = _figures(record)
    if not test["enough_pictures"] or low < -lost <= high:
        return "cannot tell", f"{_undecided(test, tolerance)} {figures}."
    if high < -lost:
        return "does not pay", (
            f"Pruning does not pay: it costs more than {tolerance:.0%} of the quality. {figures}."
        )
    if slowest <= 1:
        time = "costs time" if fastest < 1 else "no time"
        return "does not pay", f"Pruning does not pay: it saves tokens but {time}. {figures}."
    return "pays", f"Pruning pays, within a tolerance of {tolerance:.0%}. {figures}."


def _figures(record: Findings) -> str:
    test, leader = record["test"], record["leader"]
    kept, whole = (test["accuracy"][name] for name in (leader, UNPRUNED))
    ratio, slowest, fastest = record["time"]["speed_up"]
    return (
        f"{leader} at {record['terms']['budget']:.0%} keeps {kept / whole:.0%} of the quality "
        f"({kept:.3f} of {whole:.3f}: {signed(test['difference_to']['none'])}) with "
        f"{test['tokens'][leader]:.0f} of {test['tokens']['none']:.0f} tokens, {ratio:.2f} "
        f"[{slowest:.2f}, {fastest:.2f}] times as fast, on {test['questions']} questions about "
        f"{test['pictures']} pictures"
    )


def _undecided(test: Confirmation, tolerance: float) -> str:
    """Why it cannot be told whether pruning pays, and what it would take."""
    here, needed = test["pictures"], test["pictures_needed"]
    if needed is None:
        return "No number of pictures shows that pruning loses nothing at all: allow for some tolerance."
    if needed <= here:
        return (
            f"These {here} pictures do not tell whether pruning pays: what it costs is too near to the "
            f"tolerance of {tolerance:.0%}."
        )
    few = "" if test["enough_pictures"] else f", fewer than {FEWEST_PICTURES}: nothing is to be believed yet"
    return (
        f"Too few pictures to tell whether pruning pays: roughly {_rounded_up(needed)} are needed to tell a "
        f"loss of {tolerance:.0%} from none, here are {here}{few}."
    )


def _rounded_up(count: int) -> int:
    """To two digits."""
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit


def _others(record: Findings) -> list[str]:
    return [name for name in record["test"]["difference_to"] if name != UNPRUNED]


def _is_free(record: Findings, name: str) -> bool:
    """Whether a finalist needs nothing; resized pictures do where the model makes fewer tokens of them."""
    tokens = record["test"]["tokens"]
    if name == RESIZED:
        return bool(tokens[name] <= 1.1 * tokens[record["leader"]])
    return name.partition(":")[0] in FREE


def _comparison(record: Findings, name: str) -> str:
    """What can be said about the leader and another finalist."""
    difference, leader = record["test"]["difference_to"][name], record["leader"]
    _, low, high = difference
    if low > 0:
        return f"{leader} is better than {name} ({signed(difference)})."
    if high < 0:
        return f"{leader}, which led on the validation split, is worse than {name} ({signed(difference)})."
    if _is_free(record, name):
        return f"{name}, which costs nothing, shows no significant difference ({signed(difference)})."
    if name == RESIZED:
        return (
            f"Resized pictures show no significant difference ({signed(difference)}), but this model makes "
            f"{record['test']['tokens'][name]:.0f} tokens of them."
        )
    return f"{name}, the runner-up, shows no significant difference ({signed(difference)})."


def _blind(record: Findings) -> str:
    test = record["test"]
    needless = test["blind"] >= (1 - record["terms"]["tolerance"]) * test["accuracy"][UNPRUNED]
    return (
        f"With no visual token at all the model scores {test['blind']:.3f}"
        f"{': these questions do not need their pictures, so they cannot compare pruners' * needless}."
    )
