"""Codebook: redundant prototypes, directions of embedding space that say nothing to the language model.

"Beyond Intermediate States: Explaining Visual Redundancy through Language",
https://arxiv.org/abs/2503.20540. Differs from the released code: distances are scaled by their mean by
default (its sqrt(D) scale is informative only where norms are large), ties are broken by index, and
thresholds may be quantiles.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from wordsight import demo
from wordsight._utils.files import check_folder, replacing
from wordsight.algorithms.clustering import Scale, dpc_knn
from wordsight.algorithms.selection import leaders
from wordsight.errors import UsageError
from wordsight.redundancy.criteria import DEFAULT, Condition

if TYPE_CHECKING:
    from wordsight.models.vlm import VLM
    from wordsight.redundancy.evidence import Evidence

FILES = ("codebook.safetensors", "config.json")
ROUNDING = 1e-12  # of a cosine in double precision


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """How redundant tokens become prototypes (paper, section 3.3; LLaVA-1.5's settings as defaults).

    Within an image all tokens are put into `image_clusters`, and clusters of more than `largest` tokens, the
    image's bulk, give nothing. Over all images the rest is put into `clusters`, and those that occur in more
    than `images` distinct images are kept. The paper examines 96 tokens per image.
    """

    image_clusters: int = 8
    largest: int = 8
    clusters: int = 64
    images: int = 64
    neighbours: int = 5
    scale: Scale = "mean"


@dataclass(frozen=True)
class Codebook:
    """Prototypes (M, D) and the record of where they come from.

    >>> book = Codebook.from_pretrained("demo")
    >>> book.redundancy(tokens.embeds)               # (N,) in [-1, 1], high = says nothing
    """

    prototypes: Tensor
    config: dict[str, Any]

    @classmethod
    def build(
        cls, evidence: Evidence, condition: Condition | None = None, clustering: Clustering | None = None
    ) -> Codebook:
        """The book of the evidence; the same evidence gives the same book, bit for bit.

        Raises UsageError if no prototype is left.
        """
        condition, clustering = condition or DEFAULT, clustering or Clustering()
        redundant = condition.holds(evidence)
        small = _in_small_clusters(evidence, clustering)
        pool = (redundant & small).nonzero()[:, 0]
        chosen = pool[_in_common_clusters(evidence.embeds[pool], evidence.image[pool], clustering)]
        counts = {
            "pictures": len(evidence.pictures),
            "tokens": len(evidence),
            "redundant": int(redundant.sum()),
            "redundant_in_small_clusters": len(pool),
            "prototypes": len(chosen),
        }
        if not len(chosen):
            raise UsageError(
                f"no prototype is left ({', '.join(f'{n} {name}' for name, n in counts.items())}); "
                "give more pictures, raise the thresholds of the condition, or lower --min-images"
            )
        manifest = evidence.manifest
        digest = hashlib.sha256(json.dumps(manifest["pictures"]).encode()).hexdigest()
        config = {
            "format": 1,
            "model": manifest["model"],
            "fingerprint": manifest["fingerprint"],
            "questions": manifest["questions"],
            "condition": condition.as_json(),
            "thresholds": condition.resolve(evidence).as_json(),
            "clustering": asdict(clustering),
            "pictures_sha256": digest,
            "counts": counts,
            "versions": {name: version(name) for name in ("wordsight", "torch", "transformers")},
        }
        return cls(evidence.embeds[chosen].float().contiguous(), config)

    @classmethod
    def random(cls, evidence: Evidence, count: int, seed: int = 0) -> Codebook:
        """The control: `count` tokens of the evidence, drawn whatever they say.

        A book that does not beat it has learned what is common, not what is redundant.
        """
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(evidence), generator=generator)[:count].sort().values
        known = {key: evidence.manifest[key] for key in ("model", "fingerprint", "questions")}
        counts = {"pictures": len(evidence.pictures), "tokens": len(evidence), "prototypes": len(rows)}
        config = {"format": 1, **known, "condition": "none: drawn at random", "counts": counts}
        return cls(evidence.embeds[rows].float().contiguous(), config)

    @property
    def digest(self) -> str:
        """What tells this book from others, whatever folder it lies in."""
        return hashlib.sha256(self.prototypes.float().cpu().numpy().tobytes()).hexdigest()[:16]

    def similarity(self, embeds: Tensor) -> Tensor:
        """(N, M) float32 cosine of every token (N, D) with every prototype."""
        if embeds.shape[-1] != self.prototypes.shape[-1]:
            raise UsageError(
                f"codebook is for D={self.prototypes.shape[-1]} ({self.config['model']}), this model has "
                f"D={embeds.shape[-1]}; build one with `wordsight codebook build`"
            )
        unit = torch.nn.functional.normalize
        return unit(embeds.float(), dim=-1) @ unit(self.prototypes.float().to(embeds.device), dim=-1).T

    def redundancy(self, embeds: Tensor) -> Tensor:
        """(N,) the highest cosine with a prototype, in [-1, 1]: high means that the token says nothing."""
        return self.similarity(embeds).amax(-1)

    def repetition(self) -> Tensor:
        """(M, M) double: the cosine of every prototype with every other, -inf with itself."""
        unit = torch.nn.functional.normalize(self.prototypes.double(), dim=-1)
        return (unit @ unit.T).clamp(-1, 1).fill_diagonal_(-torch.inf)

    def compact(self, similarity: float = 0.98) -> Codebook:
        """The book without prototypes that repeat another.

        Each that goes has a cosine of `similarity` or more with one that stays, and no two that stay have.
        The one that most others repeat stays first, whatever order they are in. None is averaged, so no
        token's redundancy rises; it falls by sqrt(2 - 2 * similarity) at most, the distance of two unit
        vectors at that cosine. That is said of the highest cosine, not of the pruner's softmax rules.
        """
        if not 0 < similarity <= 1:
            raise UsageError(f"similarity must be a cosine in (0, 1], got {similarity}")
        near = (self.repetition() >= similarity - ROUNDING).fill_diagonal_(True)
        # The place in the order of the vectors themselves, so that equals are not told apart by index.
        place = torch.unique(self.prototypes, dim=0, return_inverse=True)[1]
        stay = leaders(near, place)
        merged = {"similarity": similarity, "prototypes": len(self.prototypes), "digest": self.digest}
        config = self.config | {
            "counts": {**self.config.get("counts", {}), "prototypes": len(stay)},
            "compacted": [*self.config.get("compacted", []), merged],
        }
        return Codebook(self.prototypes[stay], config)

    def check(self, vlm: VLM) -> None:
        """Raises UsageError if the book was built for another model; imported books only know their width."""
        self.similarity(vlm.pad_embedding[None])
        known = self.config["fingerprint"]
        if known is not None and known != vlm.fingerprint:
            raise UsageError(
                f"codebook was built for {self.config['model']} (fingerprint {known}), this is {vlm.name} "
                f"({vlm.fingerprint}): prototypes mean nothing in another model; build one with "
                "`wordsight codebook build`"
            )

    def save_pretrained(self, folder: str | Path) -> None:
        """Write codebook.safetensors and config.json into the folder, both or neither.

        Raises UsageError if the folder holds anything else: a book takes the place of a book only.
        """
        root = Path(folder)
        check_place(root)
        with replacing(root) as draft:
            draft.mkdir()
            save_file({"prototypes": self.prototypes.contiguous()}, draft / "codebook.safetensors")
            (draft / "config.json").write_text(json.dumps(self.config, indent=1) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Codebook:
        """Load a book; "demo" is the embedded model's. Raises UsageError if it is not one or is damaged."""
        root = demo.CODEBOOK if folder == "demo" else Path(folder)
        if root.is_file():
            raise UsageError(
                f"{root} is a file; expected a folder with codebook.safetensors and config.json; "
                "a released .pt book is converted by `wordsight codebook import`"
            )
        try:
            config = json.loads((root / "config.json").read_text())
            prototypes = load_file(root / "codebook.safetensors")["prototypes"]
            if prototypes.ndim != 2 or not {"model", "fingerprint"} <= set(config):
                raise ValueError(f"prototypes {tuple(prototypes.shape)}, config {sorted(config)}")
            if not prototypes.isfinite().all():
                raise ValueError("prototypes that are NaN or infinite")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise UsageError(
                f"no codebook in {root}: expected config.json and codebook.safetensors that can be read "
                f"({error})"
            ) from error
        return cls(prototypes, config)


def check_place(folder: Path) -> None:
    """Raises UsageError if a book cannot be saved there: a book takes the place of a book only."""
    if other := sorted({path.name for path in folder.glob("*")} - set(FILES)):
        raise UsageError(f"{folder} holds {other[0]}, which is not of a codebook; choose another folder")
    check_folder(folder)


def import_released(file: str | Path, model: str) -> Codebook:
    """A codebook the paper's authors released: one tensor (M, D) in a .pt file, read with weights_only."""
    try:
        prototypes = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises whatever its unpickler meets in a damaged file
        raise UsageError(
            f"cannot read {file}: expected a .pt file that holds one tensor and nothing else "
            f"({type(error).__name__})"
        ) from error
    if not isinstance(prototypes, Tensor) or prototypes.ndim != 2 or not prototypes.is_floating_point():
        raise UsageError(f"{file} does not hold prototypes: expected one float tensor (M, D)")
    config = {"format": 1, "model": model, "fingerprint": None, "imported_from": Path(file).name}
    return Codebook(prototypes.detach().clone(), config | {"counts": {"prototypes": len(prototypes)}})


def _in_small_clusters(evidence: Evidence, clustering: Clustering) -> Tensor:
    """(T,) which tokens do not belong to their image's bulk; all examined tokens are clustered, not just
    redundant ones.
    """
    small = torch.zeros(len(evidence), dtype=torch.bool)
    for image in torch.unique(evidence.image):
        rows = (evidence.image == image).nonzero()[:, 0]
        labels = dpc_knn(
            evidence.embeds[rows], clustering.image_clusters, clustering.neighbours, clustering.scale
        )
        small[rows] = labels.bincount()[labels] <= clustering.largest
    return small


def _in_common_clusters(embeds: Tensor, image: Tensor, clustering: Clustering) -> Tensor:
    """(P,) which tokens belong to a cluster that occurs in enough distinct images."""
    if not len(embeds):
        return torch.zeros(0, dtype=torch.bool)
    labels = dpc_knn(embeds, clustering.clusters, clustering.neighbours, clustering.scale)
    pairs = torch.unique(torch.stack([labels, image], 1), dim=0)  # one row per cluster and distinct image
    images = pairs[:, 0].bincount()  # distinct images of each cluster
    common: Tensor = images[labels] > clustering.images
    return common
