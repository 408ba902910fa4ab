"""The one reader of pictures: files, bytes, arrays and Images become RGB and upright, or a sentence."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from PIL import Image, ImageOps, UnidentifiedImageError

from wordsight.errors import MediaError
from wordsight.media import formats
from wordsight.media.levels import in_eight_bits, picture_of_array

Picture = Image.Image | str | os.PathLike[str] | bytes | BinaryIO | Any  # Any: an array or a tensor
# What decoders raise where a file is damaged: they trust its numbers.
DAMAGE = (
    *(ArithmeticError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
    struct.error,
)


def load_picture(picture: Picture) -> Image.Image:
    """An RGB image, upright; transparent parts are laid on white.

    Raises MediaError for what is no single picture, or has more than `formats.PIXELS` pixels. What had to be
    assumed of its levels is a MediaNote.
    """
    if isinstance(picture, Image.Image):
        return upright_rgb(picture, "the picture")
    if isinstance(picture, (bytes, bytearray)):
        return read_picture(io.BytesIO(picture), "the bytes given")
    if isinstance(picture, (str, os.PathLike)):
        path = local_path(picture)
        return read_picture(path, str(path))
    if hasattr(picture, "read"):
        return read_picture(picture, str(getattr(picture, "name", "the file object")))
    if hasattr(picture, "__array__") or hasattr(picture, "detach"):
        return upright_rgb(picture_of_array(picture), "the array")
    raise MediaError(
        f"expected a picture: a path, bytes, a file object, an array, a tensor or an Image; got "
        f"{type(picture).__name__}"
    )


def local_path(given: str | os.PathLike[str], what: str = "picture") -> Path:
    """The path of a file that is there; file:// is understood, any other URL refused. Raises MediaError."""
    text = os.fspath(given)
    scheme = urlsplit(text).scheme.lower()
    if scheme == "file":
        text = unquote(urlsplit(text).path)
    elif len(scheme) > 1 and text[len(scheme) + 1 :].startswith("/"):
        raise MediaError(
            f"{text[:200]} is a URL; nothing is fetched from the network: save the {what}, give its path"
        )
    path = Path(text)
    try:
        if path.is_dir():
            raise MediaError(f"{path} is a folder; expected the path of a {what}")
        if not path.exists():
            raise MediaError(f"no such {what}: {path}; expected the path of a file")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"cannot open {text[:200]}: {reason}; expected the path of a {what}") from error
    return path


def read_picture(file: Path | BinaryIO, name: str, *, pixels: int = formats.PIXELS) -> Image.Image:
    """The same from an open file, which errors call `name`, of at most so many pixels."""
    try:
        with Image.open(file, formats=formats.pillow_formats()) as image:
            check_pixels(name, image.width * image.height, pixels)
            if image.format in formats.ANIMATED and getattr(image, "is_animated", False):
                raise MediaError(
                    f"{name} is an animation of {getattr(image, 'n_frames', 'several')} frames; expected a "
                    "single picture: ask about it as a film, or save the frame that is meant"
                )
            if image.format == "TIFF" and getattr(image, "n_frames", 1) > 1:
                raise MediaError(
                    f"{name} has {getattr(image, 'n_frames', 0)} pages; expected a single picture: save the "
                    "page that is meant"
                )
            image.load()  # a PNG tells its orientation behind its pixels
            return upright_rgb(image, name)
    except MediaError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(f"{name} is enormous ({error}); make it smaller") from error
    except UnidentifiedImageError as error:
        raise MediaError(f"{name} is no picture that can be read; expected {formats.READ}") from error
    except PermissionError as error:
        raise MediaError(f"cannot open {name}: {error.strerror}; expected a file that can be read") from error
    except DAMAGE as error:
        raise MediaError(
            f"{name} is damaged or cut short and cannot be decoded ({error}); save it again"
        ) from error


def check_pixels(name: str, count: int, most: int) -> None:
    """Raises MediaError if a picture, or all frames of a film, has more pixels than there is room for; to be
    asked before it is decoded, since a small file may hold many.
    """
    if count > most:
        raise MediaError(
            f"{name} has {count / 1e6:.1f} million pixels, there is room for {most / 1e6:.1f} million; give "
            "fewer or smaller pictures or frames"
        )


def upright_rgb(image: Image.Image, name: str) -> Image.Image:
    """An opened picture as RGB, turned as it says, transparent parts on white."""
    if min(image.size) < 1:
        raise MediaError(f"{name} has no pixels: its size is {image.width}x{image.height}")
    try:
        image = in_eight_bits(ImageOps.exif_transpose(image), name)
        if not image.has_transparency_data:
            return image.convert("RGB")
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        return paper.convert("RGB")
    except MediaError:
        raise
    except DAMAGE as error:
        raise MediaError(f"{name} cannot be used ({error}); open it again, or give its path") from error


def find_pictures(folder: str | Path) -> tuple[list[Path], dict[str, str]]:
    """The pictures in a folder and the folders in it, linked ones too, by name; and of every other file why
    it was left out. Raises MediaError if there is none.
    """
    root = local_folder(folder)
    found, skipped = [], {}
    for path in _files(root):
        hidden = next((part for part in path.relative_to(root).parts if part.startswith(".")), None)
        if hidden:
            skipped[str(path)] = "hidden"
        elif path.suffix.lower() not in formats.PICTURE_SUFFIXES:
            skipped[str(path)] = "a film" if formats.is_film(path) else "no picture by its suffix"
        else:
            found.append(path)
    if not found:
        raise MediaError(
            f"no pictures in {root} ({len(skipped)} other files): expected files ending in "
            f"{', '.join(sorted(formats.PICTURE_SUFFIXES))}"
        )
    return sorted(found), skipped


def local_folder(folder: str | Path) -> Path:
    """The folder, if it is one. Raises MediaError."""
    root = Path(folder)
    if not root.is_dir():
        problem = f"{root} is a file" if root.is_file() else f"no such folder: {root}"
        raise MediaError(f"{problem}; expected a folder of pictures")
    return root


def _files(root: Path) -> list[Path]:
    """All files below a folder; a linked folder is entered once, however often it is linked."""
    files, entered = [], set[str]()
    for place, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders.sort()
        files += [Path(place) / name for name in names if (Path(place) / name).is_file()]
    return files


def readable(pictures: Sequence[Path]) -> tuple[list[Path], dict[str, str]]:
    """Those that can be read, and the reason for each of the others. Raises MediaError if none can."""
    good, skipped = [], {}
    for path in pictures:
        try:
            load_picture(path)
            good.append(path)
        except MediaError as error:
            skipped[str(path)] = str(error)
    if not good:
        reason = next(iter(skipped.values()), "there is none")
        raise MediaError(f"none of {len(pictures)} pictures can be read: {reason}")
    return good, skipped
