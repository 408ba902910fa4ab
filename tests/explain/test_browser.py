"""The page in a real browser: what it keeps, what it says by keyboard, how it looks, what it never asks for.

`make browser` installs what is needed. Pictures of the page are left in build/browser.
"""

import json
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
import torch
from PIL import Image

import wordsight.demo
from wordsight import pruners
from wordsight.explain.page import render_page
from wordsight.explain.panels import pictures
from wordsight.explain.record import ExplainRequest, explain_tokens
from wordsight.media.inputs import MediaInput
from wordsight.pruners.codebook import CodebookPruner
from wordsight.redundancy.codebook import Codebook
from wordsight.redundancy.probe import decode_ids

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "browser"
PICTURE = Path(wordsight.demo.__file__).parent / "pictures" / "garden.png"
QUESTION = "how many flowers are in the image?"
METHODS = ("codebook", "cls_topk", "divprune", "random", "fastv", "codebook:threshold=0.9")
SCORED = ("codebook", "cls_topk", "random")
KEEPS = (0.1, 0.2, 0.5)
PHONE, DESK = {"width": 360, "height": 640}, {"width": 1280, "height": 900}
GRAY = "data:image/gif;base64,R0lGODlhAQABAIAAAICAgAAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw=="


@pytest.fixture(scope="module")
def record(embedded):
    methods = [pruners.make(name) for name in METHODS]
    asked = ExplainRequest(names=["garden.png"], question=QUESTION, pruners=methods, keeps=KEEPS, book="demo")
    return explain_tokens(embedded, MediaInput.of(PICTURE), asked)


@pytest.fixture(scope="module")
def tokens(embedded):
    """What the pruners choose from, with all that they ask for."""
    needs = frozenset[str]().union(*(pruners.make(name).required_signals for name in METHODS))
    return embedded.encode(PICTURE, QUESTION, signals=needs).visual


