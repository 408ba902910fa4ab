"""The record of a prompt: what every visual token says and does, who keeps it, and what is answered then.

Plain JSON from end to end: the page shows it, `--json` prints it, a server can send it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import Annotated, Any

from torch import Tensor
from typing_extensions import TypedDict

from wordsight import pruners
from wordsight._utils.numbers import rounded, word_pairs
from wordsight._utils.progress import report_found, subtask
from wordsight._utils.registry import refuse_duplicates, spec
from wordsight.analysis.token_maps import CLS, MapLegend, MissingMap, answer_effect, token_maps
from wordsight.explain.finding import findings
from wordsight.explain.nearest_prototypes import PrototypesRecord, nearest_prototypes
from wordsight.explain.panels import PanelRecord, panels
from wordsight.explain.pruner_choices import (
    AgreementRecord,
    MethodRecord,
    agreement,
    pruner_choices,
)
from wordsight.media.inputs import MediaInput
from wordsight.models.conversation import Conversation
from wordsight.models.preflight import Preflight
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.pruners.book import BookPruner
from wordsight.redundancy import probe
from wordsight.redundancy.ablation import check_picture_map
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.experiments import measure_tokens

# Before 5, prototypes had no patches. Before 4, there was no truth, no finding and no warning. Before 3, a
# token that says nothing counted as saying its likeliest word. Before 2, "maps" were "layers", "missing" was
# "absent", "selection" "how", the "value" of a threshold "own".
FORMAT = 5
KEEPS = (0.1, 0.2, 0.5)
STEPS = 5  # of explaining, reported as progress


class TokensRecord(TypedDict):
    """The tokens that are no line breaks, in reading order: a list of each property."""

    cell: Annotated[list[list[int]], "per token its panel, crop, row and column"]
    box: Annotated[list[list[float]], "per token left, top, right and bottom, as shares of the picture"]
    words: Annotated[
        list[list[list[Any]]], "per token its likeliest words when seen alone, with probabilities"
    ]
    says_nothing: Annotated[
        list[bool], "per token whether its words are no more than the question's own, without any picture"
    ]
    values: Annotated[dict[str, list[float]], "by the name of a map, its value of each token"]


class WordRecord(TypedDict):
    """A word, and the tokens that say it: it is their likeliest."""

    word: Annotated[str | None, "null: nothing"]
    tokens: Annotated[int, "how many"]
    confidence: Annotated[float, "the mean probability of their likeliest word"]


class ExplainRecord(TypedDict):
    """Everything that the page of `wordsight explain` shows."""

    format: int
    wordsight: Annotated[str, "the version that made the record"]
    model: str
    question: str
    probe_question: Annotated[str, "the question to which words, confidence and divergences belong"]
    answer: Annotated[str, "with all tokens"]
    cut: Annotated[bool, "whether the answer would have gone on"]
    warning: Annotated[
        str | None, "if a picture is unlike those that the model was trained on, as far as its folder says"
    ]
    truth: Annotated[list[str], "the answers that are right; none if that is not known"]
    right: Annotated[bool | None, "whether the answer is; null if the truth is not known"]
    panels: Annotated[list[PanelRecord], "one per picture or frame"]
    notes: Annotated[list[str], "what had to be assumed about the pictures"]
    tokens: TokensRecord
    maps: Annotated[list[MapLegend], "what the picture can be colored by"]
    missing: Annotated[list[MissingMap], "the maps that could not be made"]
    codebook: Annotated[PrototypesRecord | None, "null without a codebook"]
    methods: Annotated[list[MethodRecord], "the pruners"]
    findings: Annotated[list[list[str]], "per pruner what each of its choices costs, in a sentence"]
    agreement: Annotated[list[AgreementRecord], "one per keep"]
    words: Annotated[list[WordRecord], "the commonest first"]


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """What to explain.

    names     of its pictures or videos.
    question  what is answered, and what the last token of the prompt attends to.
    pruners   at each of `keeps`; None are some that can run on the model, the best of the evidence first.
    book      a folder, "demo" or "demo-photos": for the redundancy of tokens.
    truth     the answers that are right, to say of every answer whether it is.
    """

    names: Sequence[str]
    question: str = probe.QUESTION
    pruners: Sequence[Pruner] | None = None
    keeps: Sequence[float] = KEEPS
    book: str | None = None
    truth: Sequence[str] = ()

    def __post_init__(self) -> None:
        refuse_duplicates("pruner", [spec(method) for method in self.pruners or ()])
        _ = self.codebook  # one that cannot be read is refused before the long work

    @cached_property
    def codebook(self) -> Codebook | None:
        """The book, read once."""
        return Codebook.from_pretrained(self.book) if self.book else None

    def methods(self, vlm: VLM) -> Sequence[Pruner]:
        """The pruners to explain. Raises ModelError if one of them cannot run on this model, or it has no
        picture map, and UsageError if a codebook is of another model.
        """
        check_picture_map(vlm)
        if self.codebook:
            self.codebook.check(vlm)
        methods = self._default_pruners(vlm) if self.pruners is None else self.pruners
        for method in methods:
            method.check(vlm)
        return methods

    def _default_pruners(self, vlm: VLM) -> Sequence[Pruner]:
        return [
            replace(each, codebook=self.book) if self.book and isinstance(each, BookPruner) else each
            for each in map(pruners.make, pruners.BEST_FIRST)
            if each.required_signals <= vlm.signals and (self.book or not isinstance(each, BookPruner))
        ]


def explain_tokens(
    vlm: VLM,
    media: MediaInput,
    request: ExplainRequest,
    *,
    measure: Callable[..., dict[str, Tensor]] = measure_tokens,
) -> ExplainRecord:
    """The record of a prompt. `measure` may be one that remembers: what it finds does not depend on the
    question.

    Tokens are those that are no line breaks, numbered from 0 in the order in which they are read. Raises
    ModelError if a pruner cannot run on this model, or it has no picture map, and UsageError if a codebook
    is of another model, or the prompt and its answer exceed the model's context. The tokens, and then their
    words as `probe_tokens` finds them and once more all together, are reported before (`report_progress`).
    """
    methods = request.methods(vlm)
    preflight = Preflight(vlm)
    for question in (request.question, probe.QUESTION):
        preflight.check(Conversation.about(media, question), vlm.new_tokens(None))
    signals = frozenset[str]().union(*(method.required_signals for method in methods)) | (CLS & vlm.signals)
    with subtask(0, STEPS, "encoding the picture"):
        prompt = vlm.encode(media, request.question, signals=signals)
        tokens = prompt.visual.without_breaks()
        assert tokens.box is not None, "a family with a picture map gives boxes"
        report_found(tokens)
    with subtask(
        1, STEPS, f"asking each of {len(tokens)} visual tokens what it says, and what its absence changes"
    ):
        measured = measure(vlm, media, (probe.QUESTION,))
        words = probe.decode_ids(vlm, measured["words"])
        pairs = [word_pairs(*row) for row in zip(words, measured["word_probabilities"], strict=True)]
        said = probe.likeliest_words(words, measured["blind_divergence"])
        report_found(dict(enumerate(said)))
        maps = token_maps(vlm, prompt, measured, request.codebook)
    with subtask(2, STEPS, "asking what the absence of each changes in the answer"):
        if request.question != probe.QUESTION:
            maps = replace(maps, maps=[*maps.maps, answer_effect(vlm, prompt)])
    prototypes = None
    with subtask(3, STEPS, "asking the prototypes of the codebook what they say"):
        if request.codebook:
            alone = vlm.encode(media, probe.QUESTION, visual=prompt.visual)
            prototypes = nearest_prototypes(vlm, replace(alone, visual=tokens), request.codebook)
    with subtask(4, STEPS, "answering the question with all tokens and with fewer"):
        choices = pruner_choices(vlm, prompt, methods, request.keeps, request.truth)
    return {
        "format": FORMAT,
        "wordsight": version("wordsight"),
        "model": vlm.name,
        "question": request.question,
        "probe_question": probe.QUESTION,
        "answer": choices["answer"],
        "cut": choices["cut"],
        "warning": vlm.domain.warning(prompt.visual) if vlm.domain else None,
        "truth": list(request.truth),
        "right": choices["right"],
        "panels": panels(media, tokens, request.names),
        "notes": list(media.notes),
        "tokens": {
            "cell": tokens.cell.tolist(),
            "box": rounded(tokens.box),
            "words": pairs,
            "says_nothing": [word is None for word in said],
            "values": {each.name: rounded(each.values) for each in maps.maps},
        },
        "maps": [each.as_json() for each in maps.maps],
        "missing": maps.missing,
        "codebook": prototypes,
        "methods": choices["methods"],
        "findings": findings(choices, said),
        "agreement": agreement(choices["methods"], request.keeps, len(tokens)),
        "words": by_word(pairs, said),
    }


def by_word(pairs: Sequence[list[list[Any]]], said: Sequence[str | None]) -> list[WordRecord]:
    """The words of tokens and nothing, with how many tokens say each and how surely on average, the
    commonest first.
    """
    chances_of = defaultdict[str | None, list[float]](list)
    for ((_, chance), *_), word in zip(pairs, said, strict=True):
        chances_of[word].append(chance)
    rows: list[WordRecord] = [
        {"word": word, "tokens": len(chances), "confidence": round(sum(chances) / len(chances), 4)}
        for word, chances in chances_of.items()
    ]
    return sorted(rows, key=lambda row: (-row["tokens"], row["word"] or ""))
