"""Ends with 1 if a page of the built site asks another server, or a public name is documented nowhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

SITE = Path(__file__).parents[1] / "build" / "site"
REQUEST = re.compile(
    r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)"
)
IMPORT = re.compile(r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)")


def main() -> None:
    """Check, and say what is wrong."""
    pages = {path: path.read_text("utf-8") for path in SITE.rglob("*.html")}
    wrong = [f"{path.name} asks {url}" for path, text in pages.items() for url in REQUEST.findall(text)]
    for sheet in SITE.rglob("*.css"):
        wrong += [f"{sheet.name} asks {url}" for url in IMPORT.findall(sheet.read_text("utf-8"))]
    named = re.findall(r"^::: (\S+)$", (Path(__file__).parent / "api.md").read_text("utf-8"), re.MULTILINE)
    shown = set(re.findall(r'id="(wordsight\.[\w.]+)"', pages[SITE / "api.html"]))
    wrong += [f"{name} is not documented" for name in named if name not in shown]
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
