"""From a folder of pictures to a codebook: collect evidence, state a condition, build, prune."""

from pathlib import Path

from wordsight import VLM, Clustering, CodebookPruner, Condition, Quantile, build_codebook, collect_evidence
from wordsight.synthetic.scenes import save_scenes

folder = Path("demo-output")  # what is there already is not examined again
vlm = VLM.from_pretrained()
photos = save_scenes(folder / "photos", 2)
evidence = collect_evidence(vlm, photos, folder / "evidence")
condition = Condition(confidence=Quantile(0.6), divergence=Quantile(0.6))
# For two pictures; for hundreds, Clustering() asks for clusters that many of them share.
book = build_codebook(evidence, condition, Clustering(images=0))
print(book.config["counts"])
print(vlm.answer(photos[0], "describe the image.", pruner=CodebookPruner(codebook=book, keep=0.2)))
