"""What wordsight makes of a checkpoint: its family, its prompts, and which pruners can run on it."""

from __future__ import annotations

from typing import Any

from PIL import Image

from wordsight import pruners
from wordsight.errors import UsageError
from wordsight.media.inputs import MediaInput
from wordsight.models.processing import prompt_text
from wordsight.models.vlm import VLM
from wordsight.redundancy.probe import QUESTION


def describe_model(vlm: VLM, size: tuple[int, int] = (640, 480)) -> dict[str, Any]:
    """What `wordsight info` shows, for a picture of `size` (width, height) in pixels."""
    blank = Image.new("RGB", size)
    prompt = vlm.encode(blank, QUESTION)
    tokens, grids = prompt.visual, []
    for crop in sorted(set(tokens.cell[~tokens.is_break, 1].tolist())):
        rows, columns = (tokens.cell[tokens.cell[:, 1] == crop, 2:].max(0).values + 1).tolist()
        grids.append({"crop": crop, "rows": rows, "columns": columns})
    return {
        "model": vlm.name,
        "family": vlm.model.config.model_type,
        "picture_map": vlm.family.mapped,
        "picture": list(size),
        "visual_tokens": len(tokens),
        "line_breaks": int(tokens.is_break.sum()),
        "grids": grids if vlm.family.mapped else [],
        "video": "as such" if getattr(vlm.processor, "video_processor", None) else "as pictures",
        "prompt": prompt_text(vlm.processor, MediaInput(pictures=(blank,)), "QUESTION", ()),
        "prompt_tokens": len(prompt.is_visual),
        "positions": "M-RoPE" if prompt.sequence["position_ids"].ndim > 1 else "1-D",
        "pad_embedding": vlm.processor.tokenizer.pad_token,
        "cls": any(
            name.endswith(("class_embedding", "cls_token")) for name, _ in vlm.model.named_parameters()
        ),
        "signals": sorted(vlm.signals),
        "fingerprint": vlm.fingerprint,
        "pruners": {name: _obstacle(vlm, name) for name in pruners.names()},
    }


def _obstacle(vlm: VLM, name: str) -> str | None:
    """Why a pruner cannot run on the model, or None."""
    try:
        pruners.make(name).check(vlm)
    except UsageError as error:
        return str(error)
    return None
