"""Experiments: what is measured of every visual token, each on its own, in columns of one row per token.

"tokens" are the tokens themselves; "probe-0", "probe-1" and so on are what each says alone to the first
question, the second and so on; "regional" and "global" are what leaving it out changes. Signals are read from
the columns of one experiment or several, and are high where a token says or changes something.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial, reduce
from typing import Literal, get_args

import torch
from torch import Tensor

from wordsight._utils.progress import subtasks
from wordsight.algorithms.divergence import MEASURES, TOP
from wordsight.media.inputs import Media, MediaInput
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.redundancy import ablation, probe

TOKENS, ABLATIONS = "tokens", ("regional", "global")
WORDS = 5  # words kept of every token
TokenSignal = Literal["confidence", "certainty", "blind_divergence", "questions", "questions_divergence"]
TOKEN_SIGNALS: tuple[TokenSignal, ...] = get_args(TokenSignal)
SIGNALS = (*TOKEN_SIGNALS, *(f"{scope}/{measure}" for scope in ABLATIONS for measure in MEASURES))
OVER_QUESTIONS = {"questions": "confidence", "questions_divergence": "blind_divergence"}  # their highest
Found = Mapping[str, Mapping[str, Tensor]]  # columns by experiment
Noise = Mapping[str, Mapping[str, float]]  # nats by experiment and column; what is below is no change


@dataclass(frozen=True)
class AblationPlan:
    """How leaving out is done: of which tokens (N,) are `picked`, None for all, by the experiment and what is
    found before it; and by which computation of the whole picture.
    """

    picked: Callable[[str, Found], Tensor | None] = lambda name, found: None
    ablate_global: Callable[..., ablation.LogitPair] = ablation.ablate_global


@dataclass(frozen=True)
class AskedPicture:
    """A picture, encoded once, and the prompts of several questions about it; the first one's is `whole`,
    which has the line breaks of its visual tokens too.
    """

    vlm: VLM
    media: Media | Sequence[Media] | MediaInput
    questions: Sequence[str]

    @cached_property
    def whole(self) -> Prompt:
        return self.vlm.encode(self.media, self.questions[0])

    @cached_property
    def places(self) -> Tensor:
        """(N,) where among the visual tokens of `whole` those are that are asked: no line breaks."""
        return (~self.whole.visual.is_break).nonzero()[:, 0]

    @cached_property
    def content(self) -> VisualTokens:
        """The visual tokens (N) that are asked."""
        return self.whole.visual.take(self.places)

    def prompt(self, number: int) -> Prompt:
        """The prompt of the question of this number, with these tokens alone."""
        question, visual = self.questions[number], self.whole.visual
        is_first = question == self.questions[0]
        prompt = self.whole if is_first else self.vlm.encode(self.media, question, visual=visual)
        return replace(prompt, visual=self.content)


def probes(questions: int) -> tuple[str, ...]:
    """The probes of so many questions."""
    return tuple(f"probe-{number}" for number in range(questions))


def experiments(questions: int) -> tuple[str, ...]:
    """All experiments with so many questions, in the order in which they are done."""
    return (TOKENS, *probes(questions), *ABLATIONS)


def sources(signal: str, questions: int) -> list[tuple[str, str]]:
    """The experiments and their columns whose highest value is the signal."""
    if signal in OVER_QUESTIONS:
        return [(probed, OVER_QUESTIONS[signal]) for probed in probes(questions)]
    scope, _, measure = signal.partition("/")
    return [(scope, measure)] if measure else [(probes(1)[0], signal)]


def signals_of(found: Found, questions: int, noise: Noise | None = None) -> dict[str, Tensor]:
    """The signals (N,) whose experiments are found."""
    return {
        name: signal_of(name, found, questions, noise)
        for name in SIGNALS
        if all(experiment in found for experiment, _ in sources(name, questions))
    }


def signal_of(name: str, found: Found, questions: int, noise: Noise | None = None) -> Tensor:
    """A signal (N,), from the columns that it is read from; what is below the noise is 0."""
    columns = [
        above_noise(found[experiment][column], (noise or {}).get(experiment, {}).get(column))
        for experiment, column in sources(name, questions)
    ]
    return reduce(torch.maximum, columns)


def above_noise(column: Tensor, floor: float | None) -> Tensor:
    """The column with no change, 0, where it is below the floor; what was not measured stays NaN."""
    return column if floor is None else column.masked_fill(column < floor, 0)


def measure_tokens(
    vlm: VLM,
    media: Media | Sequence[Media] | MediaInput,
    questions: Sequence[str] = probe.QUESTIONS,
    needs: Collection[str] | None = None,
) -> dict[str, Tensor]:
    """Experiments on every visual token of a prompt but its line breaks, all or those in `needs`: "embeds"
    (N, D), "cell" (N, 4), the likeliest "words" and their "word_probabilities" (N, 5) to the first question,
    and signals (N,).

    Signals, high where a token says or changes something: "confidence", "certainty" and "blind_divergence" of
    the probe with the first question; "questions" and "questions_divergence", the highest confidence and
    blind divergence over all questions; "regional/MEASURE" and "global/MEASURE", the divergences of leaving
    out.
    """
    count = len(questions)
    found = measure_experiments(vlm, media, questions, experiments(count) if needs is None else needs)
    columns = {"embeds": found[TOKENS]["embeds"].float(), "cell": found[TOKENS]["cell"]}
    if first := found.get(probes(1)[0]):
        columns |= {name: first[name] for name in ("words", "word_probabilities")}
    return columns | signals_of(found, count)


def measure_experiments(
    vlm: VLM,
    media: Media | Sequence[Media] | MediaInput,
    questions: Sequence[str],
    needs: Collection[str],
    ablations: AblationPlan | None = None,
) -> dict[str, dict[str, Tensor]]:
    """The columns of the experiments in `needs` and of "tokens", whose embeddings are in the model's dtype.

    Ablations are NaN for the tokens that are not picked. What is said to RELEASED_QUESTION is read as
    released code reads it.
    """
    ablations = ablations or AblationPlan()
    asked = AskedPicture(vlm, media, questions)
    found = {TOKENS: {"embeds": asked.content.embeds.cpu(), "cell": asked.content.cell.cpu()}}
    articles = probe.articles_of(questions[0], usual=())
    ablate: dict[str, Callable[[list[int]], ablation.LogitPair]] = {
        "regional": partial(ablation.ablate_regional, vlm, asked.prompt(0), articles=articles, top=TOP),
        "global": lambda picked: ablations.ablate_global(
            vlm, asked.whole, asked.places[picked].tolist(), articles=articles, top=TOP
        ),
    }
    wanted = [name for name in experiments(len(questions))[1:] if name in needs]
    for name in subtasks(wanted, len(wanted)):
        if name in ABLATIONS:
            picked = ablations.picked(name, found)
            is_picked = torch.ones(len(asked.places), dtype=torch.bool) if picked is None else picked
            found[name] = _ablation(ablate[name], is_picked)
        else:
            number = probes(len(questions)).index(name)
            found[name] = _probe(vlm, asked.prompt(number), questions[number])
    return found


def _probe(vlm: VLM, prompt: Prompt, question: str) -> dict[str, Tensor]:
    said = probe.probe_tokens(vlm, prompt, articles=probe.articles_of(question, usual=probe.ARTICLES))
    columns = {
        "words": said.tokens[:, :WORDS],
        "word_probabilities": said.probabilities[:, :WORDS],
        "confidence": said.confidence,
        "certainty": said.certainty,
        "blind_divergence": said.blind_divergence,
    }
    return {name: column.cpu().contiguous() for name, column in columns.items()}


def _ablation(ablate: Callable[[list[int]], ablation.LogitPair], is_picked: Tensor) -> dict[str, Tensor]:
    """The divergences (N,) of the tokens that are picked (N,), NaN for the others."""
    columns = {measure: torch.full((len(is_picked),), torch.nan) for measure in MEASURES}
    picked = is_picked.nonzero()[:, 0]
    if not len(picked):
        return columns
    pair = ablate(picked.tolist())
    for measure, divergence in MEASURES.items():
        columns[measure][picked] = pair.divergence(divergence).float().cpu()
    return columns
