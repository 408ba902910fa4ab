"""Opening the user's pictures, with errors that say what is wrong with a file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from wordsight._utils.numbers import counted
from wordsight.errors import MediaError

Picture = Image.Image | str | Path
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # of files with those suffixes
# What decoders raise where a file is damaged: they trust its numbers.
DAMAGE = (
    *(ArithmeticError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError),
    struct.error,
)
ANIMATED = ("GIF", "PNG", "WEBP")  # other formats hold pages, or a thumbnail beside the picture


def load_picture(picture: Picture) -> Image.Image:
    """An RGB image, upright; transparent parts are laid on white. Raises MediaError for a file that is not
    one.
    """
    if isinstance(picture, Image.Image):
        return _upright_rgb(picture)
    path = Path(picture)
    if path.is_dir():
        raise MediaError(f"{path} is a folder; expected the path of an image file")
    if not path.is_file():
        raise MediaError(f"no such picture: {path}; expected the path of an image file")
    return read_picture(path, str(path))


def read_picture(
    file: Path | BinaryIO, name: str, *, formats: tuple[str, ...] | None = None, pixels: int | None = None
) -> Image.Image:
    """The same from an open file, which errors call `name`; of the given formats, or all that are known; of
    at most so many pixels.
    """
    try:
        with Image.open(file, formats=formats) as image:
            check_pixels(name, image.width * image.height, pixels)
            if image.format in ANIMATED and getattr(image, "is_animated", False):
                raise MediaError(
                    f"{name} is an animation; expected a single picture: save the frame that is meant, or "
                    "make a video of it"
                )
            return _upright_rgb(image)
    except MediaError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(f"{name} is enormous ({error}); make it smaller") from error
    except UnidentifiedImageError as error:
        raise MediaError(
            f"{name} is not an image that can be read; expected PNG, JPEG, WebP or the like"
        ) from error
    except DAMAGE as error:
        raise MediaError(
            f"{name} is damaged or cut short and cannot be decoded ({error}); save it again"
        ) from error


def check_pixels(name: str, count: int, most: int | None) -> None:
    """Raises MediaError if a picture, or all frames of a video, has more pixels than there is room for; to be
    asked before it is decoded, since a small file may hold many.
    """
    if most is not None and count > most:
        raise MediaError(
            f"{name} has {count / 1e6:.1f} million pixels, there is room for {most / 1e6:.1f} million; give "
            "fewer or smaller pictures or frames"
        )


def _upright_rgb(image: Image.Image) -> Image.Image:
    if min(image.size) < 1:
        raise MediaError(f"the picture has no pixels: its size is {image.width}x{image.height}")
    if image.mode.startswith("I"):  # 16 bits a pixel
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    image = ImageOps.exif_transpose(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper.convert("RGB")


def find_pictures(folder: str | Path) -> list[Path]:
    """The image files in a folder and the folders in it, by name. Raises MediaError if there are none."""
    root = Path(folder)
    if not root.is_dir():
        problem = f"{root} is a file" if root.is_file() else f"no such folder: {root}"
        raise MediaError(f"{problem}; expected a folder of pictures")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise MediaError(f"no pictures in {root}: expected files ending in {', '.join(sorted(SUFFIXES))}")
    return found


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
        raise MediaError(f"none of {counted(len(pictures), 'picture')} can be read: {reason}")
    return good, skipped