@pytest.fixture(scope="module")
def file(tmp_path_factory, record):
    path = tmp_path_factory.mktemp("pages") / "page.html"
    path.write_text(render_page(record, pictures(MediaInput.of(PICTURE), record["panels"])), "utf-8")
    return path


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens a page file, or the page of a made-up record; any complaint fails the test."""
    views, complaints, asked = [], [], []

    def open_page(source, viewport=DESK, **options):
        path = source
        if isinstance(source, dict):
            path = tmp_path / "page.html"
            path.write_text(render_page(source, [GRAY] * len(source["panels"])), "utf-8")
        view = browser.new_page(viewport=viewport, reduced_motion="reduce", **options)
        views.append(view)
        # The tests read the canvas back, which the page never does; the browser has advice for them.
        complain = lambda text: None if "getImageData" in text else complaints.append(text)  # noqa: E731
        view.on("console", lambda message: complain(message.text))
        view.on("pageerror", lambda error: complaints.append(str(error)))
        view.on("request", lambda request: asked.append(request.url))
        view.goto(path.as_uri())
        return view

    yield open_page
    for view in views:
        view.close()
    assert complaints == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert sum(url.startswith("file:") for url in asked) == len(views)


def made_up(grids=((0, 12, 12),), panels=1, word="sky", name="alpha"):
    """A record of `grids` (crop, rows, columns) on every panel, with two pruners that score by place."""
    cell = [
        [image, crop, y, x] for image in range(panels) for crop, rows, columns in grids
        for y in range(rows) for x in range(columns)
    ]  # fmt: skip
    size = {crop: (rows, columns) for crop, rows, columns in grids}
    box = [
        [x / size[c][1], y / size[c][0], (x + 1) / size[c][1], (y + 1) / size[c][0]] for _, c, y, x in cell
    ]
    count = len(cell)
    crops = [{"crop": c, "label": ("whole", "enlarged")[c], "rows": r, "columns": k} for c, r, k in grids]
    shape = {"width": 40, "height": 30, "frame": 0, "extent": [0, 0, 1, 1], "crops": crops}
    scores = [[float(i % 7) for i in range(count)], [float(i) for i in range(count)]]
    side = {"label": "score above", "sign": 1, "value": None}
    choices = [{"keep": 0.2, "kept": [0], "tokens_read": 1, "answer": word, "right": None}]
    methods = [
        {
            "name": f"{name}{i}",
            "selection": "by a score",
            "scores": row,
            "threshold": side,
            "choices": choices,
        }
        for i, row in enumerate(scores)
    ]
    return {
        "wordsight": "0", "model": word, "question": word, "probe_question": word, "answer": word,
        "panels": [{"title": f"panel {i}", **shape} for i in range(panels)],
        "tokens": {"cell": cell, "box": box, "words": [[[word, 0.5], ["cat", 0.25]]] * count,
                   "says_nothing": [False] * count,
                   "values": {"confidence": [i / count for i in range(count)]}},
        "maps": [{"name": "confidence", "label": "confidence", "about": word, "scale": "linear",
                  "low": 0.0, "high": 1.0}],
        "truth": [], "right": None, "findings": [["1 of 144 tokens gives the same answer."]] * 2,
        "notes": [], "missing": [{"label": "[CLS] attention", "why": word}],
        "codebook": {"prototypes": 9, "digest": "f00d", "nearest": [3] * count, "similarity": [0.5] * count,
                     "says": {"3": [[word, 0.5]]}, "says_nothing": [], "patches": None, "columns": 24,
                     "said": {}},
        "methods": methods, "agreement": [{"keep": 0.2, "kept_by": [2] + [0] * (count - 1)}],
        "words": [{"word": word, "tokens": count, "confidence": 0.5}],
    }  # fmt: skip


def slide(view, name, value):
    """Put a slider where a hand would."""
    view.eval_on_selector(
        f"#{name}",
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')) }",
        value,
    )


def until(view, claim):
    """Wait until an expression is true; the page itself lets nobody evaluate text."""
    for _ in range(100):
        if view.evaluate(claim):
            return
        view.wait_for_timeout(20)
    pytest.fail(claim)


def kept(view, number):
    return view.evaluate(f"[...kept[{number}].tokens].sort((a, b) => a - b)")


def counted(view, number):
    return int(view.text_content(f"#count-{number}").split()[0])


def test_the_sliders_keep_what_python_keeps_without_a_model(opened, file, tokens):
    """For one share and one threshold: test_scripts.py has all the others."""
    view, share = opened(file), 0.29
    slide(view, "keep", str(share))
    for name in SCORED:
        expected = replace(pruners.make(name), keep=share).prune(tokens).slot.tolist()
        assert kept(view, METHODS.index(name)) == expected
        assert counted(view, METHODS.index(name)) == len(expected)
    assert "29% = 42 of 144" in view.text_content("#share")
    assert "computed at 20%" in view.text_content(f"#count-{METHODS.index('divprune')}")
    slide(view, "threshold", "731")
    limit = view.evaluate("methods[0].limit")
    expected = CodebookPruner(threshold=limit).prune(tokens).slot.tolist()
    assert kept(view, 0) == expected
    assert view.text_content("#count-0") == f"{len(expected)} of 144, by threshold"
    assert view.text_content("#limit") == f"{limit:.4g}"


def test_the_slider_moves_by_keyboard(opened, file):
    view = opened(file)
    view.focus("#keep")
    for _ in range(9):
        view.keyboard.press("ArrowRight")
    assert "29% = 42 of 144" in view.text_content("#share")
    assert counted(view, 0) == 42


def focused(view):
    return view.evaluate("Number(document.activeElement.dataset.token ?? -1)")


def test_a_token_is_read_with_the_keyboard_alone(opened, file, record):
    view = opened(file)
    presses = 0
    while focused(view) < 0:
        view.keyboard.press("Tab")
        presses += 1
        assert presses < 12, "no token in the order of Tab"
    for key, token in (("ArrowDown", 12), ("End", 23), ("Control+End", 143), ("Control+Home", 0)):
        view.keyboard.press(key)
        assert focused(view) == token, key
    for _ in range(9):
        view.keyboard.press("ArrowDown")
    view.keyboard.press("ArrowRight")
    word, chance = record["tokens"]["words"][109][0]
    label = view.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label.startswith(f"row 10, column 2, says {word} {chance:.3g}")
    details = view.inner_text("#details")
    for said, _ in record["tokens"]["words"][109][:3]:
        assert said in details
    number = record["codebook"]["nearest"][109]
    assert f"number {number} is the nearest" in details
    is_silent = number in record["codebook"]["says_nothing"]
    word = "nothing" if is_silent else record["codebook"]["says"][str(number)][0][0]
    assert f"Alone, it says {word}" in details
    assert "redundancy" in view.text_content("#details .values")
    view.keyboard.press("Tab")
    assert focused(view) < 0, "one token of a grid is in the order of Tab"
    view.keyboard.press("Shift+Tab")
    assert focused(view) == 109, "Tab comes back to the token that was left"


def test_the_nearest_prototype_is_shown_as_it_was_in_its_picture(opened, file, record, embedded):
    view, book = opened(file), Codebook.from_pretrained("demo")
    for token in (0, 109):
        view.locator(f"[data-token='{token}']").click()
        number = record["codebook"]["nearest"][token]
        expected = book.origins.patches[number].repeat_interleave(6, 0).repeat_interleave(6, 1)
        pixels = view.evaluate("""() => {
          const canvas = document.querySelector("#details .origin canvas");
          return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
        }""")
        drawn = torch.tensor(pixels).reshape(96, 96, 4)[..., :3]
        assert (drawn - expected).abs().float().mean() < 12, "it is drawn smoothly"
        (words,) = decode_ids(embedded, book.origins.words[number][None])
        said = record["codebook"]["said"][str(number)]
        assert (said is None) == bool(book.origins.says_nothing[number])
        if said:
            assert list(words) == [word for word, _ in said]
        assert (said[0][0] if said else "it said nothing") in view.inner_text("#details .origin")
        view.keyboard.press("Escape")


def test_a_token_that_was_chosen_stays_until_it_is_let_go(opened, file):
    view = opened(file)
    cell = view.locator("[role=gridcell]")
    cell.nth(5).hover()
    assert "row 1, column 6" in view.inner_text("#details")
    cell.nth(5).click()
    cell.nth(40).hover()
    assert "row 1, column 6" in view.inner_text("#details")
    view.keyboard.press("Escape")
    cell.nth(41).hover()
    assert "row 4, column 6" in view.inner_text("#details")


def test_on_a_phone_a_token_is_read_at_the_foot_of_the_screen_until_it_is_closed(opened):
    view = opened(made_up(panels=3), PHONE)
    view.locator("[role=gridcell]").nth(3).click()
    box = view.locator("#details").bounding_box()
    assert box["y"] + box["height"] == pytest.approx(PHONE["height"], abs=2)
    assert box["height"] < 0.4 * PHONE["height"]
    view.locator("#close").click()
    view.wait_for_timeout(300)  # the pointer rests where the button was, over a token
    assert view.locator("#close").count() == 0
    assert view.evaluate("getComputedStyle(document.querySelector('#details')).position") != "fixed"


def pixel(view, token):
    """What the canvas has in the middle of a token: red, green, blue, opacity."""
    script = """(token) => {
      const [l, t, r, b] = stages[0].within(record.tokens.box[token]), canvas = stages[0].canvas;
      const x = Math.round((l + r) / 2 * canvas.width), y = Math.round((t + b) / 2 * canvas.height);
      return [...canvas.getContext("2d").getImageData(x, y, 1, 1).data];
    }"""
    return view.evaluate(script, token)


def test_values_are_colored_from_the_dark_end_to_the_light_one(opened, file, record):
    view = opened(file)
    view.uncheck("#show-words")
    for each in record["maps"]:
        view.select_option("#layer", each["name"])
        values = record["tokens"]["values"][each["name"]]
        ends = (values.index(min(values)), [68, 1, 84]), (values.index(max(values)), [253, 231, 37])
        for token, color in ends:
            assert pixel(view, token)[:3] == pytest.approx(color, abs=2)
        ticks = view.get_attribute("#scale", "aria-label").split(": ")[1].split(", ")
        ends = [float(ticks[0].removeprefix("≤ ")), float(ticks[-1].removeprefix("≥ "))]
        assert ends == pytest.approx([each["low"], each["high"]], rel=0.05)
        assert each["about"] in view.text_content("#about")


def test_dropped_tokens_are_covered_and_kept_ones_are_not(opened, file):
    view = opened(file)
    view.uncheck("#show-words")
    view.click("#methods input[value='2']")
    slide(view, "keep", "0.2")
    here = set(kept(view, 2))
    assert all((pixel(view, token)[3] == 0) == (token in here) for token in range(144))


def test_disagreement_is_colored_by_how_many_keep_a_token(opened, file):
    view = opened(file)
    view.uncheck("#show-words")
    view.select_option("#layer", "votes")
    votes = view.evaluate("currentVotes()")
    places = [view.evaluate("colorAt", count / len(METHODS)) for count in votes]
    assert all(pixel(view, i)[:3] == pytest.approx(places[i], abs=2) for i in range(0, 144, 5))
    all_, none = votes.count(len(METHODS)), votes.count(0)
    text = f"kept by all {len(METHODS)} pruners: {all_}; by some: {144 - all_ - none}; by none: {none}"
    assert text in view.text_content("#agreement")


def test_answers_stand_side_by_side_and_their_shares_can_be_shown(opened, file, record):
    view = opened(file)
    rows = view.locator("#answer-table tbody tr")
    assert record["answer"] in rows.nth(0).inner_text()
    for i, method in enumerate(record["methods"]):
        cells = rows.nth(i + 1).locator("td").all_inner_texts()
        for cell, choice in zip(cells, method["choices"], strict=True):
            said = cell.splitlines()[0]
            assert said == ("" if choice["answer"] == record["answer"] else "≠ ") + choice["answer"]
    view.click("#answer-table button >> text=50%")
    assert "50% = 72 of 144" in view.text_content("#share")


def test_a_word_rings_the_tokens_that_say_it_first(opened, file, record):
    view = opened(file)
    rows = view.locator("#word-table tbody tr").all_inner_texts()
    assert [row.split("\t")[:2] for row in rows] == [
        [row["word"] or "· (nothing)", str(row["tokens"])] for row in record["words"]
    ]
    view.click("#word-table button >> text=pig")
    silent = record["tokens"]["says_nothing"]
    says = [
        None if nothing else words[0][0]
        for words, nothing in zip(record["tokens"]["words"], silent, strict=True)
    ]
    assert view.evaluate("record.tokens.cell.map((_, token) => tokenStyle().ring(token))") == [
        w == "pig" for w in says
    ]


def test_tokens_that_say_nothing_are_ringed_as_such_and_say_so(opened):
    record = made_up(grids=((0, 2, 2),))
    record["tokens"]["says_nothing"] = [False, True, True, False]
    record["words"] = [
        {"word": "sky", "tokens": 2, "confidence": 0.5},
        {"word": None, "tokens": 2, "confidence": 0.5},
    ]
    view = opened(record)
    rings = "record.tokens.cell.map((_, token) => tokenStyle().ring(token))"
    for label, ringed in (("· (nothing)", [False, True, True, False]), ("sky", [True, False, False, True])):
        view.click(f"#word-table button >> text={label}")
        assert view.evaluate(rings) == ringed
    view.click("#word-table button >> text=sky")
    assert view.evaluate(rings) == [False] * 4, "nothing is chosen any more"
    assert view.get_attribute("[data-token='1']", "aria-label") == "row 1, column 2: nothing"
    view.locator("[data-token='1']").click()
    assert "It says nothing" in view.inner_text("#details")
    view.locator("[data-token='0']").click()
    assert "It says nothing" not in view.inner_text("#details")


def test_several_pictures_have_a_strip_and_a_slider_and_are_seen_one_at_a_time(opened):
    view = opened(made_up(panels=3))
    assert view.locator("figure").count() == 1
    view.locator("#strip button").nth(2).click()
    assert view.locator("[role=gridcell]").first.get_attribute("data-token") == "288"
    assert view.input_value("#frame") == "2"
    view.focus("#frame")
    view.keyboard.press("ArrowLeft")
    assert view.locator("[role=gridcell]").first.get_attribute("data-token") == "144"
    assert view.text_content("#title") == view.inner_text("figcaption") == "panel 1"
    assert view.locator("#strip [aria-pressed=true]").count() == 1


def test_the_crops_of_a_picture_can_be_switched(opened):
    view = opened(made_up(grids=((0, 3, 3), (1, 4, 6))))
    assert view.locator("[role=gridcell]").count() == 9
    view.select_option("#crop", "1")
    assert view.locator("[role=gridcell]").count() == 24
    corner = view.locator("[data-token='32']").bounding_box()
    stage = view.locator(".stage").bounding_box()
    assert corner["x"] + corner["width"] == pytest.approx(stage["x"] + stage["width"], abs=2)
    assert corner["width"] == pytest.approx(stage["width"] / 6, abs=2)
    assert "4 rows and 6 columns" in view.get_attribute("[role=grid]", "aria-label")
    view.evaluate("location.hash = 'crop=7'")
    until(view, "state.crop === 7")
    assert view.input_value("#crop") == "0", "which is shown where there is no such crop"


def test_the_page_opens_on_what_is_kept_and_says_what_it_costs(opened, file, record):
    view = opened(file)
    assert record["findings"][0][1] in view.inner_text("#finding")
    here = set(kept(view, 0))
    for token in (0, 66, 109, *sorted(here)[:5]):
        assert view.evaluate("(token) => tokenStyle().isGray(token)", token) == (token not in here)
    said = [words[0][0] for words in record["tokens"]["words"]]
    left = {said[token] for token in here}
    for word in set(said):
        assert view.evaluate("(word) => tokenStyle().isLost(word)", word) == (word not in left)


def test_right_and_wrong_answers_are_marked(opened):
    record = made_up() | {"truth": ["sea", "ocean"], "right": False}
    record["methods"][0]["choices"][0]["right"] = True
    view = opened(record)
    assert view.inner_text("#answered") == "With all 144 tokens it answers: sky ✗ (true: sea or ocean)"
    rows = view.locator("#answer-table tbody tr").all_inner_texts()
    assert ["✗" in rows[0], "✓" in rows[1]] == [True, True]


def test_two_pruners_are_seen_side_by_side(opened, file, record):
    view = opened(file)
    view.click("#methods input[value='1']")
    view.select_option("#beside", METHODS[2])
    captions = view.locator("figcaption").all_inner_texts()
    assert captions == [f"{METHODS[i]}: {record['findings'][i][1]}" for i in (1, 2)]
    gray = "(i) => record.tokens.cell.map((_, token) => tokenStyle(seen()[i][1]).isGray(token))"
    for i in (0, 1):
        assert view.evaluate(gray, i) == [token not in set(kept(view, i + 1)) for token in range(144)]
    view.locator("figure").nth(1).locator("[data-token='40']").click()
    assert view.locator(".selected").count() == 2
    view.select_option("#beside", "")
    assert view.locator("figure").count() == 1


def test_the_address_leads_back_to_what_was_seen(opened, file):
    view = opened(file)
    view.click("#methods input[value='1']")
    slide(view, "keep", "0.29")
    view.locator("[data-token='109']").click()
    view.select_option("#layer", "global")
    view.fill("#search", "pig")
    until(view, "location.hash.includes('pig')")
    address = view.evaluate("location.hash")
    view.evaluate("location.hash = ''")
    until(view, "state.token === null")
    assert "29%" not in view.text_content("#share")
    view.evaluate("(address) => { location.hash = address }", address)
    until(view, "state.token === 109")
    assert "Token at row 10, column 2" in view.inner_text("#details")
    assert "29% = 42 of 144" in view.text_content("#share")
    assert (view.input_value("#layer"), view.input_value("#search")) == ("global", "pig")
    assert view.locator("#methods input:checked").get_attribute("value") == "1"


def test_the_address_has_the_threshold_of_the_pruner_that_is_shown(opened, file):
    view = opened(file)
    slide(view, "threshold", "731")
    until(view, "location.hash.includes('threshold=')")
    view.click("#methods input[value='1']")
    until(view, "location.hash.includes('pruner=')")
    assert "threshold=" not in view.evaluate("location.hash")
    view.click("#methods input[value='0']")
    until(view, "location.hash.includes('threshold=')")


def test_on_a_desk_the_pruners_are_in_sight_whatever_is_said_of_a_token(opened, file):
    view = opened(file)
    view.locator("[data-token='109']").click()
    panel = view.locator("#keeping").bounding_box()
    assert panel["y"] + panel["height"] < DESK["height"]


def test_a_search_leads_from_token_to_token(opened, file, record):
    view = opened(file)
    pigs = [i for i, words in enumerate(record["tokens"]["words"]) if words[0][0] == "pig"]
    view.fill("#search", "pig")
    assert view.inner_text("#found") == f"{len(pigs)} of 144 tokens say it"
    for token in (*pigs, pigs[0]):
        view.press("#search", "Enter")
        assert view.evaluate("state.token") == token


def test_a_picture_is_zoomed_and_dragged(opened):
    view = opened(made_up(grids=((0, 24, 24),)))
    stage = view.locator(".stage").bounding_box()
    view.click("#larger")
    cell = view.locator("[data-token='0']")
    assert cell.bounding_box()["width"] == pytest.approx(1.5 * stage["width"] / 24, rel=0.02)
    before = cell.bounding_box()["x"]
    view.mouse.move(stage["x"] + 300, stage["y"] + 300)
    view.mouse.down()
    view.mouse.move(stage["x"] + 340, stage["y"] + 300, steps=5)
    view.mouse.up()
    assert cell.bounding_box()["x"] == pytest.approx(before + 40, abs=7)
    assert view.evaluate("state.token") is None, "a drag is no click"
    view.click("#whole")
    assert cell.bounding_box()["x"] == pytest.approx(stage["x"], abs=2)
    view.mouse.move(stage["x"] + 10, stage["y"] + 10)
    view.keyboard.down("Control")
    view.mouse.wheel(0, -200)
    until(view, "zoom.scale > 2")


def test_a_tour_of_five_steps_is_walked_by_keyboard(opened, file):
    view = opened(file)
    view.focus("#tour-start")
    for number in range(1, 6):
        view.keyboard.press("Enter")
        assert f"{number} of 5" in view.inner_text("#tour")
        assert view.locator(".toured").count() == 1
    view.keyboard.press("Enter")
    assert view.locator("#tour").count() == 0
    assert view.evaluate("document.activeElement.id") == "tour-start"
    for _ in range(2):
        view.click("#tour-start")
        assert view.locator("#tour").count() == 1


def test_a_measure_is_explained_where_it_is_pointed_at_or_focused(opened, file, record):
    view = opened(file)
    view.locator("[data-token='5']").click()
    view.click("#details summary")
    helps = view.locator("#details .help")
    for i, each in enumerate(record["maps"][:2]):
        helps.nth(i).focus()
        assert view.inner_text("#tip") == each["about"]
    view.keyboard.press("Escape")
    assert view.is_hidden("#tip")


def test_the_picture_is_saved_as_it_is_seen(opened, file):
    view = opened(file)
    with view.expect_download() as download:
        view.click("#save")
    path = SHOTS / "saved.png"
    download.value.save_as(path)
    assert download.value.suggested_filename == "wordsight.png"
    with Image.open(path) as saved:
        stage = view.locator(".stage").bounding_box()
        assert saved.width > stage["width"]
        assert saved.height > stage["height"]
        assert len(saved.convert("RGB").getcolors(1 << 24)) > 1000


@pytest.mark.parametrize("token", [0, 77, 109, 143])
def test_on_a_phone_a_token_is_never_behind_what_is_said_of_it(opened, file, token):
    view = opened(file, PHONE)
    view.locator(f"[data-token='{token}']").click()
    cell, sheet = view.locator(".selected").bounding_box(), view.locator("#details").bounding_box()
    assert cell["y"] >= 0
    assert cell["y"] + cell["height"] <= sheet["y"]
    assert [
        view.locator(f"#{panel}").get_attribute("open") is None for panel in ("answers", "words", "notes")
    ] == [True] * 3


def test_words_of_a_model_are_text_and_nothing_else(opened):
    evil = "</script><img src=x onerror='window.harmed = 1'><b id=harm>"
    view = opened(made_up(word=evil, name=evil))
    view.locator("[role=gridcell]").nth(3).click()
    assert view.evaluate("window.harmed") is None
    assert view.locator("#harm").count() == 0
    for place in ("#answered", "#details", "#word-table", "#methods", "#note-list", "#answer-table"):
        assert evil in view.inner_text(place), place


def test_twenty_times_the_tokens_take_no_more_than_in_proportion(opened):
    """To open the page and to move the slider; what is quadratic would take 430 times as long."""

    def taken(*grids):
        """Milliseconds until the page is there, and for a step of the slider: the least of three pages."""
        pages = []
        for _ in range(3):
            view = opened(made_up(grids=grids))
            if len(grids) > 1:
                view.select_option("#crop", "1")
            moved = view.evaluate("""() => Array.from({length: 25}, (_, i) => {
              const slider = document.getElementById("keep"), begun = performance.now();
              slider.value = (i + 2) / 50;
              slider.dispatchEvent(new Event("input"));
              document.body.getBoundingClientRect();
              return performance.now() - begun;
            })""")
            ready = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
            pages.append((view.evaluate(ready), median(moved)))
        return [min(times) for times in zip(*pages, strict=True)]

    few, many = taken((0, 12, 12)), taken((0, 24, 24), (1, 48, 50))
    print(f"interactive after {few[0]:.0f} and {many[0]:.0f} ms, slider {few[1]:.1f} and {many[1]:.1f} ms")
    more = (24 * 24 + 48 * 50) / (12 * 12)
    assert many[0] < 2 * more * few[0]
    assert many[1] < 2 * more * max(few[1], 0.1)


VIEWS = {
    "desk-light": (DESK, "light", "kept"),
    "desk-dark": (DESK, "dark", "kept"),
    "phone-light": (PHONE, "light", "global"),
    "phone-dark": (PHONE, "dark", "votes"),
}


@pytest.mark.parametrize("name", VIEWS)
def test_the_page_fits_light_and_dark_desks_and_phones(opened, file, name):
    viewport, scheme, map_name = VIEWS[name]
    view = opened(file, viewport, color_scheme=scheme)
    view.select_option("#layer", map_name)
    view.locator("[role=gridcell]").nth(109).click()
    assert view.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    paper = view.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 28)"}[scheme]
    assert view.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    SHOTS.mkdir(parents=True, exist_ok=True)
    view.screenshot(path=SHOTS / f"{name}.png", full_page=True)
    assert (SHOTS / f"{name}.png").stat().st_size > 20_000


@pytest.mark.parametrize("name", VIEWS)
def test_an_automated_check_of_accessibility_finds_nothing(opened, file, name):
    """All rules of axe-core but its experimental ones; what is on the canvas it cannot see."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="no axe; `make browser` installs it"
    )
    viewport, scheme, map_name = VIEWS[name]
    view = opened(file, viewport, color_scheme=scheme)
    view.select_option("#layer", map_name)
    view.locator("[role=gridcell]").nth(109).click()
    found = axe.Axe().run(view).response["violations"]
    assert {rule["id"]: [node["html"] for node in rule["nodes"]][:3] for rule in found} == {}


def test_every_picture_and_control_has_a_name(opened):
    view = opened(made_up(panels=2, grids=((0, 3, 3), (1, 4, 6))))
    nameless = view.evaluate("""() =>
      [...document.querySelectorAll("img, input, select, button, [role=grid]")]
      .filter((one) => !(one.alt || one.labels?.length || one.getAttribute("aria-label") || one.textContent ||
                         one.querySelector("img")?.alt)).map((one) => one.outerHTML)""")
    assert nameless == []


def test_the_record_is_in_the_page_as_it_was_made(file, record):
    inside = json.loads(file.read_text("utf-8").partition('id="record">')[2].partition("</script>")[0])
    del inside["panels"][0]["picture"]
    assert inside == record
    assert file.stat().st_size < 3_000_000
