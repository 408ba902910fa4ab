"""Links: the file that an address of the web leads to, within limits of size and time."""

from __future__ import annotations

from http.client import HTTPException
from importlib.metadata import version
from time import monotonic
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from wordsight.errors import MediaError, shown
from wordsight.viewer.uploads import too_large

SECONDS = 20  # for all of the file


def fetch_link(url: str, limit: int) -> bytes:
    """The file at an http or https address. Raises MediaError if there is none, and TooLarge as soon as more
    than `limit` bytes come.
    """
    end = monotonic() + SECONDS
    try:
        if urlsplit(url).scheme not in ("http", "https"):  # else a path of this machine could be asked for
            raise ValueError("it does not begin with http:// or https://")
        asked = Request(url, headers={"User-Agent": f"wordsight/{version('wordsight')}"})
        data = bytearray()
        with urlopen(asked, timeout=SECONDS / 2) as answer:
            while piece := answer.read1(2**16):
                data += piece
                if len(data) > limit:
                    raise too_large(limit)
                if monotonic() > end:
                    raise TimeoutError(f"it takes longer than {SECONDS} s")
    except (OSError, HTTPException, ValueError) as error:
        raise MediaError(
            f"cannot fetch {shown(url)}: {error}; expected the address of a picture or film itself, or save "
            "it and choose the file"
        ) from error
    return bytes(data)
