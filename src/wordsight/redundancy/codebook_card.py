"""The model card of a codebook on the hub, made of what its config says."""

from __future__ import annotations

import re

from huggingface_hub import ModelCardData

from wordsight.errors import UsageError, shown
from wordsight.redundancy.book_info import info_rows
from wordsight.redundancy.codebook_config import CodebookInfo
from wordsight.redundancy.hub import REPOSITORY

CARD = "README.md"
LICENSE = re.compile(r"[\w.-]+")
TEXT = """---
{metadata}
---

# A codebook for {model}

Prototypes of visual tokens that say nothing to {model}: wordsight drops the tokens that look like them.

| | |
|---|---|
{rows}

```python
from wordsight import VLM, {pruner}
vlm = VLM.from_pretrained("{model}")
print(vlm.answer("picture.png", "What is this?", pruner={pruner}(codebook="{repository}", {options}keep=0.2)))
```
"""


def check_license(name: str | None) -> None:
    """Raises UsageError if this is no name of a license as the hub has them."""
    if name is not None and not LICENSE.fullmatch(name):
        raise UsageError(f"expected a license as the hub calls it, as cc-by-4.0 or other; got {shown(name)}")


def model_card(info: CodebookInfo, repository: str, license: str | None) -> str:
    """Markdown with the metadata that the hub reads; the license is that of the pictures."""
    model = info["model"]
    metadata = ModelCardData(
        base_model=model if REPOSITORY.fullmatch(model) else None,
        library_name="wordsight",
        license=license,
        tags=["wordsight", "codebook", "visual-token-pruning"],
    )
    rows = [*info_rows(info), *_pictures(info, license)]
    if "calibrated" not in info:
        rows.append(("quality", "not known: no calibration chose this book"))
    pruner, options = _pruner(info)
    return TEXT.format(
        metadata=metadata.to_yaml(),
        model=model,
        rows="\n".join(f"| {_cell(name)} | {_cell(text)} |" for name, text in rows),
        repository=repository,
        pruner=pruner,
        options=options,
    )


def _pruner(info: CodebookInfo) -> tuple[str, str]:
    """The class to prune by with this book, and its options: beside diversity if it pays there alone."""
    if "calibrated" in info:
        alone, beside = info["calibrated"]["pays"], info["calibrated"].get("beside_diversity")
        if beside and beside["pays"] and not alone:
            return "CodebookMMR", f"weight={beside['weight']:g}, "
    return "CodebookPruner", ""


def _pictures(info: CodebookInfo, license: str | None) -> list[tuple[str, str]]:
    """What is known of the pictures, beside their number."""
    shows = "the patches show parts of them" if "patches" in info else "none of them is shown"
    rows = [("license of the pictures", license or "not given"), ("the pictures themselves", shows)]
    if "pictures_sha256" in info:
        rows.append(("names and digests of the pictures", f"sha256 {info['pictures_sha256']}"))
    return rows


def _cell(text: str) -> str:
    """Text as a cell of a table has it."""
    return " ".join(text.replace("|", r"\|").split())
