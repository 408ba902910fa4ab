"""Pruner: chooses which visual tokens the language model reads; Prompt in, Prompt out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor

from wordsight.errors import UsageError
from wordsight.models.layer_hooks import decoder_layers
from wordsight.models.layer_state import Midway
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens
from wordsight.redundancy.codebook import Codebook

if TYPE_CHECKING:
    from wordsight.models.vlm import VLM


@dataclass(kw_only=True)
class Pruner:
    """Base of all methods: a dataclass whose fields are the method's options, so that its repr is the record
    of a run.

    keep: the share of tokens to keep, a float in (0, 1], or their number, a whole number from 1. positions:
    "original" leaves the kept tokens where they were; "contiguous" closes the gaps, as papers' code does.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    keep: float | int = 0.2
    positions: Literal["original", "contiguous"] = "original"

    def __post_init__(self) -> None:
        whole = isinstance(self.keep, int) and not isinstance(self.keep, bool)
        if not (whole and self.keep >= 1) and not (isinstance(self.keep, float) and 0 < self.keep <= 1):
            raise UsageError(
                "keep must be a share of the tokens in (0, 1], as 0.2, or a whole number of them, as 64; "
                f"got {self.keep!r}"
            )
        if self.positions not in ("original", "contiguous"):
            raise UsageError(f"positions must be 'original' or 'contiguous', got {self.positions!r}")

    def prune(self, tokens: VisualTokens) -> VisualTokens:
        """The tokens that are kept, in reading order. `choose` asks for it, with no line break among them."""
        raise NotImplementedError

    def choose(self, tokens: VisualTokens) -> VisualTokens:
        """The tokens that are kept. A line break is kept, beside the budget, exactly if a token of what it
        ends is.

        Raises UsageError if the tokens or the signals that the method reads are not all finite.
        """
        self._check_finite(tokens)
        is_break = tokens.is_break
        if not is_break.any():
            return self.prune(tokens)
        kept = self.prune(tokens.take((~is_break).nonzero()[:, 0]))
        return kept.with_breaks(tokens.take(is_break.nonzero()[:, 0]))

    def _check_finite(self, tokens: VisualTokens) -> None:
        read = {"visual tokens": tokens.embeds, **{name: tokens.signals[name] for name in self.needs}}
        broken = [name for name, values in read.items() if not values.isfinite().all()]
        if broken:
            raise UsageError(
                f"{type(self).__name__} cannot choose among tokens that are NaN or infinite ({broken[0]}); "
                "is the checkpoint damaged, or its dtype too narrow? try bfloat16 or float32"
            )

    def __call__(self, prompt: Prompt) -> Prompt:
        return self.place(prompt, self.choose(prompt.visual))

    def place(self, prompt: Prompt, kept: VisualTokens) -> Prompt:
        """The prompt with these of its visual tokens, pruned before: one choice serves many questions about
        a picture.
        """
        pruned = replace(prompt, visual=kept)
        if self.positions == "original":
            return pruned
        if prompt.sequence["position_ids"].ndim > 1:
            raise UsageError(
                "positions=contiguous: this model tells places by positions of several axes (M-RoPE), which "
                "have no gaps to close; leave it out"
            )
        return pruned.contiguous()

    @property
    def meets_keep(self) -> bool:
        """Whether the language model reads as many tokens as `keep` says, so that methods can be compared at
        it.
        """
        return True

    @property
    def reads_question(self) -> bool:
        """Whether the choice depends on the question, so that it serves no other question."""
        return "question" in self.needs

    def check(self, vlm: VLM) -> None:
        """Raises UsageError if the method cannot run on this model."""
        if missing := self.needs - vlm.signals:
            raise UsageError(
                f"{type(self).__name__} needs {', '.join(sorted(missing))}, which {vlm.name} "
                f"({vlm.model.config.model_type}) does not have; "
                f"it has {', '.join(sorted(vlm.signals)) or 'none'}"
            )

    def would_empty(self, tokens: VisualTokens) -> bool:
        """Whether a threshold alone would drop all of these tokens, so that one is kept in spite of it."""
        return False

    def budget(self, tokens: VisualTokens) -> int:
        """How many of these tokens to keep: at least one, if there is one."""
        count = self.keep if isinstance(self.keep, int) else max(1, round(self.keep * len(tokens)))
        return min(count, len(tokens))


@dataclass(kw_only=True)
class ScorePruner(Pruner):
    """Keeps the tokens with the highest scores. Subclasses implement `score`."""

    def score(self, tokens: VisualTokens) -> Tensor:
        """(N,) higher = kept."""
        raise NotImplementedError

    def prune(self, tokens: VisualTokens) -> VisualTokens:
        return tokens.take(highest(self._checked_score(tokens), self.budget(tokens)))

    def _checked_score(self, tokens: VisualTokens) -> Tensor:
        scores = self.score(tokens)
        if scores.shape != (len(tokens),):
            raise UsageError(
                f"{type(self).__name__}.score gave a tensor of shape {tuple(scores.shape)} for {len(tokens)} "
                f"tokens; expected one score for each, shape ({len(tokens)},)"
            )
        if broken := int(scores.isnan().sum()):
            raise UsageError(
                f"{type(self).__name__}.score gave NaN for {broken} of {len(tokens)} tokens; expected "
                "numbers that can be ordered"
            )
        return scores


