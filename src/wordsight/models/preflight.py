"""Preflight: questions are checked before any of them is answered, without a pass of the model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from wordsight.models.context import PromptLength, check_length, context_length
from wordsight.models.conversation import Conversation
from wordsight.models.processing import Processed, as_taken, process, prompt_text


class Checked(Protocol):
    """What a check needs to know of a `VLM`."""

    model: Any
    processor: Any
    name: str

    def length_of(self, processed: Processed) -> PromptLength: ...


@dataclass
class Preflight:
    """Checks that questions are text, and that their prompts fit into the model's context.

    How many tokens pictures become depends on their sizes: those of sizes that were seen before are not
    processed again.
    """

    vlm: Checked
    _known: dict[Any, tuple[PromptLength, int]] = field(default_factory=dict, init=False, repr=False)

    def check(self, conversation: Conversation, new_tokens: int | None) -> None:
        """Raises UsageError if the question of this conversation cannot be answered with so many tokens; None
        does not ask for the length.
        """
        config, processor = self.vlm.model.config, self.vlm.processor
        text = prompt_text(processor, as_taken(processor, conversation))
        if new_tokens is None or context_length(config) is None:
            return
        tokens = len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])
        media, turns = conversation.media, conversation.turns
        shape = tuple(frame.size for frame in media.frames), tuple(video.times for video in media.videos)
        if shape not in self._known:
            self._known[shape] = self.vlm.length_of(process(processor, conversation)), tokens
        length, before = self._known[shape]
        more = tokens - before
        length = replace(length, positions=length.positions + more, text=length.text + more, turns=turns)
        check_length(self.vlm.name, config, length, new_tokens)
