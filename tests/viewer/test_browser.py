"""The start page in a real browser: a picture is chosen, a question asked, and its page read.

`make browser` installs what is needed. Pictures of the page are left in build/browser.
"""

import json
import shutil
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

import wordsight.demo
from wordsight._utils.progress import report_found, subtask
from wordsight.explain.record import ExplainRequest
from wordsight.viewer.handler import ExplainResult, RequestHandler
from wordsight.viewer.jobs import WAITING
from wordsight.viewer.uploads import MIB

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "build" / "browser"
PICTURES = Path(wordsight.demo.__file__).parent / "pictures"
GARDEN, NIGHT = PICTURES / "garden.png", PICTURES / "night.png"
QUESTION = next(iter(wordsight.demo.QUESTIONS[GARDEN.name]))
PHONE, DESK = {"width": 360, "height": 640}, {"width": 1280, "height": 900}
VIEWS = {
    "desk-light": (DESK, "light"),
    "desk-dark": (DESK, "dark"),
    "phone-light": (PHONE, "light"),
    "phone-dark": (PHONE, "dark"),
}


@pytest.fixture(scope="module")
def site(serving, embedded):
    """A server of the embedded model, all as the command line has it."""
    with serving(RequestHandler(embedded, partial(ExplainRequest, book="demo")), max_upload=MIB) as site:
        yield site


@pytest.fixture
def opened(browser):
    """A function that opens the start page of a site; complaints and requests to elsewhere fail the test."""
    views, complaints, asked, homes = [], [], [], []

    def open_page(site, viewport=DESK, **options):
        view = browser.new_page(viewport=viewport, reduced_motion="reduce", **options)
        view.set_default_timeout(90_000)  # milliseconds: an answer takes long on a busy machine
        views.append(view)
        homes.append(site.url)
        view.on("console", lambda message: complaints.append(message.text))
        view.on("pageerror", lambda error: complaints.append(str(error)))
        view.on("request", lambda request: asked.append(request.url))
        view.goto(f"{site.url}/")
        view.wait_for_selector("#examples img")
        return view

    yield open_page
    for view in views:
        view.close()
    # What the server refuses, or no longer answers, is logged by the browser itself.
    assert [text for text in complaints if not text.startswith("Failed to load resource")] == []
    assert [url for url in asked if not url.startswith(("data:", "blob:", *homes))] == []


def answer(view):
    """Wait for the answer: its text, and the frame of its page."""
    view.wait_for_selector("#status:text-matches('^Answer: ')")
    return view.inner_text("#status").removeprefix("Answer: "), view.frame_locator("#explanation")


def ask(view, *paths, question=QUESTION):
    view.set_input_files("#media", paths)
    view.fill("#question", question)
    view.click("#send")
    return answer(view)


def fetched_record(site, view):
    return site.get(f"/jobs/{view.url.partition('#')[2]}/record")[1]


def test_a_question_is_asked_and_its_page_read(opened, site):
    """What is on the page are the numbers of the record."""
    view = opened(site)
    text, frame = ask(view, GARDEN)
    record = fetched_record(site, view)
    assert text == record["answer"] == frame.locator("#answered strong").inner_text()
    assert record["question"] == QUESTION
    inside = json.loads(frame.locator("#record").text_content())
    assert inside["tokens"] == record["tokens"]
    assert frame.locator("[role=gridcell]").count() == len(record["tokens"]["cell"]) == 144


def test_the_sliders_counts_are_those_of_the_record(opened, site):
    view = opened(site)
    _, frame = ask(view, GARDEN)
    record = fetched_record(site, view)
    frame.locator("#keep").focus()
    for presses, choice in ((0, 1), (30, 2)):
        for _ in range(presses):
            view.keyboard.press("ArrowRight")
        for i, method in enumerate(record["methods"]):
            count = len(method["choices"][choice]["kept"])
            assert frame.locator(f"#count-{i}").inner_text().startswith(f"{count} of 144")
        kept_by = record["agreement"][choice]["kept_by"]
        every = f"kept by all {len(record['methods'])} pruners: {kept_by.count(len(record['methods']))};"
        assert every in frame.locator("#agreement").inner_text()
    assert "50% = 72 of 144" in frame.locator("#share").inner_text()


