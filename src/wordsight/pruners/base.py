"""Pruner: chooses which visual tokens the language model reads; Prompt in, Prompt out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor

from wordsight._utils.options import Count, Share, check_options
from wordsight.algorithms.selection import top_indices
from wordsight.errors import ModelError, UsageError
from wordsight.models.attach import Attached, PruningStats, attach
from wordsight.models.finite import check_finite
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens

if TYPE_CHECKING:
    from wordsight.models.vlm import VLM


@dataclass(kw_only=True)
class Pruner:
    """Base of all methods: a dataclass whose fields are the method's options, so that its repr is the record
    of a run.

    keep: the share of tokens to keep, in (0, 1]. tokens: their number instead, from 1 on; it wins over
    `keep`. positions: "original" leaves the kept tokens where they were; "contiguous" closes the gaps, as
    papers' code does.
    """

    required_signals: ClassVar[frozenset[str]] = frozenset()
    keep: Share = 0.2
    tokens: Count | None = None
    positions: Literal["original", "contiguous"] = "original"

    def __post_init__(self) -> None:
        check_options(self)

    def on(self, model: Any, processor: Any) -> Attached:
        """The model with a `generate` that prunes, in a `with` block or until `.detach()`; see `attach`."""
        return attach(model, processor, self)

    @property
    def stats(self) -> PruningStats:
        """How many visual tokens there were before and after, in models that it is attached to."""
        found: PruningStats = vars(self).setdefault("_stats", PruningStats())
        return found

    def select(self, tokens: VisualTokens) -> VisualTokens:
        """The tokens that are kept, in reading order. `prune` asks for it, with no line break among them."""
        raise NotImplementedError

    def prune(self, tokens: VisualTokens) -> VisualTokens:
        """The tokens that are kept, if there are any. A line break is kept, beside the budget, exactly if a
        token of what it ends is.

        Raises UsageError if the signals that the method reads are missing, or not all finite, as the tokens.
        """
        if not len(tokens):
            return tokens
        self._check_finite(tokens)
        is_break = tokens.is_break
        if not is_break.any():
            return self.select(tokens)
        kept = self.select(tokens.without_breaks())
        return kept.with_breaks(tokens.take(is_break.nonzero()[:, 0]))

    def _check_finite(self, tokens: VisualTokens) -> None:
        if missing := self.required_signals - tokens.signals.keys():
            raise UsageError(
                f"{type(self).__name__} reads {', '.join(sorted(missing))}, which these visual tokens lack; "
                "give signals=pruner.required_signals to what encodes or reads the prompt"
            )
        read = {name: tokens.signals[name] for name in sorted(self.required_signals)}
        check_finite(type(self).__name__, {"visual tokens": tokens.embeds, **read})

    def __call__(self, prompt: Prompt) -> Prompt:
        return self.apply(prompt, self.prune(prompt.visual))

    def apply(self, prompt: Prompt, kept: VisualTokens) -> Prompt:
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
    def has_fixed_budget(self) -> bool:
        """Whether the language model reads as many tokens as `keep` says, so that methods can be compared at
        it.
        """
        return True

    @property
    def reads_question(self) -> bool:
        """Whether the choice depends on the question, so that it serves no other question."""
        return "question" in self.required_signals

    def check(self, vlm: VLM) -> None:
        """Raises UsageError if the method cannot run on this model."""
        if missing := self.required_signals - vlm.signals:
            raise ModelError(
                f"{type(self).__name__} needs {', '.join(sorted(missing))}, which {vlm.name} "
                f"({vlm.model.config.model_type}) does not have; "
                f"it has {', '.join(sorted(vlm.signals)) or 'none'}"
            )

    def drops_all(self, tokens: VisualTokens) -> bool:
        """Whether a threshold alone would drop all of these tokens, so that one is kept in spite of it."""
        return False

    def budget(self, tokens: VisualTokens) -> int:
        """How many of these tokens to keep: at least one, if there is one."""
        count = self.tokens or max(1, round(self.keep * len(tokens)))
        return min(count, len(tokens))


@dataclass(kw_only=True)
class ScorePruner(Pruner):
    """Keeps the tokens with the highest scores. Subclasses implement `score`."""

    def score(self, tokens: VisualTokens) -> Tensor:
        """(N,) higher = kept."""
        raise NotImplementedError

    def select(self, tokens: VisualTokens) -> VisualTokens:
        return tokens.take(top_indices(self._checked_score(tokens), self.budget(tokens)))

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
    """Makes fewer tokens of many, deepstack features alike. Subclasses implement `merge_weights`,
    which is asked for fewer than there are.
    """

    def merge_weights(self, tokens: VisualTokens, count: int) -> tuple[Tensor, Tensor]:
        """(count,) the indices of the tokens whose places stay, and (count, N) how much of every token is in
        what is made for each of them.
        """
        raise NotImplementedError

    def select(self, tokens: VisualTokens) -> VisualTokens:
        count = self.budget(tokens)
        if count == len(tokens):
            return tokens
        index, weights = self.merge_weights(tokens, count)

        def mixed(features: Tensor) -> Tensor:
            return features.index_copy(0, index, (weights @ features.float()).to(features.dtype))

        return replace(tokens, embeds=mixed(tokens.embeds), deep=tuple(map(mixed, tokens.deep))).take(index)
