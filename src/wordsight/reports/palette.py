"""The palette: the colors of figures and pages, and of the marks on pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

# Okabe and Ito's colors, which tell apart whatever colors one sees, but for black and yellow.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
OUTLINE = "#dc1e5a"  # of tokens in a picture that is drawn once, for any screen
LABEL, HALO = "#ffffff", "#000000bf"  # of words on a picture, which are read on any color
SHADOW = "#00000059"


@dataclass(frozen=True)
class Palette:
    """The colors of what is not a line: `faint` is of text, `stripe` of areas, `mark` of what is chosen."""

    paper: str
    text: str
    faint: str
    grid: str
    stripe: str
    mark: str


LIGHT = Palette("#ffffff", "#1a1a1a", "#5c5f66", "#dddddd", "#f4f5f6", "#b3005e")
DARK = Palette("#16181c", "#e8e8e8", "#a3a7ae", "#3a3d42", "#1f2227", "#ff7ab8")


def css() -> str:
    """The colors as custom properties of a page: --paper and the others by their names, lines by number."""
    fixed = {f"line-{i}": color for i, color in enumerate(LINES, 1)}
    fixed |= {"label": LABEL, "halo": HALO, "shadow": SHADOW}
    rules = [
        ":root {",
        *_properties(fixed | asdict(LIGHT)),
        "}",
        "@media (prefers-color-scheme: dark) {",
        ":root {",
        *_properties(asdict(DARK)),
        "}",
        "}",
    ]
    return "\n".join(rules)


def _properties(colors: dict[str, str]) -> Iterator[str]:
    return (f"  --{name}: {color};" for name, color in colors.items())
