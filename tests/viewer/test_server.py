"""The server of the page: what it makes of questions, and what it refuses, spoken to in plain HTTP."""

import io
import json
import re
import socket
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import wordsight.demo
from wordsight._utils.progress import subtasks
from wordsight.explain.page import WEB, render_page
from wordsight.explain.panels import pictures
from wordsight.explain.record import ExplainRequest, explain_tokens
from wordsight.media.formats import file_chooser
from wordsight.media.inputs import MediaInput
from wordsight.models import photos
from wordsight.pruners.divprune import DivPrune
from wordsight.redundancy import probe
from wordsight.reports.palette import css
from wordsight.synthetic.scenes import render
from wordsight.viewer import handler as handler_module
from wordsight.viewer import limits, server, uploads
from wordsight.viewer.handler import ExplainResult, RequestHandler
from wordsight.viewer.jobs import KEPT, WAITING
from wordsight.viewer.server import FILES
from wordsight.viewer.uploads import open_uploads

MIB = 2**20
MEASURE_TOKENS = handler_module.measure_tokens
MAKE_REQUEST = partial(ExplainRequest, pruners=[DivPrune()], keeps=(0.5,))


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def moving(kind):
    file = io.BytesIO()
    render(1).image.save(file, kind, save_all=True, append_images=[render(2).image])
    return file.getvalue()


def film(frames=2):
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 192
        stream.pix_fmt = "yuv420p"
        for i in range(frames):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((192, 192, 3), 20 * i, np.uint8))))
        out.mux(stream.encode())
    return file.getvalue()


PICTURE = png(render(1).image)
FILE = ("good.png", PICTURE)


def quick(request):
    """No experiments: what is tested is what comes before and after them."""
    record = {"names": list(request.names), "question": request.question}
    return ExplainResult("yes", json.dumps(record), "<p>page</p>")


@pytest.fixture(scope="module")
def site(serving):
    with serving(quick, max_upload=MIB) as site:
        yield site


@pytest.fixture(scope="module")
def real(serving, tiny):
    """A server of the tiny model."""
    with serving(RequestHandler(tiny, MAKE_REQUEST)) as site:
        yield site


def test_the_page_and_the_record_are_those_of_explain(real, tiny):
    job = real.over(real.ask(FILE, question="what is the background?")[1])
    media = MediaInput.of(render(1).image)
    record = explain_tokens(tiny, media, MAKE_REQUEST(names=["good.png"], question="what is the background?"))
    assert job["state"] == "done"
    assert job["answer"] == record["answer"]
    assert real.get(f"/jobs/{job['id']}/record") == (200, json.loads(json.dumps(record)))
    status, headers, body = real.send("GET", f"/jobs/{job['id']}/page")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert body.decode() == render_page(record, pictures(media, record["panels"]))


def test_several_pictures_are_numbered_and_an_empty_question_is_the_papers(real):
    job = real.over(real.ask(FILE, FILE, question=" ")[1])
    record = real.get(f"/jobs/{job['id']}/record")[1]
    assert [panel["title"] for panel in record["panels"]] == ["1. good.png", "2. good.png"]
    assert record["question"] == record["probe_question"]


def test_a_video_has_a_panel_for_every_frame(real):
    job = real.over(real.ask(("trip.MP4", film()))[1])
    titles = [panel["title"] for panel in real.get(f"/jobs/{job['id']}/record")[1]["panels"]]
    assert titles == ["trip.MP4, frame 1, 0.0 s", "trip.MP4, frame 2, 0.2 s"]


def test_the_next_question_about_the_same_pictures_does_not_measure_them_again(served, tiny, monkeypatch):
    measured = []

    def counting(*given):
        measured.append(1)
        return MEASURE_TOKENS(*given)

    monkeypatch.setattr(handler_module, "measure_tokens", counting)
    other = ("other.png", png(render(2).image))
    site = served(RequestHandler(tiny, MAKE_REQUEST))
    found = []
    for file in (FILE, FILE, other):
        job = site.over(site.ask(file, question="is there a cat?")[1])
        found.append((len(measured), site.get(f"/jobs/{job['id']}/record")[1]))
    assert [count for count, _ in found] == [1, 1, 2]
    assert found[0] == found[1]
    assert found[1][1]["tokens"] != found[2][1]["tokens"]


def test_the_same_pictures_in_another_order_are_others():
    other = ("other.png", png(render(2).image))
    digests = {
        open_uploads(files, "what?").digest for files in ([FILE], [other], [FILE, other], [other, FILE])
    }
    assert len(digests) == 4
    assert open_uploads([FILE], "what?").digest == open_uploads([("renamed.png", PICTURE)], "why?").digest


