"""The one reader of pictures: files, bytes, arrays and Images become RGB and upright, or a sentence."""

from __future__ import annotations

import io
import os
import re
import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path, PurePath
from typing import IO, Any, Protocol
from urllib.parse import unquote, urlsplit

from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from wordsight._utils.notes import note
from wordsight._utils.numbers import counted
from wordsight.errors import MediaError
from wordsight.media import formats
from wordsight.media.levels import SCALED, SIXTEEN_BITS, check_colors, in_eight_bits, picture_of_array

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|data:")  # a path may have lost one of its two slashes
NAME = 200  # letters of a path in a sentence
SMALLER = 254  # the tag of a TIFF's page that says that it is a smaller copy


class ArrayLike(Protocol):
    """An array or a tensor, of numpy, torch or others."""

    def __array__(self) -> NDArray[Any]: ...


File = str | os.PathLike[str] | bytes | IO[bytes]
Picture = Image.Image | File | ArrayLike
# What decoders raise where a file is damaged: they trust its numbers.
DAMAGE = (
    *(ArithmeticError, EOFError, LookupError, MemoryError, OSError, RuntimeError, SyntaxError, TypeError),
    *(ValueError, struct.error),
)


class NamedBytes(io.BytesIO):
    """Bytes that errors call by a name."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def load_picture(picture: Picture) -> Image.Image:
    """An RGB image, upright; transparent parts are laid on white.

    Raises MediaError for what is no single picture, or has more than `formats.PIXELS` pixels. What had to be
    assumed of its levels is a note.
    """
    if isinstance(picture, Image.Image):
        return _upright_image(picture)
    if hasattr(picture, "__array__"):
        return upright_rgb(picture_of_array(picture), "the array")
    return read_picture(*seekable(picture, "picture"))


def picture_digest(picture: Picture) -> str:
    """The sha256, in hexadecimal, of a picture's mode, size and pixels as `load_picture` opens it: f"{mode}
    {size} " and the pixels' bytes. That of a file that holds the same pixels is the same.
    """
    image = load_picture(picture)
    return sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()


def _upright_image(image: Image.Image) -> Image.Image:
    try:
        _check_single(image, "the picture")
        return upright_rgb(image, "the picture")
    except MediaError:
        raise
    except DAMAGE as error:
        raise MediaError(f"the picture cannot be used ({error}); open it again, or give its path") from error


def is_single(media: Any) -> bool:
    """Whether this is one picture or video rather than several of them."""
    is_one = isinstance(media, (str, bytes, bytearray, Mapping, Image.Image))
    return is_one or hasattr(media, "read") or hasattr(media, "__array__") or not isinstance(media, Iterable)


def seekable(file: File, what: str) -> tuple[Path | IO[bytes], str]:
    """A file that can be read more than once, and what errors call it. Raises MediaError if there is none."""
    if isinstance(file, (bytes, bytearray)):
        return io.BytesIO(file), "the file given as bytes"
    if isinstance(file, (str, os.PathLike)):
        path = local_path(file, what)
        return (path, str(path)) if path.is_file() else (_kept(path), str(path))
    if not hasattr(file, "read"):
        raise MediaError(
            f"expected a {what}: a path, bytes, a file object, an array, a tensor or an Image; got "
            f"{type(file).__name__}"
        )
    name = str(getattr(file, "name", "the file object"))
    try:
        if isinstance(file.read(0), str):
            raise MediaError(f"{name} is opened as text; open it as binary, with mode 'rb'")
        # Before Python 3.11, a SpooledTemporaryFile can seek but does not say so.
        can_seek = getattr(file, "seekable", lambda: hasattr(file, "seek"))()
        return (file if can_seek else kept_bytes(file, name)), name
    except (OSError, ValueError) as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{name} cannot be read ({error}); open it again") from error


def _kept(pipe: Path) -> NamedBytes:
    """All that comes through a pipe, which cannot be read twice."""
    try:
        with pipe.open("rb") as opened:
            return kept_bytes(opened, str(pipe))
    except OSError as error:
        raise MediaError(f"cannot open {pipe}: {error.strerror}; expected a file that can be read") from error


def kept_bytes(file: IO[bytes], name: str) -> NamedBytes:
    """All that comes out of a file. Raises MediaError if it is more than there is room for."""
    data = file.read(formats.BYTES + 1)
    if len(data) > formats.BYTES:
        raise MediaError(
            f"more than {formats.BYTES / 2**20:.0f} MiB come from {name}, which has to be kept in memory; "
            "save it, and give its path"
        )
    return NamedBytes(data, name)


def local_path(given: str | os.PathLike[str], what: str) -> Path:
    """The path of a file that is there; file:// is understood, any other URL refused. Raises MediaError."""
    text = os.fspath(given)
    path = Path(without_scheme(text))
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"cannot open {_shown(text)}: {reason}; expected the path of a {what}") from error
    if is_folder:
        raise MediaError(f"{_shown(path)} is a folder; expected the path of a {what}")
    if is_there:
        return path
    if URL.match(text):
        raise MediaError(
            f"{_shown(text)} is a URL, and nothing is fetched from the network; save the {what}, and give "
            "its path"
        )
    raise MediaError(f"no such {what}: {_shown(path)}; expected the path of a file")


def without_scheme(text: str) -> str:
    """The path of a file:// URL of this machine; any other text as it is."""
    url = urlsplit(text) if text.lower().startswith("file:/") else None
    return unquote(url.path) if url and url.netloc in ("", "localhost") else text


def _shown(path: str | Path) -> str:
    """A name in a sentence: neither endless nor with signs that cannot be seen."""
    text = str(path)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= NAME else f"{text[:NAME]}..."


