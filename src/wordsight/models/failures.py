"""What transformers, a processor or the hub's client raises, as one sentence that keeps what helps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from json import JSONDecodeError

import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError

from wordsight.errors import ModelError, WordsightError

Kinds = type[BaseException] | tuple[type[BaseException], ...]
LONGEST = 400  # characters of another's message

# The first row that fits an error, or one that it came from, by class and by what its message holds.
REASONS: tuple[tuple[Kinds, str, str], ...] = (
    (
        GatedRepoError,
        "",
        "it is gated: ask for access and accept its license on its page at huggingface.co, then log in with "
        "`hf auth login`",
    ),
    (
        OSError,
        "Invalid credentials|Invalid user token",
        "the hub does not accept the token (of HF_TOKEN, or saved by a login): log in again with `hf auth "
        "login`",
    ),
    (
        RepositoryNotFoundError,
        "",
        "the hub has nothing of this name, or it is private: check the spelling, and log in with `hf auth "
        "login` if it is private",
    ),
    (RevisionNotFoundError, "", "the hub has no such revision of it: give a branch, a tag or a commit"),
    (HfHubHTTPError, r"\b[45]\d\d [A-Z]", "the hub answers: {}"),
    (
        OfflineModeIsEnabled,
        "",
        "HF_HUB_OFFLINE is set, and not all of its files are in the cache: unset it, or fetch them before "
        "with `hf download`",
    ),
    (
        LocalEntryNotFoundError,
        "",
        "not all of its files are in the cache, and the hub cannot be reached: check the network and "
        "HTTPS_PROXY, or fetch them before with `hf download`",
    ),
    (
        Exception,
        "operator torchvision::|torchvision has no attribute|undefined symbol.*torchvision",
        "the installed torchvision does not fit the installed torch; install both at once, as with "
        "`pip install --upgrade torch torchvision`",
    ),
    (
        ImportError,
        "(?i)torchvision",
        "its processor needs torchvision; `pip install torchvision`, or `pip install 'wordsight[models]'` "
        "for all that models need",
    ),
    (
        ImportError,
        "(?i)num2words|timm library",
        "it needs another package ({}); `pip install 'wordsight[models]'` installs all that models need",
    ),
    (
        (torch.OutOfMemoryError, MemoryError),
        "",
        "out of memory ({}); take fewer or smaller pictures, dtype=bfloat16, or a quantization",
    ),
    (
        RuntimeError,
        "out of memory|can't allocate memory|not enough memory",
        "out of memory ({}); take fewer or smaller pictures, dtype=bfloat16, or a quantization",
    ),
    (
        (JSONDecodeError, UnicodeDecodeError),
        "",
        "a JSON file of its tokenizer or processor is damaged ({}); copy or download it again",
    ),
    (SafetensorError, "", "a file of its weights is damaged ({}); copy or download it again"),
    (
        StrictDataclassError,
        "",
        "a value of its config.json, or of its processor's options, is not what transformers takes ({})",
    ),
    (Exception, "trust_remote_code", "it needs code of its own, which wordsight does not run ({})"),
)


@contextmanager
def as_error(kind: type[WordsightError], saying: str) -> Iterator[None]:
    """What is raised in the block, as one error of this kind that begins so; errors of ours pass."""
    try:
        yield
    except WordsightError:
        raise
    except Exception as error:
        raise kind(f"{saying}: {reason(error)}") from error


def as_model_error(saying: str) -> AbstractContextManager[None]:
    """The same, as a ModelError."""
    return as_error(ModelError, saying)


def reason(error: BaseException) -> str:
    """Why, in a sentence without its period."""
    return known_reason(error) or in_one_line(error)


def known_reason(error: BaseException) -> str | None:
    """Why, and what to do, where that is known of such errors."""
    for kind, pattern, words in REASONS:
        for one in causes(error):
            if isinstance(one, kind) and re.search(pattern, str(one), re.DOTALL):
                return words.format(in_one_line(one))
    return None


def in_one_line(error: BaseException) -> str:
    """The whole message of an error, up to LONGEST characters; with its class, where that says more."""
    text = " ".join(str(error).split()).rstrip(".")
    if len(text) > LONGEST:
        text = text[:LONGEST].rpartition(" ")[0] + " ..."
    if text and isinstance(error, (OSError, ValueError, ImportError, StrictDataclassError, SafetensorError)):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and those that it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
