"""Pruner: chooses which visual tokens the language model reads; Prompt in, Prompt out."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from torch import Tensor
from typing_extensions import Self

from wordsight._utils import registry
from wordsight._utils.options import Count, Share, check_options
from wordsight.algorithms.selection import top_indices
from wordsight.errors import ModelError, UsageError, located
from wordsight.models.attach import Attached, PruningStats, attach
from wordsight.models.finite import check_finite
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens, join_tokens
from wordsight.pruners.choice import CHOICES, PrunerChoice, check_choice
from wordsight.pruners.scopes import BudgetScope, split

if TYPE_CHECKING:
    from wordsight.models.vlm import VLM


CONTIGUOUS: Mapping[str, Any] = {"positions": "contiguous"}  # all that most of released code differs in


@dataclass(kw_only=True)
class Pruner:
    """Base of all methods: a dataclass whose fields are the method's options, so that its repr is the record
    of a run.

    keep: the share of tokens to keep, in (0, 1]. tokens: their number instead, from 1 on; it wins over
    `keep`. budget: what has this budget of its own, see `scopes`; by default what the authors' code gives
    one, or the prompt. Every scope keeps round(keep * its tokens), at least one, or `tokens` of its own, as
    in released code. positions: "original" leaves the kept tokens where they were; "contiguous" closes the
    gaps, as most released code does, and ruins grounding (arXiv 2506.21873).

    choice: the file that it was loaded from and what is in it, which `check` holds against the model.
    PUBLISHED: the options of the method as its authors have released it, where they differ from ours; None
    if it is of no paper.
    """

    PUBLISHED: ClassVar[Mapping[str, Any] | None] = None
    required_signals: ClassVar[frozenset[str]] = frozenset()
    keep: Share = 0.2
    tokens: Count | None = None
    budget: BudgetScope = "prompt"
    positions: Literal["original", "contiguous"] = "original"
    choice: tuple[str, PrunerChoice] | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        check_options(self)

    @classmethod
    def published(cls, **options: Any) -> Self:
        """The method as its authors have released it, with other options than theirs for those given, such as
        a budget; `@published` in a SPEC. Raises UsageError if it is of no paper.

        >>> DivPrune.published(keep=0.1)
        """
        if cls.PUBLISHED is None:
            raise UsageError(f"{cls.__name__} is of no paper, so that nothing is published of it")
        return cls(**{**cls.PUBLISHED, **options})

    @staticmethod
    def load(file: str | Path) -> Pruner:
        """The pruner in a file that `wordsight recommend --export` wrote; another model than the one that it
        was chosen for refuses it. Raises UsageError if it is no such file, or what it names is not there any
        more.
        """
        from wordsight import pruners

        with located(str(file)):
            choice = CHOICES.read(Path(file))
            pruner = registry.make(pruners, choice["pruner"], Pruner)
        pruner.choice = str(file), choice
        return pruner

    def with_budget(self, *, keep: float | None = None, tokens: int | None = None) -> Self:
        """The same method, of the same choice, with this budget, by what it has read from disk already.
        Raises UsageError unless it is one of the two.
        """
        if (keep is None) == (tokens is None):
            raise UsageError("expected keep or tokens, one of the two")
        changed = copy(self)
        vars(changed).pop("_stats", None)
        changed.keep, changed.tokens = (self.keep, tokens) if keep is None else (keep, None)
        check_options(changed)
        return changed

    def on(self, model: Any, processor: Any) -> Attached:
        """The model with a `generate` that prunes, in a `with` block or until `.detach()`; see `attach`."""
        return attach(model, processor, self)

    @property
    def stats(self) -> PruningStats:
        """How many visual tokens there were before and after, in models that it is attached to."""
        found: PruningStats = vars(self).setdefault("_stats", PruningStats())
        return found

    def select(self, tokens: VisualTokens) -> VisualTokens:
        """The tokens of one scope that are kept, in reading order. `prune` asks for it, with no line break
        among them.
        """
        raise NotImplementedError

    def select_each(self, scopes: Sequence[VisualTokens]) -> list[VisualTokens]:
        """The tokens that are kept of each scope of a prompt."""
        return [self.select(tokens) for tokens in scopes]

    def prune(self, tokens: VisualTokens) -> VisualTokens:
        """The tokens that are kept, if there are any. A line break is kept, beside the budget, exactly if a
        token of what it ends is.

        Raises UsageError if the signals that the method reads are missing, or not all finite, as the tokens.
        """
        if not len(tokens):
            return tokens
        self._check_finite(tokens)
        is_break = tokens.is_break
        shown = tokens.without_breaks() if is_break.any() else tokens
        kept = join_tokens(*self.select_each(split(shown, self.budget)))
        return kept.with_breaks(tokens.take(is_break.nonzero()[:, 0])) if is_break.any() else kept

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
    def own_count(self) -> str | None:
        """What is kept where a picture says how much, whatever the budget, in words; None where that does."""
        return None

    @property
    def has_fixed_budget(self) -> bool:
        """Whether the language model reads as many tokens as `keep` says, so that methods can be compared at
        it.
        """
        return self.own_count is None

    @property
    def reads_question(self) -> bool:
        """Whether the choice depends on the question, so that it serves no other question."""
        return "question" in self.required_signals

    @property
    def digest(self) -> str | None:
        """What tells the content of what it reads from disk, as a codebook, from what lay there before; None
        if it reads nothing.
        """
        return None

    @property
    def code_digest(self) -> str | None:
        """Of the file that the method is written in, None if there is none, as in a notebook."""
        try:
            file = inspect.getsourcefile(type(self))
            return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else None
        except (OSError, TypeError):
            return None

    def check(self, vlm: VLM) -> None:
        """Raises UsageError if the method cannot run on this model, or was chosen for another."""
        if self.choice:
            file, choice = self.choice
            check_choice(choice, file, vlm)
        if missing := self.required_signals - vlm.signals:
            raise ModelError(
                f"{type(self).__name__} needs {', '.join(sorted(missing))}, which {vlm.name} "
                f"({vlm.model.config.model_type}) does not have; "
                f"it has {', '.join(sorted(vlm.signals)) or 'none'}"
            )

    def drops_all(self, tokens: VisualTokens) -> bool:
        """Whether a threshold alone would drop all of these tokens, so that one is kept in spite of it."""
        return False

    def count(self, tokens: VisualTokens) -> int:
        """How many of these tokens of one scope to keep: at least one, if there is one."""
        count = self.tokens or max(1, round(self.keep * len(tokens)))
        return min(count, len(tokens))


@dataclass(kw_only=True)
class ScorePruner(Pruner):
    """Keeps the tokens with the highest scores. Subclasses implement `score`."""

    def score(self, tokens: VisualTokens) -> Tensor:
        """(N,) higher = kept."""
        raise NotImplementedError

    def select(self, tokens: VisualTokens) -> VisualTokens:
        return tokens.take(top_indices(self._checked_score(tokens), self.count(tokens)))

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
        count = self.count(tokens)
        if count == len(tokens):
            return tokens
        index, weights = self.merge_weights(tokens, count)

        def mixed(features: Tensor) -> Tensor:
            return features.index_copy(0, index, (weights @ features.float()).to(features.dtype))

        return replace(tokens, embeds=mixed(tokens.embeds), deep=tuple(map(mixed, tokens.deep))).take(index)
