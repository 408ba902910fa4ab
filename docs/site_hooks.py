"""What `mkdocs build` does beside: the README is the first page, and links into the repository are text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Add the README, as it stands seen from the folder of the pages."""
    text = re.sub(r"\]\((?!http|#)([^)]+)\)", r"](../\1)", (ROOT / "README.md").read_text("utf-8"))
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to pages stay; of those to other files of the repository, which is nowhere on the web yet, the
    text and the path are left. Files that are generated link to each other as the repository has them.
    """
    markdown = markdown.replace("](../docs/", "](").replace("](../README.md", "](index.md")
    return re.sub(r"(?<!!)\[([^\]]+)\]\(\.\./([^)]+)\)", _as_text, markdown)


def _as_text(link: re.Match[str]) -> str:
    text, path = link[1], link[2]
    return text if text.strip("`") in path else f"{text} (`{path}`)"