def test_progress_is_reported_while_tokens_are_measured(served, tiny, monkeypatch):
    """The work waits at its middle until somebody has looked."""
    reached, looked = threading.Event(), threading.Event()
    ablation = MEASURE_TOKENS.__globals__["ablation"]
    ablate_regional = ablation.ablate_regional

    def slow(*given, **named):
        reached.set()
        looked.wait()
        return ablate_regional(*given, **named)

    monkeypatch.setattr(ablation, "ablate_regional", slow)
    site = served(RequestHandler(tiny, MAKE_REQUEST))
    submitted = site.ask(FILE)[1]
    reached.wait()
    job = site.get(f"/jobs/{submitted['id']}")[1]
    looked.set()
    assert job["state"] == "working"
    assert job["says"] == "asking each of 144 visual tokens what it says, and what its absence changes"
    assert job["share"] == pytest.approx((1 + 1 / 3) / 5)  # a third of the second of five steps
    assert site.over(submitted)["state"] == "done"


def test_words_come_as_they_are_computed_and_are_those_of_the_record(served, tiny, monkeypatch):
    """The work waits after its second pass of tokens until somebody has looked."""
    passes, reached, looked = [], threading.Event(), threading.Event()
    find = probe.report_found

    def slow(part):
        passes.append(find(part))
        if len(passes) == 2:
            reached.set()
            looked.wait()

    monkeypatch.setattr(probe, "report_found", slow)
    site = served(RequestHandler(replace(tiny, pass_tokens=400), MAKE_REQUEST))
    started = site.ask(FILE, FILE)[1]
    assert started["words"] == {}
    reached.wait()
    words = site.get(f"/jobs/{started['id']}")[1]["words"]
    status, places = site.get(f"/jobs/{started['id']}/places")
    looked.set()
    job = site.over(started)
    record = site.get(f"/jobs/{job['id']}/record")[1]
    tokens, shown = record["tokens"], [panel.pop("picture") for panel in places["panels"]]
    said = [
        None if nothing else pairs[0][0]
        for pairs, nothing in zip(tokens["words"], tokens["says_nothing"], strict=True)
    ]
    assert 10 < len(words) < len(said) == 288
    assert words == {number: said[int(number)] for number in words}
    assert status == 200
    assert places == {
        "format": 1, "panels": record["panels"], "cell": tokens["cell"], "box": tokens["box"]
    }  # fmt: skip
    assert shown == pictures(MediaInput.of([render(1).image] * 2), record["panels"])
    assert (job["state"], job["words"]) == ("done", {})
    assert site.get(f"/jobs/{job['id']}/places") == (409, {"error": "this question is done: done"})


def test_a_full_queue_is_busy_and_health_is_answered_meanwhile(served):
    may_go_on = threading.Semaphore(0)
    site = served(lambda request: may_go_on.acquire() and quick(request))
    jobs = [site.ask(FILE)[1] for _ in range(1 + WAITING)]
    assert [job["ahead"] for job in jobs] == list(range(1 + WAITING))
    body, kind = site.form([("media", *FILE)])
    status, headers, reply = site.send("POST", "/explain", body, {"content-type": kind})
    assert (status, headers["retry-after"]) == (503, "5")
    assert json.loads(reply)["error"].startswith(f"busy: a question is being answered and {WAITING} are")
    _, health = site.get("/health")
    assert (health["status"], health["waiting"], health["room"]) == ("ok", WAITING, 0)
    status, reply = site.get(f"/jobs/{jobs[2]['id']}/page")
    assert (status, reply["error"]) == (409, "this question is waiting: waiting")
    for _ in jobs:
        may_go_on.release()
    assert site.over(jobs[-1])["answer"] == "yes"
    assert site.ask(FILE)[0] == 202
    may_go_on.release()


def test_a_question_that_waits_is_canceled_at_once_and_one_at_work_at_its_next_pass(served):
    begun, may_go_on, reached = threading.Event(), threading.Event(), []

    def work(request):
        for number in subtasks(range(3), 3):
            reached.append(number)
            begun.set()
            may_go_on.wait()
        return ExplainResult("yes", "{}", "")

    site = served(work)
    first, second = (site.ask(FILE)[1] for _ in range(2))
    begun.wait()
    canceled = json.loads(site.send("DELETE", f"/jobs/{second['id']}")[2])
    assert (canceled["state"], site.get("/health")[1]["waiting"]) == ("canceled", 0)
    assert json.loads(site.send("DELETE", f"/jobs/{first['id']}")[2])["state"] == "working"
    may_go_on.set()
    assert site.over(first)["state"] == "canceled"
    assert site.get(f"/jobs/{first['id']}/places")[0] == 409
    assert site.get(f"/jobs/{first['id']}/page") == (409, {"error": "this question is canceled: canceled"})
    third = site.over(site.ask(FILE)[1])
    assert (third["state"], reached) == ("done", [0, 0, 1, 2])
    assert json.loads(site.send("DELETE", f"/jobs/{third['id']}")[2]) == third


