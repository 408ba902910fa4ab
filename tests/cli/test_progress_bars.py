"""Bars in a terminal, which is a pseudo-terminal here: they leave the result below them alone."""

import os
import pty
import subprocess
import sys

PROGRAM = """
from wordsight._utils.progress import track
from wordsight.cli.common import progress_bars

with progress_bars():
    for _ in track(range(3), "outer work", 3):
        list(track(range(2), "inner work", 2))
    print("THE RESULT", flush=True)
"""


def in_a_terminal(program):
    """All that a program writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", program], stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        written = b""
        try:
            while part := os.read(ours, 4096):
                written += part
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(ours)
    assert process.returncode == 0, written
    return written.decode()


def test_bars_are_drawn_and_nothing_is_drawn_over_the_result():
    before, after = in_a_terminal(PROGRAM).split("THE RESULT")
    assert "outer work" in before
    assert "inner work" in before
    assert "\x1b[1A" not in after  # the cursor never goes up again
    assert "work" not in after