@dataclass(kw_only=True)
class MergePruner(Pruner):
    """Makes fewer tokens of many, deepstack features alike. Subclasses implement `mix`, which is asked for
    fewer than there are.
    """

    def mix(self, tokens: VisualTokens, count: int) -> tuple[Tensor, Tensor]:
        """(count,) the indices of the tokens whose places stay, and (count, N) how much of every token is in
        what is made for each of them.
        """
        raise NotImplementedError

    def prune(self, tokens: VisualTokens) -> VisualTokens:
        count = self.budget(tokens)
        if count == len(tokens):
            return tokens
        index, weights = self.mix(tokens, count)

        def mixed(features: Tensor) -> Tensor:
            return features.index_copy(0, index, (weights @ features.float()).to(features.dtype))

        return replace(tokens, embeds=mixed(tokens.embeds), deep=tuple(map(mixed, tokens.deep))).take(index)


@dataclass(kw_only=True)
class BookPruner(Pruner):
    """A method with a codebook: a folder, "demo" for the embedded model's, or a Codebook."""

    codebook: str | Codebook = "demo"
    book: Codebook = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.codebook
        self.book = given if isinstance(given, Codebook) else Codebook.from_pretrained(given)

    def check(self, vlm: VLM) -> None:
        super().check(vlm)
        self.book.check(vlm)


@dataclass(kw_only=True)
class LayerPruner(Pruner):
    """Drops tokens between layers of the language model, by what the layers before made of the question too.

    Before the model it only marks the prompt: `Prompt.inside`. `keep` is what is left after the last of its
    layers; line breaks count as any token. The first layers read all, so a count of the tokens that are read
    is a mean over layers (`read`).
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.positions != "original":
            raise UsageError(
                f"positions={self.positions}: {type(self).__name__} drops tokens inside the language model, "
                "where they have their positions; leave it out"
            )

    @property
    def meets_keep(self) -> bool:
        return False

    def layers(self, depth: int) -> Sequence[int]:
        """After how many of the `depth` layers tokens are dropped, ascending."""
        raise NotImplementedError

    def counts(self, tokens: VisualTokens) -> Sequence[int]:
        """How many of the tokens are left after each of those layers."""
        raise NotImplementedError

    def narrow(self, midway: Midway, count: int) -> Midway:
        """The prompt with `count` of its visual tokens left, fewer than it has."""
        raise NotImplementedError

    def choose(self, tokens: VisualTokens) -> VisualTokens:
        """All of the tokens: which are dropped is known only inside."""
        self._check_finite(tokens)
        return tokens

    def place(self, prompt: Prompt, kept: VisualTokens) -> Prompt:
        return replace(prompt, visual=kept, inside=self)

    def plan(self, tokens: VisualTokens, depth: int) -> dict[int, int]:
        """How many of the tokens are left after how many layers; where two steps meet, the later counts."""
        return dict(zip(self.layers(depth), self.counts(tokens), strict=True))

    def read(self, tokens: VisualTokens, depth: int) -> float:
        """How many of the tokens a layer reads, the mean over `depth` layers."""
        plan, count, total = self.plan(tokens, depth), len(tokens), 0
        for number in range(depth):
            count = plan.get(number, count)
            total += count
        return total / depth

    def check(self, vlm: VLM) -> None:
        super().check(vlm)
        depth, whole = len(decoder_layers(vlm)), vlm.family.whole_layers(vlm.model)
        for layer in self.layers(depth):
            if not 1 <= layer < depth:
                raise UsageError(
                    f"{type(self).__name__} drops tokens after layer {layer}, but the language model of "
                    f"{vlm.name} has {depth} layers: expected one from 1 to {depth - 1}"
                )
            if layer < whole:
                raise UsageError(
                    f"{type(self).__name__} drops tokens after layer {layer}, but the first {whole} layers "
                    f"of {vlm.name} ({vlm.model.config.model_type}) add features to all of them (deepstack): "
                    f"expected a layer from {whole} to {depth - 1}"
                )


def highest(scores: Tensor, count: int) -> Tensor:
    """(count,) indices of the highest scores (N,), highest first."""
    # A stable sort: equal scores are kept in reading order, on every machine.
    return scores.float().argsort(descending=True, stable=True)[:count]


def check_stages(shares: Sequence[float]) -> None:
    """Raises UsageError unless these are shares of the depth, ascending."""
    if not shares or any(not 0 < share < 1 for share in shares) or list(shares) != sorted(set(shares)):
        raise UsageError(
            f"stages must be shares of the depth, in (0, 1) and ascending, as 0.25+0.5+0.75; got {shares!r}"
        )


def layers_at(shares: Sequence[float], depth: int) -> tuple[int, ...]:
    """The layers at these shares of the depth, rounded down, the first at least 1."""
    return tuple(max(1, int(share * depth)) for share in shares)