def test_a_page_of_another_site_cannot_cancel_and_no_job_is_no_job(site):
    assert site.send("DELETE", "/jobs/x", headers={"origin": "http://evil.example"})[0] == 403
    assert site.send("DELETE", "/jobs/x")[0] == 404


def test_health_says_who_is_there(site):
    status, health = site.get("/health")
    assert status == 200
    assert health.pop("wordsight") == wordsight.__version__
    assert health == {
        "format": 1, "status": "ok", "model": "made-up", "working": False, "waiting": 0, "room": 1 + WAITING,
        "max_upload": MIB, "max_files": 16, "takes_links": True,
    }  # fmt: skip


def test_old_questions_are_forgotten_with_a_sentence(site):
    jobs = [site.over(site.ask(FILE)[1]) for _ in range(KEPT + 2)]
    for path in ("", "/places", "/page", "/record"):
        status, reply = site.get(f"/jobs/{jobs[0]['id']}{path}")
        assert status == 404
        assert reply["error"].startswith("no such question: only the last 16 are kept")
    assert site.get(f"/jobs/{jobs[-1]['id']}/record")[0] == 200


def enormous():
    """A picture of 200 million pixels in a few bytes."""
    return png(Image.new("1", (20_000, 10_000)))


REFUSED = [
    ((), "at least one image or video; got none"),
    ((("text.png", b"not a picture"),), "text.png is no picture or video that can be read"),
    ((("cut.png", PICTURE[:-900]),), "cut.png is damaged or cut short"),
    ((("huge.png", enormous()),), "huge.png is enormous"),
    ((("text.mp4", b"no film"),), "text.mp4 is no video that can be read"),
    (
        (("list.mp4", b"ffconcat version 1.0\nfile pyproject.toml\n"),),
        "list.mp4 is no video that can be read",
    ),
    ((FILE, ("trip.mp4", film())), "about pictures or about videos, not both"),
    ((("empty.png", b""),), "empty.png is no picture"),
    ((("", PICTURE[:-900]),), "unnamed is damaged"),
    ((("../../../etc/passwd", b"x"),), "^passwd is no picture"),
    ((("C:\\\\pictures\\\\cat.png", b"x"),), "^cat.png is no picture"),
    ((("x" * 500 + ".png", b"x"),), "^x{76}.png is no picture"),
]


@pytest.mark.parametrize(("files", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_what_is_no_picture_is_refused_in_the_librarys_sentence(site, files, sentence):
    status, reply = site.ask(*files)
    assert status == 422
    assert list(reply) == ["error"]
    assert re.search(sentence, reply["error"])
    assert "/tmp" not in reply["error"]


def test_what_was_assumed_of_a_picture_is_a_note(real):
    levels = np.asarray(render(1).image.convert("L"), np.uint16) * 16
    job = real.over(real.ask(("scan.png", png(Image.fromarray(levels))))[1])
    (note,) = real.get(f"/jobs/{job['id']}/record")[1]["notes"]
    assert note.startswith("scan.png: its values reach ")
    assert note.endswith("4095 is taken as white")


def test_the_file_chooser_offers_what_is_read(site):
    page = site.send("GET", "/")[2].decode()
    assert f'accept="{file_chooser()}"' in page


def test_too_many_pixels_together_are_refused(site, monkeypatch):
    monkeypatch.setattr(uploads, "PIXELS", 1_500_000)
    flat = png(Image.new("1", (1000, 1000)))
    assert site.ask(("a.png", flat))[0] == 202
    status, reply = site.ask(("a.png", flat), ("b.png", flat))
    assert status == 422
    assert reply["error"].startswith(
        "b.png has 1.0 million pixels, there is room for 0.5 million; give fewer"
    )


def test_a_question_is_bounded(site):
    status, reply = site.ask(FILE, question="x" * 2001)
    assert (status, reply["error"]) == (422, "the question has 2001 characters; expected at most 2000")


def test_a_label_is_all_that_is_left_of_a_files_name(site):
    job = site.over(site.ask(("../../x.png", PICTURE), ("/etc/passwd.png", PICTURE))[1])
    assert site.get(f"/jobs/{job['id']}/record")[1]["names"] == ["x.png", "passwd.png"]


@pytest.mark.parametrize("name", ["model", "pruner", "codebook", "path"])
def test_a_client_cannot_choose_what_the_server_loads(site, name):
    body, kind = site.form([("media", *FILE), (name, None, b"../../secret")])
    status, _, reply = site.send("POST", "/explain", body, {"content-type": kind})
    assert status == 422
    assert f"the form has a text called '{name}'; expected files called 'media'" in json.loads(reply)["error"]


@pytest.mark.parametrize("path", ["/etc/passwd", "demo", "good.png"])
def test_a_path_in_place_of_a_file_is_refused(site, path):
    body, kind = site.form([("media", None, path.encode())])
    status, _, reply = site.send("POST", "/explain", body, {"content-type": kind})
    assert status == 422
    assert "the form has a text called 'media'" in json.loads(reply)["error"]


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=edge", b"nonsense", 400),
        ("application/json", b'{"media": "/etc/passwd"}', 422),
        ("application/x-www-form-urlencoded", b"media=/etc/passwd", 422),
    ],
)
def test_a_body_that_is_no_such_form_is_reported(site, kind, body, status):
    found, _, reply = site.send("POST", "/explain", body, {"content-type": kind})
    assert found == status
    assert json.loads(reply)["error"]


