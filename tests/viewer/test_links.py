"""Links are fetched for who sits at this machine: what is there, within limits, and nothing of the disk."""

import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest

from wordsight.viewer import links
from wordsight.viewer.listener import Listener

MIB = 2**20


class Web(BaseHTTPRequestHandler):
    """/picture has a few bytes, /large more than fit, /slow never ends, /moved leads to a file; else 404."""

    def do_GET(self):
        status = {"/moved": 302, "/gone": 404}.get(self.path, 200)
        self.send_response(status)
        self.send_header("Location", "file:///etc/passwd")
        self.end_headers()
        with suppress(OSError):
            while self.path == "/slow":
                self.wfile.write(b"x")
                time.sleep(0.05)
            self.wfile.write(bytes(MIB + 1) if self.path == "/large" else self.headers["User-Agent"].encode())

    def log_message(self, *given):
        pass


@pytest.fixture(scope="module")
def web():
    """The address of a web server of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def site(serving):
    with serving(lambda request: None, max_upload=MIB) as site:
        yield site


def fetched(site, url, **headers):
    status, _, body = site.send("POST", f"/links?url={quote(url)}", headers=headers)
    return status, body


def test_the_file_at_a_link_is_given(site, web):
    status, body = fetched(site, f"{web}/picture")
    assert status == 200
    assert body.startswith(b"wordsight/")


@pytest.mark.parametrize(
    ("url", "status", "message"),
    [
        ("{web}/large", 413, "the files are larger than 1 MiB together"),
        ("{web}/gone", 422, "/gone': HTTP Error 404: Not Found; expected the address of a picture"),
        ("{web}/moved", 422, "/moved': HTTP Error 302"),
        ("file:///etc/passwd", 422, "it does not begin with http:// or https://"),
        ("/etc/passwd", 422, "it does not begin with http:// or https://"),
        ("", 422, "it does not begin with http:// or https://"),
        ("http://[", 422, "Invalid IPv6 URL"),
        ("http://127.0.0.1:1/", 422, "Connection refused"),
        ("http://nowhere.invalid/x y", 422, "can't contain control characters"),
    ],
)
def test_what_cannot_be_fetched_is_reported_in_a_sentence(site, web, url, status, message):
    found, body = fetched(site, url.format(web=web))
    assert found == status
    assert message in json.loads(body)["error"]


def test_a_link_that_never_ends_is_given_up(site, web, monkeypatch):
    monkeypatch.setattr(links, "SECONDS", 0.5)
    status, body = fetched(site, f"{web}/slow")
    assert status == 422
    assert "it takes longer than 0.5 s" in json.loads(body)["error"]


def test_a_page_of_another_site_cannot_have_a_link_fetched(site, web):
    assert fetched(site, f"{web}/picture", origin="http://evil.example")[0] == 403


def test_a_server_that_others_can_reach_fetches_nothing(serving, web, monkeypatch):
    monkeypatch.setattr(Listener, "is_private", False)
    with serving(lambda request: None) as site:
        status, body = fetched(site, f"{web}/picture")
        assert not site.get("/health")[1]["takes_links"]
    assert status == 422
    assert "others can reach this server, so it fetches no links" in json.loads(body)["error"]
