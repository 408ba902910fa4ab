"""Write docs/explain.png: what `wordsight explain` makes of a free photo by demo-photos, in a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import sync_playwright

from wordsight._utils.files import replacing
from wordsight.models import photos
from wordsight.models.showcase import showcase

OUT = Path(__file__).parents[1] / "docs" / "explain.png"
PICTURE = "coffee.png"  # by Rachel Michetti, CC0
QUESTION = "Is there a cup in the picture?"
PRUNERS = (*showcase(photos.NAME).pruners, "random")
DESK = {"width": 1280, "height": 1060}
TOKEN = "row 4, column 4"  # of the cup


def main() -> None:
    """Run the command, open its page, point at a token, and take the picture."""
    with TemporaryDirectory() as folder, replacing(OUT) as draft:
        page = Path(folder) / "page.html"
        command = [sys.executable, "-m", "wordsight", "explain", str(photos.pictures() / PICTURE)]
        command += ["--model", photos.NAME, "--question", QUESTION, *(f"--pruner={name}" for name in PRUNERS)]
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
