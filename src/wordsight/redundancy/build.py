"""Building a codebook: from the evidence of many pictures to the redundant prototypes among their tokens.

"Beyond Intermediate States: Explaining Visual Redundancy through Language", section 3.3,
https://arxiv.org/abs/2503.20540. Differs from the released code: distances are scaled by their mean by
default (its sqrt(D) scale is informative only where norms are large), ties are broken by index, and
thresholds may be quantiles.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from wordsight._utils.numbers import counted
from wordsight._utils.options import Count, check_options
from wordsight.algorithms.clustering import Scale, dpc_knn
from wordsight.errors import MediaError, UsageError
from wordsight.media.picture_files import PictureFile, open_picture, picture_file
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.codebook_config import FORMAT, ClusteringRecord, CodebookConfig, Counts
from wordsight.redundancy.criteria import DEFAULT, Condition
from wordsight.redundancy.evidence import Evidence
from wordsight.redundancy.evidence_files import PictureClusters
from wordsight.redundancy.measured_with import versions

POOL = 50_000  # tokens that are clustered over all pictures


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """How redundant tokens become prototypes (paper, section 3.3).

    Within an image all tokens are put into `image_clusters`, and clusters of more than `largest` tokens, the
    image's bulk, give nothing. Over all images the rest is put into `clusters`, and those that occur in more
    than `images` distinct images are kept. The paper examines 96 tokens per image, and has largest=8 and
    images=64 for LLaVA-1.5, of which nothing may be left of a few hundred images.
    """

    image_clusters: Count = 8
    largest: Count = 12
    clusters: Count = 64
    images: Annotated[int, Ge(0)] = 16
    neighbors: Count = 5
    scale: Scale = "mean"

    def __post_init__(self) -> None:
        check_options(self)

    def check_pictures(self, count: int, unread: Sequence[str] = ()) -> None:
        """Raises UsageError if no cluster can be in enough of so many pictures; why others cannot be read is
        `unread`.
        """
        if count > self.images:
            return
        cause = f", the first because {unread[0]}" if unread else ""
        if unread and not count:
            raise MediaError(f"none of {counted(len(unread), 'picture')} can be read{cause}")
        if unread:
            cause = f"{len(unread)} of {count + len(unread)} pictures cannot be read{cause}; the other "
        raise UsageError(
            f"{cause}{counted(count, 'picture')} cannot make a codebook: a prototype has to be found in more "
            f"than {self.images}; give {counted(self.images + 1, 'picture')} or more, or lower --min-images "
            "(images of Clustering)"
        )

    @property
    def of_a_picture(self) -> PictureClusters:
        """What decides the clusters of the tokens of one picture."""
        return {
            "image_clusters": self.image_clusters,
            "neighbors": self.neighbors,
            "scale": self.scale,
        }

    def check_readable(self, pictures: Iterable[Path | PictureFile]) -> None:
        """The same of those pictures that can be read, before they are examined; only as many are opened as
        are needed.
        """
        count, reasons = 0, list[str]()
        for picture in map(picture_file, pictures):
            try:
                open_picture(picture)
            except MediaError as error:
                reasons.append(str(error))
                continue
            if (count := count + 1) > self.images:
                return
        self.check_pictures(count, reasons)

    def as_json(self) -> ClusteringRecord:
        """The fields."""
        return {
            "image_clusters": self.image_clusters,
            "largest": self.largest,
            "clusters": self.clusters,
            "images": self.images,
            "neighbors": self.neighbors,
            "scale": self.scale,
        }


def build_codebook(
    evidence: Evidence, condition: Condition | None = None, clustering: Clustering | None = None
) -> Codebook:
    """The codebook of the evidence; the same evidence gives the same one, bit for bit.

    Of more than POOL tokens that may become prototypes, so many are drawn by a fixed seed: clustering takes
    time by their square. Only their embeddings are read, unless the evidence has no clusters of its pictures'
    tokens, or other ones. Raises UsageError if no prototype is left.
    """
    condition, clustering = condition or DEFAULT, clustering or Clustering()
    clustering.check_pictures(evidence.examined, [*evidence.skipped.values()])
    redundant = condition.holds(evidence.signals)
    small = _sizes(evidence, clustering) <= min(clustering.largest, len(evidence))
    candidates = (redundant & small).nonzero()[:, 0]
    pool = _sample(candidates)
    embeds = evidence.embeds[pool]
    is_common = _in_common_clusters(embeds, evidence.image[pool], clustering)
    counts: Counts = {
        "pictures": evidence.examined,
        "tokens": len(evidence),
        "redundant": int(redundant.sum()),
        "redundant_in_small_clusters": len(candidates),
        "prototypes": int(is_common.sum()),
    }
    if len(pool) < len(candidates):
        counts["drawn"] = len(pool)
    if not is_common.any():
        steps = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
        raise UsageError(f"no prototype is left ({steps}); {_remedy(counts)}")
    manifest = evidence.manifest
    pictures = [
        {"name": evidence.pictures[number], "sha256": evidence.sha256[number]}
        for number in evidence.tokens.nonzero()[:, 0].tolist()
    ]
    digest = hashlib.sha256(json.dumps(pictures).encode()).hexdigest()
    config: CodebookConfig = {
        "format": FORMAT,
        "model": manifest["model"],
        "fingerprint": manifest["fingerprint"],
        "parts": manifest.get("parts"),
        "questions": manifest["questions"],
        "condition": condition.as_json(),
        "thresholds": condition.resolve(evidence.signals).as_json(),
        "clustering": clustering.as_json(),
        "pictures_sha256": digest,
        "counts": counts,
        "versions": versions(),
        "measured_with": manifest["measured_with"],
    }
    if evidence.is_approximate and "global" in condition.needs(manifest["questions"]):
        config["approximate_global"] = evidence.checks["global"]["rank_correlation"]
    return Codebook(embeds[is_common].float().contiguous(), config)


def _remedy(counts: Counts) -> str:
    """What to change where no prototype is left: what comes before the step that left none."""
    if not counts["redundant"]:
        return "raise the thresholds of the condition, --confidence or --divergence"
    if not counts["redundant_in_small_clusters"]:
        return "raise --largest, or the thresholds of the condition"
    return "give more pictures, lower --min-images, or raise the thresholds of the condition"


def random_codebook(evidence: Evidence, count: int, seed: int = 0) -> Codebook:
    """The control: `count` tokens of the evidence, drawn whatever they say.

    A codebook that does not beat it has learned what is common, not what is redundant.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(evidence), generator=generator)[:count].sort().values
    config: CodebookConfig = {
        "format": FORMAT,
        "model": evidence.manifest["model"],
        "fingerprint": evidence.manifest["fingerprint"],
        "parts": evidence.manifest.get("parts"),
        "questions": evidence.manifest["questions"],
        "condition": "none: drawn at random",
        "counts": {
            "pictures": evidence.examined,
            "tokens": len(evidence),
            "prototypes": len(rows),
        },
    }
    return Codebook(evidence.embeds[rows].float().contiguous(), config)


