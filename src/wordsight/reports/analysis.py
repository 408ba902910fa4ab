"""What the record of an analysis says: the answer in sentences, and its tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from rich.console import RenderableType
from rich.text import Text

from wordsight._utils.numbers import with_interval
from wordsight.analysis.intermediate_states import Analysis, Half
from wordsight.evaluation.statistics import Estimate
from wordsight.reports.formats import terminal
from wordsight.reports.tables import Table, too_few

ORDERED = (
    "Every picture's tokens are ordered by themselves. The authors' notebook adds attention up over pictures "
    "before it orders, which mixes places with tokens; nothing here is made that way."
)
LOW = "tokens that intermediate states rank low"
ANSWERS = {
    "yes": f"Yes, {LOW} carry recognizable information",
    "no": f"No, {LOW} carry hardly any recognizable information",
    "inconclusive": f"These pictures do not show whether {LOW} carry recognizable information",
}
EFFECTS = {
    "less": "dropping them moves the first word of the answer less than dropping random ones",
    "more": "dropping them moves the first word of the answer more than dropping random ones",
    "inconclusive": "whether dropping them moves the first word of the answer more or less than dropping "
    "random ones is inconclusive",
}
DIRECTIONS = {"less": "less", "more": "more", "inconclusive": "no clear difference"}


def for_terminal(record: Analysis) -> list[RenderableType]:
    """The tables and then the sentences, for rich."""
    return [
        *map(terminal, analysis_tables(record)),
        *(Text(f"\n{sentence}") for sentence in sentences(record)),
    ]


def sentences(record: Analysis) -> list[str]:
    """The answer, its figures, what dropping the tokens does, and what has to be known of all that."""
    half, rule = record["halves"][headline(record)], record["rule"]
    concluded = half["conclusion"]
    return [
        f"{ANSWERS[concluded['recognizable']]}; {EFFECTS[concluded['divergence']]}.",
        _saying_of(record, half),
        _dropping_of(half),
        f"The answer is yes where the interval of the share that says another word lies above "
        f"{rule['share']:.0%}, no where that of the share that says any lies below it, and neither with "
        f"fewer than {rule['pictures']} pictures. A word may be said surely and be wrong.",
        ORDERED,
        f"{record['tokens']} tokens of {len(record['pictures'])} pictures; means over pictures with 95 % "
        "intervals over pictures, not corrected for multiple comparisons.",
        *([too_few(len(record["pictures"]))] if len(record["pictures"]) < rule["pictures"] else []),
        *(f"{order['label']} is absent: {order['why']}." for order in record["absent"]),
    ]


def headline(record: Analysis) -> str:
    """The name of the half that the answer is of."""
    return "all" if "all" in record["halves"] else record["orders"][0]["name"]


def _saying_of(record: Analysis, half: Half) -> str:
    says, other = half["says"], half["says_other"]["low"]
    blind = ", ".join(word for word, _ in record["blind"][:3])
    return (
        f"Of the tokens in the lowest half of their picture by {_label(record, headline(record))} "
        f"({half['tokens']:.1f} of a picture), {share(says['low'])} say a word with a "
        f"confidence of {record['sure']:g} or more, {share(other)} another word than is said without a "
        f"picture ({blind}). Of as many that rank highest, {share(says['high'])} say one; lowest minus "
        f"highest: {gap(says['low_minus_high'])} points, {DIRECTIONS[half['conclusion']['says']]}."
    )


def _dropping_of(half: Half) -> str:
    moved, changed, concluded = half["divergence"], half["changed"], half["conclusion"]
    return (
        f"Dropping them moves the first word of the answer by {nats(moved['low'])} nats (Jensen-Shannon "
        f"divergence), as many random tokens by {nats(moved['random'])}, as many that rank highest by "
        f"{nats(moved['high'])}; lowest minus random: {nats_gap(moved['low_minus_random'])}, "
        f"{DIRECTIONS[concluded['divergence']]}. Another answer is given for {share(changed['low'])} of the "
        f"pictures, without random tokens for {share(changed['random'])}, without the highest for "
        f"{share(changed['high'])}; lowest minus random: {gap(changed['low_minus_random'])} points, "
        f"{DIRECTIONS[concluded['changed']]}."
    )


def analysis_tables(record: Analysis) -> list[Table]:
    """Correlations, what the lowest halves say, and what dropping them changes."""
    return [_correlations(record), _saying(record), _moving(record), _changing(record)]


def _correlations(record: Analysis) -> Table:
    measures, spearman = record["measures"], record["spearman"]
    body = [
        (
            order["label"],
            *(rho(spearman[order["name"]][measure["name"]]) for measure in measures),
        )
        for order in record["orders"]
    ]
    notes = [
        f"{order['label']} and {measure['label']}: of {count} pictures; on the others one of them is the "
        "same for all tokens."
        for order in record["orders"]
        for measure in measures
        if (count := spearman[order["name"]][measure["name"]]["pictures"]) < len(record["pictures"])
    ]
    head = ("order", *(f"with {measure['label']}" for measure in measures))
    return Table("Spearman's rho, mean over pictures [95 %]", head, body, tuple(notes))


def _saying(record: Analysis) -> Table:
    body = [
        (
            _label(record, name),
            f"{half['tokens']:.1f}",
            half["conclusion"]["recognizable"],
            share(half["says"]["low"]),
            share(half["says"]["high"]),
            gap(half["says"]["low_minus_high"]),
            share(half["says_other"]["low"]),
            ", ".join(f"{word} ({times})" for word, times in half["words"][:5]),
        )
        for name, half in record["halves"].items()
    ]
    sure = f"confidence {record['sure']:g} or more"
    head = (
        *("ranked low by", "tokens", "recognizable", f"lowest half: {sure}", "highest half"),
        *("lowest minus highest", "lowest half: another word than blind", "says surely"),
    )
    return Table("What the tokens that rank lowest say", head, body, _left_out(record, "says"))


def _moving(record: Analysis) -> Table:
    title = "How far dropping them moves the first word of the answer, in nats"
    return _dropping(record, title, "divergence", nats, nats_gap)


def _changing(record: Analysis) -> Table:
    return _dropping(
        record, "For which share of the pictures the answer becomes another", "changed", share, gap
    )


def _dropping(
    record: Analysis,
    title: str,
    measure: Literal["divergence", "changed"],
    of: Callable[[Estimate], str],
    between: Callable[[Estimate], str],
) -> Table:
    """A measure of the effect of dropping a half, beside as many random tokens."""
    body = [
        (
            _label(record, name),
            *map(of, (half[measure]["low"], half[measure]["random"], half[measure]["high"])),
            *map(between, (half[measure]["low_minus_random"], half[measure]["high_minus_random"])),
        )
        for name, half in record["halves"].items()
    ]
    head = ("ranked by", "lowest", "random", "highest", "lowest minus random", "highest minus random")
    return Table(title, head, body, _left_out(record, measure))


def _left_out(record: Analysis, what: Literal["says", "divergence", "changed"]) -> tuple[str, ...]:
    """Of which halves pictures are left out, and why."""
    total = len(record["pictures"])
    return tuple(
        f"{_label(record, name)}: of {count} of {total} pictures; on the others {_why(name)}."
        for name, half in record["halves"].items()
        if (count := half[what]["low"]["pictures"]) < total
    )


def _why(name: str) -> str:
    constant = "a signal is the same for all tokens"
    return f"{constant}, or no token is low in every order" if name == "all" else constant


def _label(record: Analysis, name: str) -> str:
    labels = {order["name"]: order["label"] for order in record["orders"]}
    return labels.get(name, f"all {len(labels)} orders")


def _with_interval(estimate: Estimate, form: Callable[[float], str]) -> str:
    """An estimate, a dash if there is none."""
    return with_interval(estimate["mean"], estimate["low"], estimate["high"], form=form)


def share(estimate: Estimate) -> str:
    """An estimate of a share."""
    return _with_interval(estimate, lambda value: f"{value:.0%}")


def gap(estimate: Estimate) -> str:
    """An estimate of a difference of shares, in points."""
    return _with_interval(estimate, lambda value: f"{100 * value:+.1f}")


def rho(estimate: Estimate) -> str:
    """An estimate of a correlation."""
    return _with_interval(estimate, lambda value: f"{value:+.2f}")


def nats(estimate: Estimate) -> str:
    """An estimate of a divergence."""
    return _with_interval(estimate, lambda value: f"{value:.2g}")


def nats_gap(estimate: Estimate) -> str:
    """An estimate of a difference of divergences."""
    return _with_interval(estimate, lambda value: f"{value:+.2g}")
