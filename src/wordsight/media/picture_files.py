"""Picture files: pictures that are somewhere, in a folder say, each read when its turn comes."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

from PIL.Image import Image

from wordsight.media.addresses import read_address
from wordsight.media.images import read_picture


class PictureFile(Protocol):
    """A picture by its place: small, and the same in every process."""

    @property
    def name(self) -> str:
        """What it is called in records; the same tomorrow, and on another machine."""

    def read(self) -> bytes:
        """The file as it was encoded. Raises MediaError if it cannot be read."""


@dataclass(frozen=True)
class StoredPicture:
    """A file of its own, at a path or at an address that fsspec opens."""

    name: str
    path: str

    def read(self) -> bytes:
        return read_address(self.path)


def picture_file(picture: Path | PictureFile) -> PictureFile:
    """The picture of a path, or what is one already."""
    return StoredPicture(picture.name, str(picture)) if isinstance(picture, Path) else picture


def open_picture(picture: PictureFile) -> Image:
    """The picture, RGB and upright. Raises MediaError if it cannot be read."""
    return read_picture(BytesIO(picture.read()), label(picture))


def label(picture: PictureFile) -> str:
    """What errors call a picture: its path, if it has one."""
    return str(getattr(picture, "path", picture.name))