def test_all_of_it_goes_by_keyboard(opened, site):
    """From the start page to the words of a token, without a mouse."""
    view = opened(site)

    def tab_to(script, limit=40):
        for _ in range(limit):
            view.keyboard.press("Tab")
            if view.evaluate(script):
                return
        pytest.fail(f"not in the order of Tab: {script}")

    tab_to("document.activeElement.closest('#examples') !== null")
    view.keyboard.press("Enter")
    view.wait_for_selector("#chosen li")
    view.wait_for_selector("#question:focus")
    assert view.input_value("#question") == QUESTION
    view.keyboard.press("Enter")
    _, frame = answer(view)
    tab_to("document.activeElement.id === 'explanation'")
    token = frame.locator("[role=gridcell]:focus")
    for _ in range(20):
        if token.count():
            break
        view.keyboard.press("Tab")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        view.keyboard.press(key)
    record = fetched_record(site, view)
    word, chance = record["tokens"]["words"][25][0]
    said = "nothing" if record["tokens"]["says_nothing"][25] else f"{word} {chance:.3g}"
    assert token.get_attribute("aria-label").startswith(f"row 3, column 2, says {said}")
    assert "Token at row 3, column 2" in frame.locator("#details").inner_text()


def drop(view, *paths):
    """Drop files or folders on the page, as a hand would from another window."""
    session, box = view.context.new_cdp_session(view), view.locator("#drop").bounding_box()
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": box["x"] + 5, "y": box["y"] + 5}
        session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})


def test_pictures_are_dropped_and_removed_again(opened, site):
    view = opened(site)
    drop(view, NIGHT)
    assert view.inner_text("#chosen li span") == "night.png"
    assert view.inner_text("#status") == "night.png chosen."
    view.click("#chosen button")
    assert view.locator("#chosen li").count() == 0
    view.click("#send")
    assert view.inner_text("#status") == "Choose a picture or a video first."


def test_the_pictures_of_a_folder_are_chosen_by_name_and_no_more_than_a_question_takes(
    opened, site, tmp_path
):
    (tmp_path / "in").mkdir()
    for name in [".hidden.png", "notes.txt", *(f"in/{number:02}.PNG" for number in range(20)), "b.png"]:
        shutil.copy(GARDEN, tmp_path / name)
    view = opened(site)
    view.set_input_files("#folder", tmp_path)
    assert view.locator("#chosen li span").all_inner_texts() == ["b.png", *(f"{i:02}.PNG" for i in range(15))]
    assert view.inner_text("#status") == "16 of 21 files chosen: a question takes no more."
    drop(view, tmp_path / "in", tmp_path / "b.png")
    view.wait_for_selector("#status:has-text('16 of 21 files chosen: a question takes no more.')")
    assert view.locator("#chosen li span").all_inner_texts() == ["b.png", *(f"{i:02}.PNG" for i in range(15))]
    (tmp_path / "empty").mkdir()
    shutil.move(tmp_path / "notes.txt", tmp_path / "empty")
    view.set_input_files("#folder", tmp_path / "empty")
    assert view.inner_text("#status") == "There is no picture or video in this folder."
    drop(view, NIGHT)
    drop(view, tmp_path / "empty")
    view.wait_for_selector("#status.error:has-text('There is no picture or video in this folder.')")


def test_a_link_is_typed_dropped_or_pasted(opened, site):
    """To a picture of the server itself."""
    view = opened(site)
    view.fill("#link", "http://127.0.0.1:1/x.png")
    view.press("#link", "Enter")
    view.wait_for_selector("#status.error:has-text('cannot fetch')")
    view.fill("#link", f"{site.url}/files/night.png")
    view.press("#link", "Enter")
    view.wait_for_selector("#chosen li:has-text('night.png')")
    for kind, data in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        view.click("#chosen button")
        view.evaluate(
            """([url, kind, data]) => {
              const given = new DataTransfer();
              given.setData("text/plain", url);
              const Kind = kind === "drop" ? DragEvent : ClipboardEvent;
              const event = new Kind(kind, { [data]: given, bubbles: true });
              document.getElementById("drop").dispatchEvent(event);
            }""",
            [f"{site.url}/files/garden.png", kind, data],
        )
        view.wait_for_selector("#chosen li:has-text('garden.png')")
    view.fill("#question", QUESTION)
    view.click("#send")
    assert answer(view)[0] == fetched_record(site, view)["answer"]


