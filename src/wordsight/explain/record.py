"""The story of a prompt: what every visual token says and does, who keeps it, and what is answered then.

Plain JSON from end to end: the page shows it, `--json` prints it, a server can send it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any

from torch import Tensor

from wordsight._utils.numbers import rounded, spoken
from wordsight._utils.registry import spec
from wordsight.analysis.token_maps import CLS, effect, layers
from wordsight.evaluation.comparison import refuse_repeated
from wordsight.explain import nearest_prototypes as prototypes
from wordsight.explain.panels import panels
from wordsight.explain.pruner_choices import agreement, choices
from wordsight.media.inputs import Shown
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner
from wordsight.pruners.cls_topk import ClsTopK
from wordsight.pruners.codebook import CodebookPruner
from wordsight.pruners.divprune import DivPrune
from wordsight.redundancy import probe
from wordsight.redundancy.ablation import check_map
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.evidence import examine

FORMAT = 1
KEEPS = (0.1, 0.2, 0.5)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What to tell of a prompt.

    names     of its pictures or videos.
    question  what is answered, and what the last token of the prompt attends to.
    pruners   at each of `keeps`; None are some that can run on the model.
    book      a folder, or "demo": for the redundancy of tokens.
    """

    names: Sequence[str]
    question: str = probe.QUESTION
    pruners: Sequence[Pruner] | None = None
    keeps: Sequence[float] = KEEPS
    book: str | None = None

    def __post_init__(self) -> None:
        refuse_repeated("pruner", [spec(method) for method in self.pruners or ()])
        _ = self.codebook  # one that cannot be read is told before the long work

    @cached_property
    def codebook(self) -> Codebook | None:
        """The book, read once."""
        return Codebook.from_pretrained(self.book) if self.book else None

    def methods(self, vlm: VLM) -> Sequence[Pruner]:
        """The pruners to tell of. Raises UsageError if one of them, or the book, is not for this model."""
        check_map(vlm)
        if self.codebook:
            self.codebook.check(vlm)
        methods = self._usual(vlm) if self.pruners is None else self.pruners
        for method in methods:
            method.check(vlm)
        return methods

    def _usual(self, vlm: VLM) -> Sequence[Pruner]:
        with_book = [CodebookPruner(codebook=self.book)] if self.book else []
        with_cls = [ClsTopK()] if ClsTopK.needs <= vlm.signals else []
        return [*with_book, *with_cls, DivPrune()]


def tell(
    vlm: VLM,
    shown: Shown,
    asked: Asked,
    say: Callable[[str], None] = lambda text: None,
    *,
    examine: Callable[..., dict[str, Tensor]] = examine,
) -> dict[str, Any]:
    """The record of a prompt; `say` hears what is being done. `examine` may be one that remembers: what it
    finds does not depend on the question.

    Tokens are those that are no line breaks, numbered from 0 in the order in which they are read. Raises
    UsageError if a pruner or the book is not for this model, or the model has no picture map.
    """
    methods = asked.methods(vlm)
    needs = frozenset[str]().union(*(method.needs for method in methods)) | (CLS & vlm.signals)
    prompt = vlm.encode(shown, asked.question, collect=needs)
    tokens = prompt.visual.take((~prompt.visual.is_break).nonzero()[:, 0])
    assert tokens.box is not None, "a family with a picture map gives boxes"
    say(f"asking each of {len(tokens)} visual tokens what it says, and what its absence changes")
    examined = examine(vlm, shown, (probe.QUESTION,))
    spelled = probe.spell(vlm, examined["words"])
    said = [spoken(*row) for row in zip(spelled, examined["word_probabilities"], strict=True)]
    found = layers(vlm, prompt, examined, asked.codebook)
    if asked.question != probe.QUESTION:
        say("asking what the absence of each changes in the answer")
        found = replace(found, there=[*found.there, effect(vlm, prompt)])
    book = None
    if asked.codebook:
        say("asking the prototypes of the codebook what they say")
        alone = vlm.encode(shown, probe.QUESTION, seen=prompt.visual)
        book = prototypes.nearest(vlm, replace(alone, visual=tokens), asked.codebook)
    say("answering the question with all tokens and with fewer")
    chosen = choices(vlm, prompt, methods, asked.keeps)
    return {
        "format": FORMAT,
        "wordsight": version("wordsight"),
        "model": vlm.name,
        "question": asked.question,
        "probe_question": probe.QUESTION,
        "answer": chosen["answer"],
        "panels": panels(shown, tokens, asked.names),
        "tokens": {
            "cell": tokens.cell.tolist(),
            "box": rounded(tokens.box),
            "words": said,
            "values": {layer.name: rounded(layer.values) for layer in found.there},
        },
        "layers": [layer.as_json() for layer in found.there],
        "absent": found.absent,
        "codebook": book,
        "methods": chosen["methods"],
        "agreement": agreement(chosen["methods"], asked.keeps, len(tokens)),
        "words": by_word(said),
    }


def by_word(said: Sequence[list[list[Any]]]) -> list[dict[str, Any]]:
    """The likeliest words, with how many tokens say each and how surely on average, the commonest first."""
    chances = defaultdict(list)
    for (word, chance), *_ in said:
        chances[word].append(chance)
    rows = [
        {"word": word, "tokens": len(found), "confidence": round(sum(found) / len(found), 4)}
        for word, found in chances.items()
    ]
    return sorted(rows, key=lambda row: (-int(row["tokens"]), str(row["word"])))