def cluster_sizes(embeds: Tensor, clusters: PictureClusters) -> Tensor:
    """(N,) how many tokens there are in the cluster of each of the tokens (N, D) of a picture."""
    labels = dpc_knn(embeds, clusters["image_clusters"], clusters["neighbors"], clusters["scale"])
    return labels.bincount()[labels].int()


def _sizes(evidence: Evidence, clustering: Clustering) -> Tensor:
    """(T,) how many tokens of its picture there are in the cluster of each token; all examined tokens are
    clustered, not just redundant ones.
    """
    if evidence.cluster_sizes is not None and evidence.clusters == clustering.of_a_picture:
        return evidence.cluster_sizes[:]
    sizes = torch.zeros(len(evidence), dtype=torch.int32)
    for rows in torch.split(evidence.image.argsort(stable=True), evidence.tokens.tolist()):
        if len(rows):
            sizes[rows] = cluster_sizes(evidence.embeds[rows], clustering.of_a_picture)
    return sizes


def _sample(candidates: Tensor) -> Tensor:
    """POOL of the candidates, in their order, or all of fewer."""
    if len(candidates) <= POOL:
        return candidates
    drawn = torch.randperm(len(candidates), generator=torch.Generator().manual_seed(0))[:POOL]
    return candidates[drawn.sort().values]


def _in_common_clusters(embeds: Tensor, image: Tensor, clustering: Clustering) -> Tensor:
    """(P,) which tokens belong to a cluster that occurs in enough distinct images."""
    if not len(embeds):
        return torch.zeros(0, dtype=torch.bool)
    labels = dpc_knn(embeds, clustering.clusters, clustering.neighbors, clustering.scale)
    pairs = torch.unique(torch.stack([labels, image], 1), dim=0)  # one row per cluster and distinct image
    images = pairs[:, 0].bincount()  # distinct images of each cluster
    common: Tensor = images[labels] > clustering.images
    return common