def read_picture(file: Path | IO[bytes], name: str, *, pixels: int = formats.PIXELS) -> Image.Image:
    """The same of a file that can be read more than once, which errors call `name`, of at most so many
    pixels.
    """
    try:
        with open_picture(file) as image:
            check_pixels(name, image.width * image.height, pixels)
            _check_single(image, name)
            return upright_rgb(image, name)
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        raise MediaError(f"{name} is enormous ({error}); make it smaller") from error
    except UnidentifiedImageError as error:
        raise MediaError(f"{name} is no picture that can be read; expected {formats.READ}") from error
    except PermissionError as error:
        raise MediaError(f"cannot open {name}: {error.strerror}; expected a file that can be read") from error
    except DAMAGE as error:
        raise MediaError(
            f"{name} is damaged or cut short and cannot be decoded ({error}); save it again"
        ) from error


def open_picture(file: Path | IO[bytes]) -> Image.Image:
    """A picture of one of the formats, of which only the header was read."""
    if not isinstance(file, Path):
        file.seek(0)
    with warnings.catch_warnings():  # check_pixels refuses what is too large
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file, formats=formats.pillow_formats())


def _check_single(image: Image.Image, name: str) -> None:
    """Raises MediaError if this is a picture that moves, or one of several pages."""
    count = getattr(image, "n_frames", 1)
    if image.format in formats.ANIMATED and count > 1:
        raise MediaError(
            f"{name} is an animation of {count} frames; expected a single picture: ask about it as a video, "
            "or save the frame that is meant"
        )
    if image.format == "TIFF" and (pages := _pages(image, count)) > 1:
        raise MediaError(f"{name} has {pages} pages; expected a single picture: save the page that is meant")


def _pages(image: Any, count: int) -> int:
    """How many pages of a TIFF are no smaller copies of others."""
    here, pages = image.tell(), 0
    for page in range(count if count > 1 else 0):
        image.seek(page)
        pages += not image.tag_v2.get(SMALLER, 0) & 1
    if count > 1:
        image.seek(here)
    return pages


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
    white = SIXTEEN_BITS if image.format in SCALED and image.mode != "F" else None
    is_deep = ";16" in str(getattr(image, "tile", ""))  # unless it is loaded already
    image = ImageOps.exif_transpose(image)  # loads it: a PNG tells its orientation behind its pixels
    if is_deep:
        check_colors(image, name)
    image = in_eight_bits(image, name, white)
    if not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    return paper.convert("RGB")


def find_pictures(folder: str | Path) -> list[Path]:
    """The pictures in a folder and the folders in it, linked ones too, by name; notes say what else is there
    and is left out. Raises MediaError if there is none.
    """
    root, left_out = local_folder(folder), LeftOut()
    found = list(walk_pictures(root, left_out))
    left_out.tell(_shown(root))
    if not found:
        raise MediaError(
            f"no pictures in {_shown(root)}: expected files ending in "
            f"{', '.join(sorted(formats.PICTURE_SUFFIXES))}"
        )
    return found


class LeftOut:
    """The files that are no pictures: of every reason how many, and the first by name."""

    def __init__(self) -> None:
        self.reasons: dict[str, tuple[int, str]] = {}

    def add(self, reason: str, name: str) -> None:
        count, first = self.reasons.get(reason, (0, name))
        self.reasons[reason] = count + 1, min(first, name)

    def tell(self, place: str) -> None:
        """A note for every reason."""
        for reason, (count, first) in self.reasons.items():
            note(f"{place}: left out {count} that {reason}, such as {_shown(first)}")


def walk_pictures(root: Path, left_out: LeftOut) -> Iterator[Path]:
    """The pictures in a folder as they are come upon, by name; a linked folder is entered once, however often
    it is linked.
    """
    waiting, entered = [root], set[str]()
    while waiting:
        path = waiting.pop()
        if os.path.isdir(path):
            waiting += sorted(_inside(path, entered, left_out), reverse=True)
        elif reason := why_no_picture(path.relative_to(root)):
            left_out.add(reason, str(path))
        elif not os.path.isfile(path):
            left_out.add("are broken links or pipes", str(path))
        else:
            yield path


def _inside(folder: Path, entered: set[str], left_out: LeftOut) -> list[Path]:
    """What is in a folder, nothing if it was entered before."""
    real = os.path.realpath(folder)
    if real in entered:
        return []
    entered.add(real)
    try:
        return [folder / name for name in os.listdir(folder)]
    except OSError as error:
        left_out.add("cannot be opened", str(error.filename))
        return []


def why_no_picture(path: PurePath) -> str | None:
    """Why a file is no picture of the folder that it is named from."""
    if is_hidden(path):
        return "are hidden"
    if path.suffix.lower() in formats.PICTURE_SUFFIXES:
        return None
    return "are videos" if formats.has_video_suffix(path.name) else "are no pictures by their suffix"


def is_hidden(path: PurePath) -> bool:
    """Whether a file, or a folder that it is in, has a name that begins with a dot."""
    return any(part.startswith(".") for part in path.parts)


def local_folder(folder: str | Path) -> Path:
    """The folder, if it is one. Raises MediaError."""
    root = Path(folder)
    try:
        if root.is_dir():
            return root
        problem = f"{_shown(root)} is a file" if root.is_file() else f"no such folder: {_shown(root)}"
    except (OSError, ValueError) as error:
        problem = f"cannot open {_shown(root)}: {getattr(error, 'strerror', None) or error}"
    raise MediaError(f"{problem}; expected a folder of pictures")


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
