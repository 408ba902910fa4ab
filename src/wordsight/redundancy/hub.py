"""The Hugging Face hub: a repository in the place of a folder, to read from and to write to."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, get_token, snapshot_download

from wordsight.errors import FileError, UsageError, shown
from wordsight.models.failures import as_error

REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
ADDRESS = re.compile(rf"(?:hf://)?({REPOSITORY.pattern})(?:@([^@]+))?")


def on_hub(name: str | Path, revision: str | None = None) -> tuple[str, str | None] | None:
    """The repository and the revision that a name stands for; None if it is one of a folder.

    Raises UsageError if a revision is given twice, or of a folder.
    """
    is_address = isinstance(name, str) and name.startswith("hf://")
    parts = ADDRESS.fullmatch(name) if isinstance(name, str) else None
    if is_address and not parts:
        raise UsageError(f"expected hf://user/name or hf://user/name@revision, got {shown(name)}")
    if parts and (is_address or not os.path.exists(name)):
        if parts[2] and revision:
            raise UsageError(f"{name} says its revision, and revision is {revision}: give one of the two")
        return parts[1], parts[2] or revision
    if revision:
        raise UsageError(f"revision is of a repository on the hub, and {name} is a folder; leave it out")
    return None


def download(repository: str, revision: str | None, files: Sequence[str]) -> Path:
    """A folder with those of the files that the repository has, and nothing else of it. Where the hub cannot
    be reached, that is what its cache has. Raises FileError if there is none.
    """
    at = f" at {revision}" if revision else ""
    with as_error(FileError, f"cannot load {repository}{at}, which is no folder here, from the hub"):
        return Path(snapshot_download(repository, revision=revision, allow_patterns=[*files]))


def check_repository(name: str) -> None:
    """Raises UsageError if nothing could be uploaded there, as far as this is known without the hub."""
    if not REPOSITORY.fullmatch(name):
        raise UsageError(f"expected the name of a repository as user/name, got {shown(name)}")
    if get_token() is None:
        raise UsageError(
            f"cannot upload to {name}: there is no token; log in with `hf auth login`, or set HF_TOKEN"
        )


def upload(repository: str, files: Sequence[Path], private: bool, revision: str | None) -> str:
    """Commit the files to a repository, which is made if there is none, as is the branch; returns the address
    of the commit. Raises FileError if the hub refuses them.
    """
    with as_error(FileError, f"cannot upload to {repository}"):
        api = HfApi(library_name="wordsight")
        api.create_repo(repository, private=private or None, exist_ok=True)
        if private and not api.model_info(repository).private:
            raise UsageError(f"cannot upload to {repository} as private: it is there, and public")
        if revision:
            api.create_branch(repository, branch=revision, exist_ok=True)
        additions = [CommitOperationAdd(path.name, path) for path in files]
        commit = api.create_commit(
            repository, additions, commit_message="Upload a codebook", revision=revision
        )
    return commit.commit_url