def test_the_page_of_an_answer_is_saved_as_one_file(opened, site):
    view = opened(site)
    ask(view, GARDEN)
    with view.expect_download() as saved:
        view.click("#save")
    assert saved.value.suggested_filename == "wordsight.html"
    page = site.send("GET", f"/jobs/{view.url.partition('#')[2]}/page")[2]
    assert Path(saved.value.path()).read_bytes() == page


def test_the_next_question_keeps_the_pictures_and_back_leads_to_the_one_before(opened, site):
    view = opened(site)
    first, frame = ask(view, GARDEN, question="is there a panda in the image?")
    before = view.url
    view.fill("#question", "what is the background?")
    view.keyboard.press("Enter")
    frame.locator("#asked:has-text('what is the background?')").wait_for()
    second = fetched_record(site, view)
    assert view.url != before
    assert second["panels"][0]["title"] == "garden.png"
    view.go_back()
    frame.locator("#asked:has-text('is there a panda')").wait_for()
    assert answer(view)[0] == first
    view.reload()
    assert answer(view)[0] == first


@contextmanager
def held(serving, before=lambda request: None):
    """A site whose work reports what it does, and waits at half of it until it may go on."""
    may_go_on, begun = threading.Semaphore(0), threading.Semaphore(0)

    def work(request):
        with subtask(1, 2, "counting sheep"):
            before(request)
            begun.release()
            may_go_on.acquire()
        return ExplainResult("asleep", "{}", "<!doctype html>")

    with serving(work) as site:
        yield site, begun, may_go_on
        for _ in range(1 + WAITING):
            may_go_on.release()


def at_work(view, begun):
    """The page, whose question has begun to be worked on."""
    view.set_input_files("#media", [GARDEN])
    view.click("#send")
    begun.acquire()
    return view


def test_progress_is_shown_and_announced_to_screen_readers(opened, serving):
    with held(serving) as (site, begun, may_go_on):
        view = at_work(opened(site), begun)
        view.wait_for_selector("#status:has-text('counting sheep …')")
        view.wait_for_selector("#bar[value='0.5']")
        assert view.get_attribute("#status", "role") == "status"
        assert view.get_attribute("#bar", "aria-labelledby") == "status"
        may_go_on.release()
        assert answer(view)[0] == "asleep"
        assert view.is_hidden("#bar")


@pytest.mark.parametrize("name", VIEWS)
def test_words_are_on_their_pictures_before_there_is_an_answer(opened, serving, tiny, name):
    """Those of neighbors once; the upper half of each picture has said its word."""

    def begin(request):
        tokens = tiny.encode(request.media, QUESTION).visual
        report_found(tokens)
        upper = [number for number in range(len(tokens)) if tokens.cell[number, 2] < 6]
        said = {number: "sky" if tokens.cell[number, 3] < 6 else "<b>grass" for number in upper}
        report_found({**said, upper[0]: None})

    with held(serving, begin) as (site, begun, may_go_on):
        viewport, scheme = VIEWS[name]
        view = opened(site, viewport, color_scheme=scheme)
        view.set_input_files("#media", [GARDEN, NIGHT])
        view.click("#send")
        begun.acquire()
        view.wait_for_selector(".said")
        assert view.locator(".said").all_inner_texts() == ["sky", "<b>grass"] * 2
        assert view.locator("#words figcaption").all_inner_texts() == ["1. garden.png", "2. night.png"]
        picture, sky, grass = (
            view.locator(what).first.bounding_box() for what in ("#words img", ".said", ".said >> nth=1")
        )
        assert picture["x"] <= sky["x"] < sky["x"] + sky["width"] <= grass["x"] + 1
        assert grass["x"] + grass["width"] <= picture["x"] + picture["width"] + 1
        assert sky["y"] + sky["height"] <= picture["y"] + picture["height"] / 2 + 1
        view.screenshot(path=SHOTS / f"view-words-{name}.png")
        assert view.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        may_go_on.release()
        assert answer(view)[0] == "asleep"
        assert view.is_hidden("#words")


def test_a_question_is_canceled(opened, serving):
    with held(serving) as (site, begun, may_go_on):
        view = at_work(opened(site), begun)
        view.click("#cancel")
        may_go_on.release()
        view.wait_for_selector("#status.error:has-text('canceled')")
        assert view.is_hidden("#cancel")
        assert view.is_hidden("#bar")


