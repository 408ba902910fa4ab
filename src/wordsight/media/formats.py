"""Formats: what is read as a picture and what as a film, everywhere alike, and how large it may be."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

# Formats are named to Pillow: others, as EPS, would start programs of their own.
PICTURES = {
    "AVIF": (".avif", ".avifs"),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "HEIF": (".heic", ".heif", ".hif"),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"),
    "JPEG2000": (".j2c", ".j2k", ".jp2", ".jpf", ".jpx"),
    "PNG": (".apng", ".png"),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
ANIMATED = frozenset({"AVIF", "GIF", "PNG", "WEBP"})  # others hold pages, or a thumbnail beside the picture
# Names of FFmpeg's demuxers. A playlist, which makes a decoder open other files, is none of them.
FILMS = "asf,avi,flv,matroska,mov,mp4,mpeg,mpegts,mpegvideo,ogg,webm"
FILM_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm"}
    | {".wmv"}
)
PICTURE_SUFFIXES = frozenset(suffix for suffixes in PICTURES.values() for suffix in suffixes)
PIXELS = 128_000_000  # of a picture, or of all frames of a film: 384 MB as RGB
READ = "PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF, JPEG 2000 or PPM (HEIC with the extra wordsight[heic])"


def pillow_formats() -> tuple[str, ...]:
    """The formats that this installation reads; HEIC is an extra, registered when it is first asked for."""
    if find_spec("pillow_heif") is None:
        return tuple(name for name in PICTURES if name != "HEIF")
    import_module("pillow_heif").register_heif_opener()
    return tuple(PICTURES)


def is_film(path: str | Path) -> bool:
    """Whether this is the path of a film, by its suffix."""
    return Path(path).suffix.lower() in FILM_SUFFIXES


def is_heic(head: bytes) -> bool:
    """Whether a file that begins like this is HEIC."""
    return head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1")


def looks_like_film(head: bytes) -> bool:
    """Whether a file that begins like this is a film, whatever it is called."""
    if head[4:8] == b"ftyp":
        return not is_heic(head) and head[8:12] not in (b"avif", b"avis")
    if head[:4] == b"RIFF":
        return head[8:12] == b"AVI "
    starts = (
        b"\x1aE\xdf\xa3",
        b"FLV",
        b"OggS",
        b"\x00\x00\x01\xba",
        b"\x00\x00\x01\xb3",
        b"0&\xb2u\x8ef\xcf\x11",
    )
    return head.startswith(starts) or (head[:1] == b"G" and head[188:189] == b"G")
