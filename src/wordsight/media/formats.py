"""Formats: what is read as a picture and what as a video, everywhere alike, and how large it may be."""

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
ANIMATED = ("AVIF", "GIF", "PNG", "WEBP")  # others hold pages, or a thumbnail beside the picture
# Names of FFmpeg's demuxers. A playlist, which makes a decoder open other files, is none of them.
VIDEOS = "asf,avi,flv,matroska,mov,mp4,mpeg,mpegts,mpegvideo,ogg,webm"
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm"}
    | {".wmv"}
)
PICTURE_SUFFIXES = frozenset(suffix for suffixes in PICTURES.values() for suffix in suffixes)
PIXELS = 150_000_000  # of a picture, or of all frames of a video: 450 MB as RGB
BYTES = 2**29  # of what comes through a pipe, which has to be kept
READ = "PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF, JPEG 2000 or PPM (HEIC with the extra wordsight[heic])"
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def pillow_formats() -> tuple[str, ...]:
    """The formats that this installation reads; HEIC is an extra, registered when it is first asked for."""
    if find_spec("pillow_heif") is None:
        return tuple(name for name in PICTURES if name != "HEIF")
    import_module("pillow_heif").register_heif_opener()
    return tuple(PICTURES)


def file_chooser() -> str:
    """The suffixes of all files that this installation reads, as a file chooser of a web page takes them."""
    pictures = {suffix for name in pillow_formats() for suffix in PICTURES[name]}
    return ",".join(sorted(pictures | VIDEO_SUFFIXES))


def has_video_suffix(path: str | Path) -> bool:
    """Whether this is called as videos are."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def is_heic(head: bytes) -> bool:
    """Whether a file that begins with these 12 bytes is HEIC."""
    return head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS
