"""Photos of another source, to test names on: copies what `unseen.json` lists out of your own checkouts.

The list was made by hand from three public samples of ImageNet, whose terms allow research: for tests, never
for training, and no picture of theirs is in this repository.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from photos import ENDINGS

LIST = Path(__file__).with_name("unseen.json")


def copy_unseen(
    target: Annotated[Path, typer.Argument(help="where the class folders go")],
    checkouts: Annotated[
        list[Path], typer.Argument(help="folders of the repositories that unseen.json names")
    ],
) -> None:
    """Lay out the photos by class, and say how many were found."""
    listed = json.loads(LIST.read_text())["photos"]
    copied = copy_listed(target, checkouts, listed)
    print(f"{copied} of {len(listed)} photos are in {target}")


def copy_listed(target: Path, checkouts: Sequence[Path], listed: dict[str, str]) -> int:
    """How many photos of the list (class by SHA-256) lie in the target, by whatever path they were found."""
    found = set()
    for checkout in checkouts:
        for file in checkout.rglob("*"):
            if file.suffix.lower() not in ENDINGS:
                continue
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            if digest in listed:
                folder = target / listed[digest]
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, folder / f"{digest[:16]}.jpg")
                found.add(digest)
    return len(found)


if __name__ == "__main__":
    typer.run(copy_unseen)
