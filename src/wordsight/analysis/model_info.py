"""What wordsight makes of a checkpoint: its family, its prompts, and which pruners can run on it."""

from __future__ import annotations

from typing import Annotated, Literal

from PIL import Image
from typing_extensions import TypedDict

from wordsight import pruners
from wordsight.errors import UsageError
from wordsight.media.inputs import MediaInput
from wordsight.models.processing import prompt_text
from wordsight.models.vlm import VLM
from wordsight.redundancy.probe import QUESTION

FORMAT = 1


class Grid(TypedDict):
    """The tokens of one crop of a picture."""

    crop: Annotated[int, "0 is the whole picture, others are enlarged parts of it"]
    rows: int
    columns: int


class ModelInfo(TypedDict):
    """What `wordsight info` shows: what wordsight makes of a model."""

    format: int
    model: str
    family: Annotated[str, "the model_type of its config"]
    picture_map: Annotated[bool, "whether it is known where in a picture a token is"]
    picture: Annotated[list[int], "width and height in pixels of the picture that is counted with"]
    visual_tokens: int
    line_breaks: Annotated[int, "of the visual tokens"]
    grids: Annotated[list[Grid], "none without a picture map"]
    video: Literal["as such", "as pictures"]
    prompt: str
    prompt_tokens: int
    positions: Literal["M-RoPE", "1-D"]
    pad_embedding: Annotated[str, "the token that takes the place of an ablated one"]
    cls: Annotated[bool, "whether the vision tower has a [CLS] token"]
    signals: Annotated[list[str], "that pruners may ask for"]
    fingerprint: Annotated[str, "of the weights"]
    pruners: Annotated[dict[str, str | None], "why one cannot run on the model, or null"]


def describe_model(vlm: VLM, size: tuple[int, int] = (640, 480)) -> ModelInfo:
    """What wordsight makes of a model, for a picture of `size` (width, height) in pixels."""
    blank = Image.new("RGB", size)
    prompt = vlm.encode(blank, QUESTION)
    tokens, grids = prompt.visual, list[Grid]()
    for crop in sorted(set(tokens.cell[~tokens.is_break, 1].tolist())):
        rows, columns = (tokens.cell[tokens.cell[:, 1] == crop, 2:].max(0).values + 1).tolist()
        grids.append({"crop": crop, "rows": rows, "columns": columns})
    return {
        "format": FORMAT,
        "model": vlm.name,
        "family": vlm.model.config.model_type,
        "picture_map": vlm.family.has_picture_map,
        "picture": list(size),
        "visual_tokens": len(tokens),
        "line_breaks": int(tokens.is_break.sum()),
        "grids": grids if vlm.family.has_picture_map else [],
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
