"""Scorer: two layers that say of a token's embedding how much it tells the language model, without asking it.

Ours, no paper: a codebook of another kind, fitted on the same evidence. A codebook knows tokens that say
nothing and measures how near a token is to one of them; a scorer is shown what every token says.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import NotRequired, TypedDict

from wordsight import demo
from wordsight._utils.artifacts import Artifact, read_tensors, tensors_digest, write_folder
from wordsight._utils.files import check_folder
from wordsight._utils.options import Count, Seed, check_options
from wordsight.errors import FileError, UsageError
from wordsight.models.fingerprints import Parts
from wordsight.redundancy.codebook import check_made_for
from wordsight.redundancy.evidence import Evidence
from wordsight.redundancy.measured_with import versions

if TYPE_CHECKING:
    from wordsight.models.vlm import VLM

FORMAT = 1
FILES = ("scorer.safetensors", "config.json")
MOST = math.log(2)  # of a divergence in nats
BATCH, RATE, DECAY = 256, 2e-3, 0.02


class FittingRecord(TypedDict):
    """How a scorer was fitted."""

    hidden: Annotated[int, "units of the first layer"]
    passes: Annotated[int, "over the evidence"]
    seed: int


class ScorerConfig(TypedDict):
    """What a scorer says of itself: which model it is for, and what it was fitted on."""

    format: int
    model: str
    fingerprint: Annotated[str, "of the space that the model's visual tokens live in"]
    parts: NotRequired[Annotated[Parts | None, "digests of the rest of the model; null if unknown"]]
    questions: Annotated[list[str], "that the tokens were asked; it is fitted to the first"]
    fitting: FittingRecord
    pictures: int
    tokens: int
    versions: Annotated[dict[str, str], "of the packages that fitted it"]


class ScorerFile(ScorerConfig):
    """The config of a scorer as its file has it."""

    layers_sha256: Annotated[str, "of the tensors"]


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """How a scorer is fitted: by Adam with weight decay, which falls to nothing, over batches of 256."""

    hidden: Count = 64
    passes: Count = 40
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class Scorer:
    """Two layers, "first" (H, 1 + D) and "second" (1, 1 + H), each with its bias before its weights.

    >>> scorer = Scorer.from_pretrained("demo")
    >>> scorer.predict(tokens.embeds)               # (N,) in nats, low = says nothing
    """

    layers: Mapping[str, Tensor]
    config: ScorerConfig

    def predict(self, embeds: Tensor) -> Tensor:
        """(N,) float32 the blind divergence expected of every token (N, D), in [0, ln 2] nats."""
        width = self.layers["first"].shape[1] - 1
        if embeds.shape[-1] != width:
            raise UsageError(
                f"the scorer is for D={width} ({self.config['model']}), this model has D={embeds.shape[-1]}; "
                "fit one with wordsight.fit_scorer"
            )
        first, second = (self.layers[name].float().to(embeds.device) for name in ("first", "second"))
        hidden = F.gelu(embeds.float() @ first[:, 1:].T + first[:, 0])  # (N, H)
        return MOST * (hidden @ second[0, 1:] + second[0, 0]).sigmoid()

    def check(self, vlm: VLM) -> None:
        """Raises UsageError if the scorer was fitted to other visual tokens; a note if only the rest of the
        model is another.
        """
        self.predict(vlm.pad_embedding[None])
        remedy = "fit one with wordsight.fit_scorer"
        check_made_for(vlm, self.config, "the scorer was fitted", "layers", remedy)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write scorer.safetensors and config.json into the folder, both or neither.

        Raises FileError if the folder holds anything else.
        """
        root, tensors = Path(folder), dict(self.layers)
        check_folder(root, FILES)
        config = {**self.config, "format": FORMAT, "layers_sha256": tensors_digest(tensors)}
        write_folder(root, FILES, tensors, CONFIGS.text(config))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Scorer:
        """Load a scorer; "demo" is the embedded model's. Raises FileError if it is not one or is damaged."""
        root = demo.SCORER if folder == "demo" else Path(folder)
        if missing := [name for name in FILES if not os.path.isfile(root / name)]:
            raise FileError(
                f"no scorer in {root}: {missing[0]} is missing; expected a folder that "
                "Scorer.save_pretrained wrote, or demo"
            )
        config = CONFIGS.read(root / FILES[1])
        tensors = read_tensors(root / FILES[0], CONFIGS)
        if config.pop("layers_sha256") != tensors_digest(tensors):  # type: ignore[misc]  # the file's own
            raise CONFIGS.unusable(root / FILES[0], "its layers are not those of config.json")
        if wrong := _wrong_layers(tensors):
            raise CONFIGS.unusable(root / FILES[0], wrong)
        return cls(tensors, config)