def test_a_failure_inside_is_reported_and_the_server_goes_on(served, caplog):
    def failing(request):
        raise RuntimeError(f"at {Path(__file__).parent}")

    site = served(failing)
    job = site.over(site.ask(FILE)[1])
    assert job["state"] == "failed"
    assert job["says"] == "internal error (RuntimeError); see the terminal that the server runs in"
    assert str(Path(__file__).parent) in caplog.text
    assert site.get("/health")[1]["room"] == 1 + WAITING


def test_questions_that_are_still_being_sent_take_room_too(served):
    site = served(quick)
    body, kind = site.form([("media", *FILE)])
    with ExitStack() as stack:
        for _ in range(1 + WAITING):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=60))
            client.sendall(
                b"POST /explain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
                b"Content-Type: multipart/form-data; boundary=edge\r\n\r\n--edge\r\n"
            )
        while (found := site.send("POST", "/explain", body, {"content-type": kind}))[0] == 202:
            site.over(json.loads(found[2]))
        assert (found[0], found[1]["retry-after"]) == (503, "5")
        assert json.loads(found[2])["error"].startswith("busy: as many questions as there is room for")
    while site.ask(FILE)[0] == 503:
        pass
    assert site.ask(FILE)[0] == 202


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /health HTTP/1.1\r\n",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n",
    ],
)
def test_a_connection_on_which_no_request_ends_is_closed_in_time(served, monkeypatch, sent):
    """However often a byte of it comes."""
    monkeypatch.setattr(limits, "HEADERS", 0.5)
    site = served(quick)
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as client:
        client.sendall(sent)
        client.settimeout(0.1)
        deadline = time.monotonic() + 10
        with suppress(ConnectionError):
            while time.monotonic() < deadline:
                with suppress(TimeoutError):
                    if not client.recv(2**16):
                        break
                if sent:
                    client.sendall(b"x")
    assert time.monotonic() < deadline


def test_a_request_in_time_is_answered_however_long_that_takes(served, monkeypatch):
    monkeypatch.setattr(limits, "HEADERS", 0.2)

    monkeypatch.setattr(server, "open_uploads", lambda files, question: time.sleep(0.6))
    assert served(lambda request: None).ask(FILE)[0] == 202


def test_a_body_that_comes_too_slowly_gives_its_place_to_others(served, monkeypatch):
    monkeypatch.setattr(limits, "GRACE", 0.5)
    site = served(quick)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=60))
            for _ in range(1 + WAITING)
        ]
        for client in clients:
            client.sendall(
                b"POST /explain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
                b"Content-Type: multipart/form-data; boundary=edge\r\n\r\n--edge\r\n"
            )
        for client in clients:
            assert client.recv(2**16).startswith(b"HTTP/1.1 408 ")
        assert site.ask(FILE)[0] == 202


