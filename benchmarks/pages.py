"""Tables in the pages, between markers that name them.

Nothing of the package is imported, since device_operations.py measures an older version of it, too.
"""

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
BEGIN, END = "<!-- table: {} -->\n", "<!-- end -->"


def write_between(page: Path, name: str, table: str) -> None:
    """Put the table between the page's markers of this name, if it has them."""
    text = page.read_text()
    before, mark, rest = text.partition(BEGIN.format(name))
    if mark:
        page.write_text(before + mark + table + END + rest.partition(END)[2])
