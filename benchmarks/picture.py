"""Write docs/explain.png: what `wordsight explain` makes of a picture of the demo set, in a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright

import wordsight.demo
from wordsight._utils.files import replacing
from wordsight.pruners import BEST_FIRST

OUT = Path(__file__).parents[1] / "docs" / "explain.png"
PICTURE = Path(wordsight.demo.__file__).parent / "pictures" / "garden.png"
QUESTION = "what is in the background?"
PRUNERS = (*BEST_FIRST, "random")
DESK = {"width": 1280, "height": 1060}
TOKEN = "row 10, column 2"  # of the pig


def main() -> None:
    """Run the command, open its page, point at a token, and take the picture."""
    with TemporaryDirectory() as folder, replacing(OUT) as draft:
        page = Path(folder) / "page.html"
        command = [sys.executable, "-m", "wordsight", "explain", str(PICTURE), "--question", QUESTION]
        command += [f"--pruner={name}" for name in PRUNERS]
        subprocess.run([*command, "--out", str(page)], check=True, stdout=subprocess.DEVNULL)
        with sync_playwright() as play:
            path = os.environ.get("CHROMIUM") or shutil.which("chromium")
            chromium = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
            view = chromium.new_page(viewport=DESK, color_scheme="light")
            view.goto(page.as_uri())
            view.locator(f"[role=gridcell][aria-label^='{TOKEN}']").click()
            view.mouse.move(0, 0)
            view.screenshot(path=draft, type="png")


if __name__ == "__main__":
    main()
