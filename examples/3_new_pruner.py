"""A pruner of your own: say how much a token is worth, and compare it with random tokens."""

from dataclasses import dataclass

from torch import Tensor

from wordsight import VLM, Random, ScorePruner, VisualTokens, compare
from wordsight.tasks.scenes import Scenes


@dataclass(kw_only=True)
class Loudest(ScorePruner):
    """Keeps the tokens with the largest norms."""

    def score(self, tokens: VisualTokens) -> Tensor:
        return tokens.embeds.float().norm(dim=-1)


results = compare(VLM.from_pretrained(), [Scenes()], [Random(keep=0.1), Loudest(keep=0.1)], limit=24)
for row in results.rows:
    print(f"{row['pruner']:60s} {row['accuracy']:.2f} [{row['low']:.2f}, {row['high']:.2f}]")
