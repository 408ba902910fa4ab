"""Who may ask the server, by which name it is reached, and what a browser is told to allow."""

import io
import re
import socket

import pytest

from wordsight.errors import UsageError
from wordsight.viewer import listener as listener_module
from wordsight.viewer.handler import ExplainResult
from wordsight.viewer.listener import Listener
from wordsight.viewer.server import WEB


@pytest.fixture(scope="module")
def site(serving):
    with serving(lambda request: None) as site:
        yield site


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "127.0.0.1:{port}"])
def test_names_of_this_machine_are_answered(site, host):
    assert site.get("/health", host=host.format(port=site.port))[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "192.168.0.9", "", "[", "a@b"]
)
def test_another_name_that_leads_here_is_refused(site, host):
    status, reply = site.get("/health", host=host.format(port=site.port))
    assert status in (400, 421)
    assert reply["error"].startswith("this server is not ")
    assert site.url in reply["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"origin": "https://127.0.0.1:{port}"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_page_of_another_site_cannot_ask(site, headers):
    status, reply = site.ask(**{name: value.format(port=site.port) for name, value in headers.items()})
    assert status == 403
    assert "may not ask" in reply["error"]


def test_the_page_itself_and_programs_can_ask(site):
    for headers in ({}, {"origin": site.url}, {"origin": site.url, "sec-fetch-site": "same-origin"}):
        assert site.ask(**headers)[0] == 422  # for want of a picture


def test_every_answer_tells_the_browser_what_to_allow(site):
    for path, host in (("/", "127.0.0.1"), ("/health", "127.0.0.1"), ("/no", "127.0.0.1"), ("/", "evil")):
        _, headers, _ = site.send("GET", path, headers={"host": host})
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_the_page_of_a_result_is_in_an_origin_of_its_own(serving, picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    with serving(lambda request: ExplainResult("yes", "{}", "<p>page</p>")) as site:
        job = site.over(site.ask(("good.png", file.getvalue()))[1])
        _, headers, _ = site.send("GET", f"/jobs/{job['id']}/page")
    policy = headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts allow-downloads; default-src 'none';")
    assert "allow-same-origin" not in policy
    assert "connect-src" not in policy


def test_the_files_of_the_start_page_ask_only_this_server(site):
    assert {path.name for path in WEB.iterdir()} == {"start.html", "view.css", "view.js", "words.js"}
    for path in WEB.iterdir():
        text = re.sub(r"(^|\s)//.*$", "", path.read_text("utf-8"), flags=re.MULTILINE)
        assert not re.findall(r"https?:|[\"'(]//|@import|url\(|innerHTML|eval\(|localStorage", text)
    html = site.send("GET", "/")[2].decode()
    assert html.startswith("<!doctype html>")
    files = {"palette.css", "style.css", "view.css", "dom.js", "regions.js", "view.js", "words.js"}
    found = set(re.findall(r'(?:src|href)="([^"]+)"', html))
    assert found == {"data:,", *(f"/files/{name}" for name in files)}


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_server_of_the_whole_network_is_known_by_addresses_and_its_own_name(host):
    listener = Listener(socket.socket(), host)
    with listener:
        assert not listener.is_private
        for name in ("192.168.0.9", "2001:db8::1", socket.gethostname().lower(), "localhost"):
            assert listener.is_known_as(name)
        assert not listener.is_known_as("evil.example")


def test_a_port_that_is_taken_is_reported():
    with Listener.at("127.0.0.1", 0) as listener:
        port = listener.socket.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: .*in use; give another"):
            Listener.at("127.0.0.1", port)


@pytest.mark.parametrize("host", ["nowhere.invalid", "203.0.113.7", "[::1]", "\u00e9" * 70, "a\0b"])
def test_a_host_that_is_not_this_machine_is_reported(host):
    with pytest.raises(UsageError, match="cannot listen on "):
        Listener.at(host, 0)


def test_an_empty_host_is_not_everywhere():
    with pytest.raises(UsageError, match="--host is empty"):
        Listener.at("", 0)


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:")]
)
def test_the_url_is_one_that_a_browser_here_can_open(host, url):
    with Listener.at(host, 0) as listener:
        assert listener.url == f"{url}{listener.socket.getsockname()[1]}"
        assert listener.is_private == (host == "127.0.0.1")


def test_what_is_not_installed_is_named_with_the_extra(monkeypatch):
    monkeypatch.setattr(listener_module, "find_spec", lambda name: None if name == "uvicorn" else name)
    with pytest.raises(UsageError, match=r"^the server needs uvicorn: pip install 'wordsight\[view\]'$"):
        Listener.at("127.0.0.1", 0)
