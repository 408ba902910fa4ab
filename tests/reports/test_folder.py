"""A report: its figure, its page, and what it never does: half a folder, a request to anywhere."""

import base64
import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from wordsight.errors import UsageError
from wordsight.evaluation.results import Results
from wordsight.reports.folder import COMPARISON_FILES, check_report, write_report
from wordsight.reports.palette import DARK, LIGHT
from wordsight.reports.pareto import Point, draw, front, points, ranked


def row(pruner, keep, kept, retention, **others):
    made = {
        "model": "demo",
        "task": "scenes",
        "tasks": 1,
        "pruner": pruner,
        "keep": keep if isinstance(keep, float) else None,
        "tokens": None if isinstance(keep, float) else keep,
        "tokens_kept": kept,
        "tokens_total": 144.0,
    }
    made |= {"accuracy": 0.5, "low": 0.4, "high": 0.6, "retention": retention, "difference_to": {}}
    made |= {"unpruned": 0.8, "blind": 0.4, "image_contribution": 1.0, "split": None, "drops_all": 0}
    return made | {"questions": 3, "pictures": 2, "timing": None} | others


def timing(total, ratio=None):
    spans = {"vision": 1.0, "selection": 0.0, "prefill": 1.0, "decode": 1.0, "total": total}
    ratios = {stage: [ratio, ratio, ratio] for stage in spans} if ratio else None
    work = {"kv_cache_bytes": 1, "prefill_flops": 1, "peak_memory_bytes": None, "peak_memory_note": "why"}
    return {"rounds": 6, "batches": [{"batch": 1, "milliseconds": spans, "ratio": ratios, **work}]}


ROWS = [
    row("none", 1.0, 144.0, 1.0, timing=timing(80.0)),
    row("<script>x", 0.1, 14.0, 0.7, timing=timing(50.0, 0.6)),
    row("<script>x", 0.2, 29.0, 0.9, timing=timing(60.0, 0.8)),
    row("divprune", 0.1, 14.0, 0.95, timing=timing(90.0, 1.1)),
]
RESULTS = Results(ROWS, {"command": "wordsight compare --pruner '<script>x'", "models": []})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "report"
    write_report(RESULTS, folder)
    return folder


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_a_report_has_all_its_files_and_no_others(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted(COMPARISON_FILES)


@pytest.mark.parametrize(("palette", "paper"), [(LIGHT, (255, 255, 255)), (DARK, (0x16, 0x18, 0x1C))])
def test_every_line_of_the_figure_is_drawn_in_its_own_color(palette, paper):
    pixels = opened(draw(ROWS, palette))
    assert tuple(pixels[0, 0]) == paper
    for color in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (np.abs(pixels - color).sum(-1) < 6).sum() > 100


def test_the_figure_in_the_folder_is_an_image_that_is_not_empty(folder):
    assert len(np.unique(opened((folder / "pareto.png").read_bytes()).reshape(-1, 3), axis=0)) > 10


def test_the_figure_has_a_row_of_panels_for_every_model_and_a_column_for_times():
    one = opened(draw([row("none", 1.0, 144.0, 1.0)], LIGHT)).shape
    timed = opened(draw([row("none", 1.0, 144.0, 1.0, timing=timing(80.0))], LIGHT)).shape
    two = opened(draw([row("none", 1.0, 144.0, 1.0, model=model) for model in "ab"], LIGHT)).shape
    assert timed[1] > one[1] + 300
    assert two[0] > one[0] + 300


def test_of_many_pruners_those_that_keep_most_have_a_panel_together():
    rows = [row(f"p{i:02}", keep, 10.0, 0.5 + i / 100) for i in range(20) for keep in (0.1, 0.2)]
    rows += [row("never", 0.1, 10.0, None), row("none", 1.0, 144.0, 1.0)]
    rows += [row("p00", 0.2, 10.0, 1.0, task="mean of 2 tasks", tasks=2)]
    best, middle, worst = ranked(rows)
    assert [*best, *middle, *worst] == [f"p{i:02}" for i in reversed(range(20))]
    assert (len(best), len(middle), len(worst)) == (8, 8, 4)
    few, many = (opened(draw(some, LIGHT)).shape for some in (rows[:8], rows))
    assert many[0] > few[0] + 300
    assert many[1] > few[1] + 300


def test_a_point_is_the_mean_over_tasks():
    rows = [
        row("uniform", 0.2, 29.0, 0.8),
        row("uniform", 0.2, 31.0, 0.9, task="easy_vqa"),
        row("uniform", 0.1, 14.0, 0.7),
        row("uniform", 0.1, 14.0, None, task="never_right"),
        row("random", 1, 1.0, None),
    ]
    found = points(rows, lambda rows: [each["tokens_kept"] for each in rows])
    assert found == {"uniform": [Point(14.0, 0.7), Point(30.0, pytest.approx(0.85))]}


def test_the_front_is_what_no_other_point_beats():
    better, dearer, worse, as_dear = Point(10, 0.9), Point(20, 0.95), Point(15, 0.8), Point(20, 0.9)
    assert front([better, dearer, worse, as_dear]) == {better, dearer}


class Requests(HTMLParser):
    """What a page would load, and the texts of its cells."""

    def __init__(self):
        super().__init__()
        self.loaded, self.cells, self.tags, self._in_cell = [], [], [], False

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loaded += [value for name, value in attributes if name in ("src", "srcset", "href", "action")]
        if tag in ("td", "th"):
            self.cells.append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, text):
        if self._in_cell:
            self.cells[-1] += text


@pytest.fixture(scope="module")
def page(folder):
    parser = Requests()
    text = (folder / "comparison.html").read_text()
    parser.feed(text)
    return text, parser


def test_the_page_asks_nothing_of_anybody(page):
    text, parser = page
    assert parser.loaded
    assert all(value.startswith("data:image/png;base64,") for value in parser.loaded)
    own = text
    for value in parser.loaded:
        own = own.replace(value, "")
    assert not [word for word in ("http:", "https:", "//", "@import", "url(", "fetch(") if word in strip(own)]


def strip(text):
    """The text without the comments of its script."""
    return "\n".join(line for line in text.splitlines() if not line.strip().startswith("//"))


def test_the_page_shows_the_figure_for_light_and_dark_screens(page, folder):
    _, parser = page
    dark, light = (base64.b64decode(value.partition(",")[2]) for value in parser.loaded)
    assert light == (folder / "pareto.png").read_bytes()
    assert tuple(opened(dark)[0, 0]) == (0x16, 0x18, 0x1C)


def test_the_page_shows_names_as_text_not_as_markup(page):
    text, parser = page
    assert "<script>x" in parser.cells
    assert parser.tags.count("script") == 1
    assert text.count("<script") == 1


def test_the_page_shows_the_environment(page):
    text, _ = page
    shown = text.partition("<pre>")[2].partition("</pre>")[0]
    assert json.loads(shown) == RESULTS.environment


def test_a_report_takes_the_place_of_a_report(folder):
    write_report(RESULTS, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(COMPARISON_FILES)


def test_a_report_never_takes_the_place_of_other_files(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"it holds thesis\.tex, which would be gone"):
        write_report(RESULTS, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_missing_extra_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("wordsight.reports.folder.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'wordsight\[report\]'"):
        check_report(tmp_path / "report")
