"""Questions: what is asked has to be text, and text to the tokenizer; a sentence says where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wordsight.errors import UsageError, shown
from wordsight.media.formats import PICTURE_SUFFIXES, VIDEO_SUFFIXES

PLACEHOLDERS = ("<image>", "<video>")  # of a picture, in the files of other tools


def check_question(processor: Any, question: Any, called: str = "the question") -> None:
    """Raises UsageError if this, which errors call `called`, is no text, empty, the name of a picture or
    film, or not text to the tokenizer.
    """
    check_text(processor, question, called)
    if not question.strip():
        raise UsageError(f"{called} is empty; ask something")
    if names_media(question):
        raise UsageError(
            f"{called} is {shown(question)}, the name of a picture or film; put the words of a question there"
        )


def names_media(text: str) -> bool:
    """Whether this is a URL, or the path of a picture or film by its suffix, and no words."""
    suffix = Path(text).suffix.lower()
    is_word = not any(letter.isspace() for letter in text)
    return is_word and ("://" in text or suffix in PICTURE_SUFFIXES | VIDEO_SUFFIXES)


def check_text(processor: Any, text: Any, called: str) -> None:
    """Raises UsageError if this is no text, or holds what the tokenizer does not read as text: the place of a
    picture, or a control token, such as the end of a text.
    """
    if not isinstance(text, str):
        raise UsageError(f"{called} must be text, got {shown(text)}")
    if not text.isascii() and text != text.encode("utf-8", "replace").decode():
        raise UsageError(f"{called} holds bytes that are no text in UTF-8: {shown(text)}")
    own = (getattr(processor, name, None) for name in ("image_token", "video_token"))
    places = [str(mark) for mark in (*own, *PLACEHOLDERS) if mark and str(mark) in text]
    if places:
        raise UsageError(
            f"{called} holds {places[0]!r}, the place of a picture or film in a prompt, where it is put by "
            "itself; leave it out"
        )
    if control := _control_tokens(processor.tokenizer, text):
        raise UsageError(
            f"{called} holds {control[0]!r}, which the model's tokenizer reads as a control token, not as "
            "text; leave it out, or put a space into it"
        )


def _control_tokens(tokenizer: Any, text: str) -> list[str]:
    """The special tokens in a text that the tokenizer does not read letter by letter."""
    special = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    found = [token for token in special if token in text]
    return [token for token in found if _ids(tokenizer, token) != _ids(tokenizer, token, plain=True)]


def _ids(tokenizer: Any, text: str, *, plain: bool = False) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=plain)["input_ids"]
    return ids
