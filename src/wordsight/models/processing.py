"""From media and a question to what the model's processor makes of them: the inputs of a whole prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wordsight.errors import UsageError
from wordsight.media.inputs import MediaInput
from wordsight.media.video import Video
from wordsight.models.failures import as_model_error
from wordsight.models.questions import check_question, check_text

Turn = tuple[str, str]  # a question that was asked before, and its answer


@dataclass(frozen=True)
class Processed:
    """What a processor made of one question and its media: `inputs` by name, a batch of one; `turns` is how
    many earlier ones there are, `item` what was given, a picture or a frame.
    """

    media: MediaInput
    inputs: Any
    turns: int = 0
    item: str = "picture"


def process(processor: Any, media: MediaInput, question: str, turns: Sequence[Turn] = ()) -> Processed:
    """The inputs of a question after earlier turns. Videos go to a processor that takes them as such, to any
    other as pictures.

    Raises UsageError if a text is none to the tokenizer, or the processor refuses what it is given.
    """
    item = "frame" if media.videos else "picture"
    media = as_taken(processor, media)
    text = prompt_text(processor, media, question, turns)
    given: dict[str, Any] = {"images": [list(media.pictures)]} if media.pictures else {}
    if media.videos:
        given = {
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
        return Processed(media, inputs, len(turns), item)


def as_taken(processor: Any, media: MediaInput) -> MediaInput:
    """The media as the processor takes them: a video as pictures, if it takes none as such."""
    if media.videos and getattr(processor, "video_processor", None) is None:
        return MediaInput(pictures=tuple(media.frames))
    return media


def _metadata(video: Video) -> dict[str, Any]:
    """Frames as they are, counted in milliseconds: time stamps are right however far apart the frames are."""
    return {
        "total_num_frames": round(1000 * len(video.frames) / video.fps),
        "fps": 1000.0,
        "duration": video.duration,
        "frames_indices": [round(1000 * time) for time in video.times],
    }


def prompt_text(processor: Any, media: MediaInput, question: str, turns: Sequence[Turn]) -> str:
    """The prompt as the chat template lays it out, with one placeholder for each picture or video."""
    check_question(processor, question)
    for asked, answered in turns:
        check_question(processor, asked, "an earlier question")
        check_text(processor, answered, "an earlier answer")
    if not processor.chat_template:
        if turns or not media.pictures:
            raise UsageError(
                f"{type(processor).__name__} has no chat template, so that it takes one question about "
                "pictures and no earlier turns"
            )
        return f"{str(processor.image_token) * len(media.pictures)}{question}"
    kind, count = ("video", len(media.videos)) if media.videos else ("image", len(media.pictures))
    messages = []
    for asked, answered in turns:
        messages += [_message("user", asked), _message("assistant", answered)]
    messages.append(_message("user", question))
    messages[0]["content"][:0] = [{"type": kind} for _ in range(count)]
    with as_model_error(f"the chat template of {type(processor).__name__} cannot lay out a question"):
        return str(processor.apply_chat_template(messages, add_generation_prompt=True))


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text}]}