def test_what_should_not_happen_is_reported_in_a_sentence_with_every_header(site, monkeypatch, caplog):
    def failing(files, question):
        raise KeyError("what")

    monkeypatch.setattr(server, "open_uploads", failing)
    body, kind = site.form([("media", *FILE)])
    status, headers, reply = site.send("POST", "/explain", body, {"content-type": kind})
    assert (status, json.loads(reply)) == (
        500,
        {"error": "internal error (KeyError); see the terminal that the server runs in"},
    )
    assert headers["x-content-type-options"] == "nosniff"
    deadline = time.monotonic() + 10  # it is logged once it is answered
    while "KeyError" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_body_that_is_announced_as_too_large_is_not_read(site):
    headers = {"content-type": "multipart/form-data; boundary=edge", "content-length": str(MIB + 1)}
    status, _, reply = site.send("POST", "/explain", None, headers)
    assert status == 413
    assert json.loads(reply)["error"].startswith(
        "the files are larger than 1 MiB together; make them smaller"
    )


def test_a_body_of_no_announced_length_is_refused_before_it_ends(site):
    start, _, _ = site.form([("media", "large.png", b"")])[0].partition(b"--edge--")
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as client:
        client.sendall(
            b"POST /explain HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=edge\r\n\r\n"
            + f"{len(start):x}\r\n".encode() + start + b"\r\n"
        )  # fmt: skip
        client.sendall((b"10000\r\n" + bytes(2**16) + b"\r\n") * 20)  # and no end: the client waits
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_in_pieces_below_the_limit_is_read_and_one_above_it_is_reported(site):
    for size, expected in ((0, 202), (MIB, 413)):
        body, kind = site.form([("media", "good.png", PICTURE), ("question", None, b"x")])
        pieces = [body[:100], body[100:-10], body[-10:], bytes(size)]
        headers = {"content-type": kind, "transfer-encoding": "chunked"}
        status, _, reply = site.send("POST", "/explain", filter(None, pieces), headers, encode_chunked=True)
        assert status == expected, reply


def test_who_leaves_in_the_middle_is_not_missed(site, caplog):
    with socket.create_connection(("127.0.0.1", site.port), timeout=60) as client:
        client.sendall(
            b"POST /explain HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
            b"Content-Type: multipart/form-data; boundary=edge\r\n\r\n--edge\r\n"
        )
    assert site.ask(FILE)[0] == 202
    assert caplog.text == ""


PATHS = [
    "/../../../../etc/passwd", "/..%2f..%2f..%2fetc/passwd", "//etc/passwd", "/files/..%2f..%2fserver.py",
    "/files/../server.py", "/files/%2e%2e/start.html", "/files//etc/passwd", "/files/%2fetc%2fpasswd",
    "/files/", "/files/view.css%00.png", "/files", "/web/start.html", "/server.py", "/static/x", "/docs",
    "/openapi.json", "/jobs/", "/jobs/..%2f..%2fetc%2fpasswd/page", "/jobs/../health", "/redoc", "/explain",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_path_of_the_disk_is_reachable(site, path):
    status, headers, body = site.send("GET", path)
    assert status in (404, 405), body
    assert headers["content-type"] == "application/json"
    assert list(json.loads(body)) == ["error"]


def test_an_address_that_is_none_is_reported_with_the_one_that_is(site):
    assert site.get("/nowhere") == (404, {"error": f"not found: GET /nowhere; open {site.url}"})


def test_the_files_of_the_page_are_served_as_they_are(site):
    pictures = Path(wordsight.demo.__file__).parent / "pictures"
    on_disk = {path.name: path for folder in (pictures, WEB, server.WEB) for path in folder.iterdir()}
    kinds = {".png": "image/png", ".css": "text/css", ".js": "text/javascript"}
    for name in FILES:
        status, headers, body = site.send("GET", f"/files/{name}")
        assert status == 200
        assert body == (css().encode() if name == "palette.css" else on_disk[name].read_bytes())
        assert headers["content-type"].startswith(kinds[Path(name).suffix])
    examples = site.get("/examples")[1]
    assert examples["format"] == 1
    assert set(examples["questions"]) == {path.name for path in pictures.iterdir()}
    for path in pictures.iterdir():
        assert site.send("GET", f"/files/{path.name}")[2] == path.read_bytes()


def test_the_examples_of_the_model_of_photos_are_its_photos(served, monkeypatch):
    folder = Path(__file__).parents[2] / "packages/wordsight-photos/src/wordsight_photos/pictures"
    monkeypatch.setattr(photos, "pictures", lambda: folder)
    site = served(lambda job: None, model="demo-photos")
    names = set(site.get("/examples")[1]["questions"])
    assert names == {path.name for path in folder.glob("*.png")}
    assert all(site.send("GET", f"/files/{name}")[2] == (folder / name).read_bytes() for name in names)
