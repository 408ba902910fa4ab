"""Generation: what transformers is given for an answer, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from wordsight.models.load_options import GenerationOptions

# What a generation_config.json may have that changes which answer is the greedy one.
NOT_GREEDY = (
    "bad_words_ids",
    "begin_suppress_tokens",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "guidance_scale",
    "min_length",
    "min_new_tokens",
    "no_repeat_ngram_size",
    "num_beams",
    "penalty_alpha",
    "repetition_penalty",
    "sequence_bias",
    "stop_strings",
    "suppress_tokens",
)


@dataclass(frozen=True)
class Generated:
    """An answer; `cut` is one that would have gone on, beyond its most tokens."""

    text: str
    cut: bool


def generation_arguments(options: GenerationOptions, tokenizer: Any) -> dict[str, Any]:
    """What `generate` of transformers is given for these options, beside the lengths."""
    given: dict[str, Any] = {
        "repetition_penalty": options.repetition_penalty,
        "no_repeat_ngram_size": options.no_repeat_ngram_size,
    }
    if options.is_sampled:
        given |= {"temperature": options.temperature, "top_p": options.top_p, "top_k": options.top_k}
    if options.stop:
        given |= {"stop_strings": list(options.stop), "tokenizer": tokenizer}
    return {"do_sample": options.is_sampled} | {
        name: value for name, value in given.items() if value is not None
    }


def departures(generation_config: Any, options: GenerationOptions) -> str:
    """What the checkpoint says that changes greedy answers and no option has taken back, as "a=1, b=2"."""
    stated = generation_config.to_diff_dict()
    given = generation_arguments(options, None)
    found = {name: stated[name] for name in NOT_GREEDY if stated.get(name) is not None and name not in given}
    return ", ".join(f"{name}={value}" for name, value in found.items())


def read_generated(new: Tensor, processor: Any, ends: Iterable[int], stop: Sequence[str]) -> list[Generated]:
    """The answers that rows of new tokens (B, L) are; a text that stops one is no part of it."""
    ended = torch.isin(new, torch.tensor(sorted(ends), dtype=new.dtype, device=new.device)).any(-1)
    texts = processor.batch_decode(new, skip_special_tokens=True)
    found = []
    for text, is_over in zip(texts, ended.tolist(), strict=True):
        places = [place for each in stop if (place := text.find(each)) >= 0]
        said = text[: min(places)] if places else text
        found.append(Generated(said.strip(), cut=not is_over and not places))
    return found


@contextmanager
def seeded(options: GenerationOptions, device: torch.device) -> Iterator[None]:
    """What is drawn in the block depends on the seed of the options alone, and leaves other draws as they
    were.
    """
    if not options.is_sampled:
        yield
        return
    devices = range(torch.cuda.device_count()) if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        if device.type == "cpu":
            torch.default_generator.manual_seed(options.seed)
        else:
            torch.manual_seed(options.seed)  # of every device: which one draws, a device_map decides
        yield
