"""From a conversation to what the model's processor makes of it: the inputs of a whole prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from wordsight.errors import UsageError
from wordsight.media.inputs import MediaInput
from wordsight.media.video import Video
from wordsight.models.conversation import Conversation
from wordsight.models.failures import as_model_error
from wordsight.models.questions import check_question, check_text


@dataclass(frozen=True)
class Processed:
    """What a processor made of a conversation: `inputs` by name, a batch of one; `media` as it took them,
    `turns` is how many earlier questions there are, `item` what was given, a picture or a frame.
    """

    media: MediaInput
    inputs: Any
    turns: int = 0
    item: str = "picture"


def process(processor: Any, conversation: Conversation) -> Processed:
    """The inputs of a conversation. Videos go to a processor that takes them as such, to any other as
    pictures.

    Raises UsageError if a text is none to the tokenizer, or the processor refuses what it is given.
    """
    item = "frame" if conversation.media.videos else "picture"
    conversation = as_taken(processor, conversation)
    media = conversation.media
    text = prompt_text(processor, conversation)
    given: dict[str, Any] = {"images": [list(media.pictures)]} if media.pictures else {}
    if media.videos:
        given |= {
            "videos": [[np.stack([np.asarray(frame) for frame in video.frames]) for video in media.videos]],
            "video_metadata": [_metadata(video) for video in media.videos],
            "do_sample_frames": False,
        }
    tokenizer = processor.tokenizer
    if tokenizer.bos_token and text.startswith(tokenizer.bos_token):
        given["add_special_tokens"] = False  # the template has begun the text already
    sizes = ", ".join(f"{frame.width}x{frame.height}" for frame in media.frames[:3])
    lacks = ", as its patch_size is not set" if getattr(processor, "patch_size", 0) is None else ""
    with as_model_error(f"{type(processor).__name__} cannot prepare these pictures ({sizes}){lacks}"):
        inputs = processor(text=[text], return_tensors="pt", **given)
        inputs.pop("labels", None)  # of PaliGemma's: no answer is wanted
        return Processed(media, inputs, conversation.turns, item)


def as_taken(processor: Any, conversation: Conversation) -> Conversation:
    """The conversation as the processor takes it: a video as pictures, if it takes none as such."""
    if conversation.media.videos and getattr(processor, "video_processor", None) is None:
        return conversation.with_frames_as_pictures()
    return conversation


def _metadata(video: Video) -> dict[str, Any]:
    """Frames as they are, counted in milliseconds: time stamps are right however far apart the frames are."""
    return {
        "total_num_frames": round(1000 * len(video.frames) / video.fps),
        "fps": 1000.0,
        "duration": video.duration,
        "frames_indices": [round(1000 * time) for time in video.times],
    }


def prompt_text(processor: Any, conversation: Conversation) -> str:
    """The prompt as the chat template lays it out, with one placeholder for each picture or video."""
    check_question(processor, conversation.question)
    for role, called, text in conversation.earlier_texts():
        check = check_question if role == "user" else check_text
        check(processor, text, called)
    if not processor.chat_template:
        media = conversation.media
        if len(conversation.messages) > 1 or media.videos or not media.pictures:
            raise UsageError(
                f"{type(processor).__name__} has no chat template, so that it takes one question about "
                "pictures and no earlier turns"
            )
        return f"{str(processor.image_token) * len(media.pictures)}{conversation.question}"
    with as_model_error(f"the chat template of {type(processor).__name__} cannot lay out a question"):
        messages = [dict(message) for message in conversation.messages]
        return str(processor.apply_chat_template(messages, add_generation_prompt=True))
