"""LayerPruner: a method that drops tokens between layers of the language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from wordsight.errors import ModelError, UsageError
from wordsight.models.layer_hooks import decoder_layers
from wordsight.models.layer_state import LayerState
from wordsight.models.prompt import Prompt
from wordsight.models.tokens import VisualTokens
from wordsight.models.vlm import VLM
from wordsight.pruners.base import Pruner


@dataclass(kw_only=True)
class LayerPruner(Pruner):
    """Drops tokens between layers of the language model, by what the layers before made of the question too.

    Before the model it only marks the prompt: `Prompt.layerwise`. `keep` is what is left after the last of
    its layers; line breaks count as any token. The first layers read all, so a count of the tokens that are
    read is a mean over layers (`tokens_read`).
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        why = {
            "positions": "where they have their positions",
            "budget": "which reads all of a prompt at once",
        }
        for option, reason in why.items():
            if (given := getattr(self, option)) != getattr(LayerPruner, option):
                raise UsageError(
                    f"{option}={given}: {type(self).__name__} drops tokens inside the language model, "
                    f"{reason}; leave it out"
                )

    @property
    def has_fixed_budget(self) -> bool:
        return False

    def layers(self, depth: int) -> Sequence[int]:
        """After how many of the `depth` layers tokens are dropped, ascending."""
        raise NotImplementedError

    def counts(self, tokens: VisualTokens) -> Sequence[int]:
        """How many of the tokens are left after each of those layers."""
        raise NotImplementedError

    def prune_layer(self, state: LayerState, count: int) -> LayerState:
        """The prompt with `count` of its visual tokens left, fewer than it has."""
        raise NotImplementedError

    def prune(self, tokens: VisualTokens) -> VisualTokens:
        """All of the tokens: which are dropped is known only inside."""
        self._check_finite(tokens)
        return tokens

    def apply(self, prompt: Prompt, kept: VisualTokens) -> Prompt:
        return replace(prompt, visual=kept, layerwise=self)

    def plan(self, tokens: VisualTokens, depth: int) -> dict[int, int]:
        """How many of the tokens are left after how many layers; where two steps meet, the later counts."""
        return dict(zip(self.layers(depth), self.counts(tokens), strict=True))

    def tokens_read(self, tokens: VisualTokens, depth: int) -> float:
        """How many of the tokens a layer reads, the mean over `depth` layers."""
        plan, count, total = self.plan(tokens, depth), len(tokens), 0
        for number in range(depth):
            count = plan.get(number, count)
            total += count
        return total / depth

    def check(self, vlm: VLM) -> None:
        super().check(vlm)
        if vlm.family.is_recurrent:
            raise ModelError(
                f"layers of {vlm.name} ({vlm.model.config.model_type}) carry a state from token to token, so "
                "that none can be dropped between them; take a method that prunes before the language model"
            )
        depth, whole = len(decoder_layers(vlm.model)), vlm.family.whole_layers(vlm.model)
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


def check_stages(shares: Sequence[float]) -> None:
    """Raises UsageError unless these are shares of the depth, ascending."""
    if not shares or any(not 0 < share < 1 for share in shares) or list(shares) != sorted(set(shares)):
        raise UsageError(
            f"stages must be shares of the depth, in (0, 1) and ascending, as 0.25+0.5+0.75; got {shares!r}"
        )


def layers_at(shares: Sequence[float], depth: int) -> tuple[int, ...]:
    """The layers at these shares of the depth, rounded down, the first at least 1."""
    return tuple(max(1, int(share * depth)) for share in shares)
