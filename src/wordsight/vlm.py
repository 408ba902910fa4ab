"""VLM: a multimodal language model from Hugging Face, its processor, and the verbs encode, generate, logits,
answer.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, StoppingCriteria, StoppingCriteriaList

from wordsight.demo import smollm2
from wordsight.errors import UsageError
from wordsight.families import Family, family
from wordsight.pictures import Picture, load_picture
from wordsight.prompt import Prompt, collate, collate_after, shared_length
from wordsight.tokens import VisualTokens

if TYPE_CHECKING:
    from wordsight.pruners.base import Pruner

DEMO = Path(__file__).parent / "demo"
TEXT_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids"})


@dataclass(frozen=True)
class Answer:
    """What the model said, and what it read and took for it. Times are wall-clock milliseconds."""

    text: str
    tokens_total: int
    tokens_kept: int
    vision_ms: float
    selection_ms: float
    prefill_ms: float
    decode_ms: float

    def __str__(self) -> str:
        return self.text


@dataclass
class VLM:
    """A model and its processor.

    >>> vlm = VLM.from_pretrained()                      # the small embedded model
    >>> vlm.answer("street.jpg", "what color is the car?")

    pass_tokens bounds how many tokens, past their shared beginning, one forward pass of `logits` reads, and
    how many prompts `compare` gives to `generate` at a time; it changes no result.
    """

    model: Any
    processor: Any
    name: str
    pass_tokens: int = 4096
    family: Family = field(init=False)

    def __post_init__(self) -> None:
        if "mm_encoder_outputs" not in inspect.signature(self.model.forward).parameters:
            raise UsageError(
                f"{self.name}: {type(self.model).__name__} cannot take visual tokens encoded before; "
                "expected a model with placeholders for them and transformers 5.18 or later"
            )
        self.family = family(self.model.config.model_type)
        self.model.eval()

    @classmethod
    def from_pretrained(cls, name: str = "demo", *, dtype: str | torch.dtype = "auto") -> VLM:
        """Load a local folder or a hub name; "demo" is the embedded model, "demo-smollm2" the one around
        SmolLM2, both in float32.

        Raises UsageError if there is no such checkpoint or its model type is not supported.
        """
        source: str | Path = DEMO / "model" if name == "demo" else name
        precision = torch.float32 if name in ("demo", "demo-smollm2") and dtype == "auto" else dtype
        if name == "demo-smollm2":
            return cls(*smollm2.load(precision), name)
        try:
            model = AutoModelForImageTextToText.from_pretrained(source, dtype=precision)
            processor = AutoProcessor.from_pretrained(source)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UsageError(
                f"cannot load model {name!r}: {reason}; expected a Hugging Face folder or hub name of an "
                "image-text-to-text model"
            ) from error
        return cls(model, processor, name)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the projector and the input embeddings: the space that visual tokens live in."""
        digest = hashlib.sha256()
        weights = self.family.projector(self.model).state_dict()
        weights["embeddings"] = self.model.get_input_embeddings().weight
        for key in sorted(weights):
            digest.update(key.encode())
            digest.update(
                weights[key].detach().to("cpu", torch.bfloat16).contiguous().view(torch.uint8).numpy()
            )
        return digest.hexdigest()[:16]

    @property
    def pad_embedding(self) -> Tensor:
        """(D,) the embedding of the padding token: what stands in for a token that is left out."""
        token = self.processor.tokenizer.pad_token_id
        if token is None:
            raise UsageError(f"{self.name} has no padding token; set processor.tokenizer.pad_token")
        embedding: Tensor = self.model.get_input_embeddings().weight[token].detach()
        return embedding

    @torch.no_grad()
    def encode(
        self,
        images: Picture | Sequence[Picture],
        question: str,
        *,
        collect: frozenset[str] = frozenset(),
        seen: VisualTokens | None = None,
    ) -> Prompt:
        """The prompt of a question about one or more images; the vision tower runs once.

        `collect` names the signals a pruner needs (its `needs`). `seen` are the visual tokens of the same
        images from an earlier prompt: the tower does not run again.
        """
        pictures = [load_picture(image) for image in _listed(images)]
        if not pictures:
            raise UsageError("a question needs at least one image; got none")
        if self.processor.image_token in question:
            raise UsageError(
                f"the question holds the image token {self.processor.image_token!r}; leave it out"
            )
        content = [{"type": "image"} for _ in pictures] + [{"type": "text", "text": question}]
        text = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        inputs = self.processor(images=pictures, text=text, return_tensors="pt").to(self.model.device)
        ids = inputs["input_ids"][0]  # (L,)
        is_visual = ids == self.model.config.image_token_id
        visual = self._see(inputs, collect) if seen is None else seen
        if int(is_visual.sum()) != len(visual):
            raise UsageError(
                f"the prompt has {int(is_visual.sum())} image placeholders for {len(visual)} visual tokens; "
                "is the processor the one of this model?"
            )
        sequence = {"input_ids": ids, "position_ids": self.family.positions(ids)}
        return Prompt(sequence, is_visual, visual)

    def _see(self, inputs: Any, collect: frozenset[str]) -> VisualTokens:
        if missing := collect - self.family.signals:
            raise UsageError(
                f"{self.name} ({self.model.config.model_type}) has no signal {', '.join(sorted(missing))}; "
                f"it has {', '.join(sorted(self.family.signals)) or 'none'}"
            )
        dtype = self.model.dtype
        vision = {
            key: value.to(dtype) if value.is_floating_point() else value
            for key, value in inputs.items()
            if key not in TEXT_INPUTS
        }
        with self.family.collecting(self.model, collect) as signals:
            features = self.model.get_image_features(**vision, return_dict=True).pooler_output
        embeds = torch.cat([item.reshape(-1, item.shape[-1]) for item in features])  # (N, D)
        slots = torch.arange(len(embeds), device=embeds.device)
        cells = self.family.cells([item.shape[-2] for item in features]).to(embeds.device)
        return VisualTokens(embeds, slots, cells, signals=dict(signals))

    @torch.no_grad()
    def logits(self, prompts: Sequence[Prompt]) -> Tensor:
        """(B, V) float32 logits of the first generated token of every prompt.

        What all prompts begin with, text and visual tokens alike, is computed once.
        """
        shared = shared_length(prompts) if len(prompts) > 1 else 0
        cache = None
        if shared:
            prefix, _ = collate_after(prompts[:1], shared)
            cache = self.model(**prefix, use_cache=True, logits_to_keep=1).past_key_values
        longest = max(int(prompt.is_kept().sum()) for prompt in prompts) - shared
        rows = max(1, self.pass_tokens // longest)
        parts = []
        for start in range(0, len(prompts), rows):
            chunk = prompts[start : start + rows]
            _, rest = collate_after(chunk, shared)
            past = copy.deepcopy(cache)
            if past is not None:
                past.batch_repeat_interleave(len(chunk))
            output = self.model(**rest, past_key_values=past, use_cache=True, logits_to_keep=1)
            parts.append(output.logits[:, -1].float())
        return torch.cat(parts)

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Prompt], *, max_new_tokens: int = 64, clock: TokenClock | None = None
    ) -> list[str]:
        """The greedy answers to the prompts, read as one left-padded batch."""
        inputs = collate(prompts)
        watch = StoppingCriteriaList([clock] if clock else [])
        # Without a cache, generate drops an all-ones mask and reads gapped positions as packed sequences.
        output = self.model.generate(
            **inputs, max_new_tokens=max_new_tokens, do_sample=False, use_cache=True, stopping_criteria=watch
        )
        new = output[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(new, skip_special_tokens=True)]

    def answer(
        self,
        images: Picture | Sequence[Picture],
        question: str,
        *,
        pruner: Pruner | None = None,
        max_new_tokens: int = 64,
    ) -> Answer:
        """Ask a question about one or more images, after pruning their visual tokens if a pruner is given."""
        if pruner:
            pruner.check(self)
        began = perf_counter()
        prompt = self.encode(images, question, collect=pruner.needs if pruner else frozenset())
        encoded = perf_counter()
        kept = pruner(prompt) if pruner else prompt
        selected = perf_counter()
        clock = TokenClock()
        text = self.generate([kept], max_new_tokens=max_new_tokens, clock=clock)[0]
        done = perf_counter()
        spans = [encoded - began, selected - encoded, clock.first - selected, done - clock.first]
        milliseconds = [round(1000 * span, 3) for span in spans]
        return Answer(text, len(prompt.visual), len(kept.visual), *milliseconds)


def _listed(images: Picture | Sequence[Picture]) -> Sequence[Picture]:
    return [images] if isinstance(images, (str, Path, Image.Image)) else images


class TokenClock(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped here
    """Stops nothing; notes when the first new token was there, the end of the prefill."""

    def __init__(self) -> None:
        self.first = 0.0

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.first = self.first or perf_counter()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
