"""What wordsight makes of a checkpoint: its family, its prompts, and what works on it, as tried on a picture
of noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from typing_extensions import TypedDict

from wordsight import pruners
from wordsight.errors import ModelError, WordsightError
from wordsight.media.inputs import MediaInput
from wordsight.media.video import Video
from wordsight.models.conversation import Conversation
from wordsight.models.failures import as_model_error
from wordsight.models.processing import prompt_text
from wordsight.models.prompt import Prompt
from wordsight.models.vlm import VLM
from wordsight.pruners.layerwise import LayerPruner
from wordsight.pruners.uniform import Uniform
from wordsight.redundancy.probe import QUESTION
from wordsight.redundancy.silence import SilenceRecord, measure_silence

FORMAT = 1
SIDE = 64  # pixels of the picture that is tried with
FEW = Uniform(tokens=8)  # as many tokens are read where their number does not matter: models may be large


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
    tried: Annotated[dict[str, str | None], "what was tried on a small picture: why it fails, or null"]
    silence: Annotated[SilenceRecord | None, "how many tokens say nothing; null if no pictures were given"]
    pruners: Annotated[dict[str, str | None], "each tried on it: why one cannot run on the model, or null"]


def describe_model(vlm: VLM, size: tuple[int, int] = (640, 480), pictures: Sequence[Path] = ()) -> ModelInfo:
    """What wordsight makes of a model, for a picture of `size` (width, height) in pixels.

    Tokens of `pictures`, which can all be read, are asked whether they say anything.
    """
    trials = Trials(vlm)
    tried = trials.of_prompts()  # first: an unknown family is checked on its first picture, here a small one
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
        "prompt": prompt_text(vlm.processor, Conversation.about(MediaInput(pictures=(blank,)), "QUESTION")),
        "prompt_tokens": len(prompt.is_visual),
        "positions": "M-RoPE" if prompt.sequence["position_ids"].ndim > 1 else "1-D",
        "pad_embedding": vlm.processor.tokenizer.pad_token,
        "cls": any(
            name.endswith(("class_embedding", "cls_token")) for name, _ in vlm.model.named_parameters()
        ),
        "signals": sorted(vlm.signals),
        "fingerprint": vlm.fingerprint,
        "tried": tried,
        "silence": measure_silence(vlm, pictures) if pictures else None,
        "pruners": {name: trials.of_pruner(name) for name in pruners.names()},
    }


@dataclass
class Trials:
    """What a model is asked to do with a small picture, each once: why it fails, or None."""

    vlm: VLM
    picture: Image.Image = field(init=False)
    _prompts: dict[frozenset[str], Prompt] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        self.picture = Image.fromarray(pixels)

    def of_prompts(self) -> dict[str, str | None]:
        """Of what a prompt may hold."""
        video = Video.of([self.picture] * 4, fps=2)
        return {
            "one picture": _why_not(lambda: self.vlm.answers([self.vlm.encode(self.picture, QUESTION)], 1)),
            "fewer tokens": _why_not(lambda: self._read(self.vlm.encode(self.picture, QUESTION))),
            "several pictures": _why_not(lambda: self._read(self.vlm.encode([self.picture] * 2, QUESTION))),
            "a video": _why_not(lambda: self._read(self.vlm.encode(video, QUESTION))),
            "earlier turns": _why_not(
                lambda: self._read(self.vlm.encode(self.picture, QUESTION, turns=[(QUESTION, "noise")]))
            ),
            "a shared beginning": _why_not(self._read_after_shared),
        }

    def of_pruner(self, name: str) -> str | None:
        """Of a pruner, which chooses among the tokens of the picture."""
        return _why_not(lambda: self._prune(name))

    def _prune(self, name: str) -> None:
        pruner = pruners.make(name)
        pruner.check(self.vlm)
        signals = pruner.required_signals
        if signals not in self._prompts:
            self._prompts[signals] = self.vlm.encode(self.picture, QUESTION, signals=signals)
        prompt = self._prompts[signals]
        if isinstance(pruner, LayerPruner):
            self.vlm.logits([pruner(FEW(prompt))])
        else:
            pruner(prompt)

    def _read(self, prompt: Prompt) -> None:
        self.vlm.logits([FEW(prompt)])

    def _read_after_shared(self) -> None:
        """Two prompts that begin alike, by one cache of their beginning."""
        family, model = self.vlm.family, self.vlm.model
        if not family.is_causal(model):
            raise ModelError("prompts are read whole: tokens of this model may read later ones")
        if family.is_recurrent:
            raise ModelError("prompts are read whole: layers of this model carry a state that is not shared")
        prompt = FEW(self.vlm.encode(self.picture, QUESTION))
        word = int(prompt.sequence["input_ids"][-1])
        self.vlm.logits([prompt, prompt.followed_by(word, family.generated)])


def _why_not(attempt: Callable[[], object]) -> str | None:
    """Why an attempt fails, or None."""
    try:
        with as_model_error("it fails"):
            attempt()
    except WordsightError as error:
        return str(error)
    return None
