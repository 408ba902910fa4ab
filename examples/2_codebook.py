"""From a folder of pictures to a codebook: collect evidence, state a condition, build, prune."""

from pathlib import Path
from tempfile import TemporaryDirectory

from wordsight import VLM, Clustering, CodebookPruner, Condition, Quantile
from wordsight.redundancy.build import build_codebook
from wordsight.redundancy.evidence import collect_evidence
from wordsight.synthetic.scenes import save_scenes

vlm = VLM.from_pretrained()
with TemporaryDirectory() as folder:
    photos = save_scenes(Path(folder) / "photos", 6)
    evidence = collect_evidence(vlm, photos, Path(folder) / "evidence")
    condition = Condition(confidence=Quantile(0.6), divergence=Quantile(0.6))
    # For six pictures; for hundreds, Clustering() asks for clusters that many of them share.
    book = build_codebook(evidence, condition, Clustering(largest=144, images=0))
    print(book.config["counts"])
    print(vlm.answer(photos[0], "describe the image.", pruner=CodebookPruner(codebook=book, keep=0.2)))