def test_waiting_and_being_busy_are_shown(opened, serving):
    with held(serving) as (site, begun, _):
        view = opened(site)
        file = ("garden.png", GARDEN.read_bytes())
        for _ in range(WAITING):
            assert site.ask(file)[0] == 202
        begun.acquire()
        view.set_input_files("#media", [GARDEN])
        view.click("#send")
        view.wait_for_selector(f"#status:has-text('waiting: {WAITING} before this one')")
        other = opened(site)
        other.set_input_files("#media", [GARDEN])
        other.click("#send")
        other.wait_for_selector("#status.error:has-text('busy: a question is being answered')")
        assert other.is_hidden("#bar")
        assert other.locator("#chosen li").count() == 1, "the picture is there for the next try"


def test_what_the_server_refuses_is_shown_on_the_page(opened, site, tmp_path):
    view = opened(site)
    (tmp_path / "text.png").write_text("no picture")
    view.set_input_files("#media", [tmp_path / "text.png"])
    view.click("#send")
    view.wait_for_selector("#status.error:has-text('text.png is no picture or video that can be read')")
    (tmp_path / "large.png").write_bytes(bytes(MIB + 1))
    view.set_input_files("#media", [tmp_path / "large.png"])
    view.click("#send")
    assert view.inner_text("#status") == "The files have 1.00 MiB together; this server takes up to 1.00 MiB."
    view.goto(f"{site.url}/#gone")
    view.wait_for_selector("#status.error:has-text('no such question')")


def test_names_of_files_are_text_and_nothing_else(opened, site, tmp_path):
    path = tmp_path / "<img src=x onerror=alert(1)>.png"
    shutil.copy(GARDEN, path)
    view = opened(site)
    view.set_input_files("#media", [path])
    assert view.inner_text("#chosen span") == path.name
    view.click("#send")
    _, frame = answer(view)
    assert path.name in frame.locator("figcaption").inner_text()
    assert view.locator("img[src=x]").count() == frame.locator("img[src=x]").count() == 0


def test_the_page_of_an_answer_cannot_reach_the_server_or_the_page_around_it(browser, site):
    view = browser.new_page()
    view.goto(site.url)
    ask(view, GARDEN)
    frame = view.frames[1]
    tried = frame.evaluate("fetch('/health').then(() => 'reached', () => 'refused')")
    around = frame.evaluate("(() => { try { return parent.document.title } catch { return 'refused' } })()")
    assert (frame.evaluate("origin"), tried, around) == ("null", "refused", "refused")
    view.close()


@pytest.mark.parametrize("name", VIEWS)
def test_the_start_page_and_the_answer_fit_desks_and_phones(opened, site, name):
    viewport, scheme = VIEWS[name]
    view = opened(site, viewport, color_scheme=scheme)
    SHOTS.mkdir(parents=True, exist_ok=True)
    view.screenshot(path=SHOTS / f"view-start-{name}.png")
    assert view.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    paper = view.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(22, 24, 28)"}[scheme]
    _, frame = ask(view, GARDEN)
    frame.locator("[role=gridcell]").nth(109).click()
    view.screenshot(path=SHOTS / f"view-{name}.png")
    assert (SHOTS / f"view-{name}.png").stat().st_size > 20_000
    assert view.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert view.evaluate("document.documentElement.scrollHeight") <= viewport["height"]
    assert view.locator("#explanation").bounding_box()["height"] > 0.7 * viewport["height"]
    question = view.locator("#question").bounding_box()
    assert question["width"] > 200, "room for the next question"


@pytest.mark.parametrize("name", VIEWS)
def test_an_automated_check_of_accessibility_finds_nothing(opened, site, name):
    """All rules of axe-core but its experimental ones, on the start page, around an answer, and on it."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="no axe; `make browser` installs it"
    )
    viewport, scheme = VIEWS[name]
    view = opened(site, viewport, color_scheme=scheme)

    def check():
        found = axe.Axe().run(view).response["violations"]
        assert {rule["id"]: [node["html"] for node in rule["nodes"]][:3] for rule in found} == {}

    check()
    view.set_input_files("#media", [NIGHT, GARDEN])
    check()
    view.set_input_files("#media", [GARDEN])
    view.click("#send")
    answer(view)
    check()
    view.goto(f"{site.url}/jobs/{view.url.partition('#')[2]}/page")
    check()