CONFIGS = Artifact(
    name="the config of a scorer",
    record=ScorerFile,
    format=FORMAT,
    remedy="take another copy of the scorer, or fit it again",
)


def fit_scorer(evidence: Evidence, fitting: Fitting | None = None) -> Scorer:
    """The scorer of the evidence's blind divergences; the same evidence gives the same one on one machine.

    Raises UsageError if there is no token.
    """
    fitting = fitting or Fitting()
    if not len(evidence):
        raise UsageError("a scorer cannot be fitted to no token; give evidence of one picture or more")
    embeds = evidence.embeds[:].float()
    mean, spread = embeds.mean(0), embeds.std(0, correction=0).clamp(min=1e-6)
    inputs, shares = (embeds - mean) / spread, evidence.signals["blind_divergence"] / MOST
    first, second = (layer.requires_grad_(False) for layer in _fitted(inputs, shares, fitting))
    weight = first.weight / spread  # what was made of the embeddings goes into the first layer
    bias = first.bias - weight @ mean
    layers = {
        "first": torch.cat([bias[:, None], weight], 1),
        "second": torch.cat([second.bias[:, None], second.weight], 1),
    }
    manifest = evidence.manifest
    config: ScorerConfig = {
        "format": FORMAT,
        "model": manifest["model"],
        "fingerprint": manifest["fingerprint"],
        "parts": manifest.get("parts"),
        "questions": manifest["questions"],
        "fitting": {"hidden": fitting.hidden, "passes": fitting.passes, "seed": fitting.seed},
        "pictures": evidence.examined,
        "tokens": len(evidence),
        "versions": versions(),
    }
    return Scorer(layers, config)


def _fitted(inputs: Tensor, shares: Tensor, fitting: Fitting) -> tuple[nn.Linear, nn.Linear]:
    """Two layers that say the shares of the inputs, by cross-entropy."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(fitting.seed)  # that of the CPU alone
        first, second = nn.Linear(inputs.shape[1], fitting.hidden), nn.Linear(fitting.hidden, 1)
        steps = fitting.passes * -(-len(inputs) // BATCH)
        optimizer = torch.optim.AdamW([*first.parameters(), *second.parameters()], RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
        for _ in range(fitting.passes):
            for rows in torch.split(torch.randperm(len(inputs)), BATCH):
                said = second(F.gelu(first(inputs[rows])))[:, 0]
                optimizer.zero_grad()
                torch.autograd.backward(F.binary_cross_entropy_with_logits(said, shares[rows]))
                optimizer.step()
                schedule.step()
    return first, second


def _wrong_layers(tensors: Mapping[str, Tensor]) -> str:
    """Why these are no layers, "" if they are."""
    if tensors.keys() != {"first", "second"}:
        return f"it holds {', '.join(sorted(tensors)) or 'nothing'}, expected first and second"
    first, second = tensors["first"], tensors["second"]
    if first.ndim != 2 or first.shape[1] < 2 or second.shape != (1, 1 + len(first)):
        return f"its layers have the shapes {tuple(first.shape)} and {tuple(second.shape)}"
    if not all(layer.is_floating_point() and bool(layer.isfinite().all()) for layer in tensors.values()):
        return "its layers are not finite floating-point numbers"
    return ""
