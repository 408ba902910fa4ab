"""wordsight view: what it refuses before the model is loaded, and how it starts and stops as a program."""

import json
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request

import pytest

from wordsight.cli import view
from wordsight.viewer import listener, serve


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stopped(monkeypatch):
    """A server that somebody stops at once: what is tested is what comes before."""

    class Server:
        def run(self, sockets):
            raise KeyboardInterrupt

    monkeypatch.setattr(serve, "server", lambda site: Server())


MISUSES = [
    (("--host", "nowhere.invalid"), "cannot listen on nowhere.invalid:0: "),
    (("--keep", "2"), "keep must be a share of the tokens in (0, 1], got 2"),
    (("--pruner", "divprun"), "unknown pruner 'divprun': did you mean 'divprune'"),
    (("--pruner", "divprune", "--pruner", "divprune"), "duplicate pruner divprune"),
    (("--codebook", "nowhere"), "nowhere"),
    (("--port", "70000"), "less than or equal to 65535"),
    (("--max-upload", "0"), "greater than or equal to 1"),
]


@pytest.mark.parametrize(("options", "message"), MISUSES, ids=[" ".join(options) for options, _ in MISUSES])
def test_a_misuse_is_reported_before_the_model_is_loaded(run, monkeypatch, options, message):
    monkeypatch.setattr(view, "load_vlm", lambda name, options: pytest.fail("the model was loaded"))
    code, out, err = run("view", "--port", "0", *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert message in err


def test_a_missing_extra_is_reported_before_the_model_is_loaded(run, monkeypatch):
    monkeypatch.setattr(view, "load_vlm", lambda name, options: pytest.fail("the model was loaded"))
    monkeypatch.setattr(listener, "find_spec", lambda name: None)
    code, _, err = run("view")
    assert code == 2
    assert err == (
        "error: the server needs fastapi, uvicorn, python_multipart: pip install 'wordsight[view]'\n"
    )


def test_a_port_that_is_taken_is_reported_before_the_model_is_loaded(run, monkeypatch):
    monkeypatch.setattr(view, "load_vlm", lambda name, options: pytest.fail("the model was loaded"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = run("view", "--port", str(port))
    assert code == 2
    assert err.startswith(f"error: cannot listen on 127.0.0.1:{port}: Address already in use; give another")


def test_a_book_of_another_model_is_reported(run, stopped):
    """The tiny model stands in for the embedded one, whose book does not fit it."""
    code, out, err = run("view", "--port", "0", "--json")
    failure = json.loads(out)["error"]
    assert (code, failure["kind"], err) == (2, "usage", f"error: {failure['message']}\n")
    assert "codebook is for D=" in err


def test_the_page_can_be_opened_and_the_end_is_no_failure(run, stopped, monkeypatch):
    opened = []
    monkeypatch.setattr(view.webbrowser, "open", opened.append)
    code, out, err = run("view", "--port", "0", "--model", "tiny", "--open")
    assert (code, out) == (0, "")
    assert err == f"serving on {opened[0]}, Ctrl-C stops\n"


def test_a_program_can_read_where_it_is_served(run, stopped):
    code, out, err = run("view", "--port", "0", "--model", "tiny", "--json")
    found = json.loads(out)
    assert code == 0
    assert err == f"serving on {found['url']}, Ctrl-C stops\n"
    assert (found["format"], found["model"]) == (1, "tiny")


def test_letting_others_in_is_warned_about(run, stopped):
    code, _, err = run("view", "--port", "0", "--model", "tiny", "--host", "0.0.0.0")
    warning, serving = err.splitlines()
    assert code == 0
    assert warning == "warning: anyone who can reach this machine on 0.0.0.0 can ask, without a password"
    assert serving.startswith("serving on http://127.0.0.1:")


def leave_at_any_point(port):
    """Send parts of requests, or what is none, and end the connection: by a reset, by a close, or not at all;
    those are returned.
    """
    head = b"GET /files/view.js HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    body = b"Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: 99\r\n\r\n--edge\r\n"
    post = b"POST /explain HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    junk = (
        b"\x16\x03\x01\x02",
        b"GET / HTTP/9.9\r\n\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    )
    held = []
    for sent in (b"", head, (head + b"\r\n") * 50, post + body, *junk[:2], head + junk[2]):
        for end in ("reset", "close", "none"):
            client = socket.create_connection(("127.0.0.1", port), timeout=30)
            client.sendall(sent)
            if end == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if end != "none":
                client.close()
            else:
                held.append(client)
    return held


@pytest.fixture
def hangs_up():
    """Programs that are started do not ignore SIGHUP, as those do that nohup started."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_serves_as_a_program_until_it_is_interrupted(sign, hangs_up):
    """Whatever clients do, the terminal stays empty."""
    command = [sys.executable, "-W", "error", "-m", "wordsight", "view", "--port", "0"]
    program = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with program:
        first = program.stderr.readline()
        assert first.startswith("serving on http://127.0.0.1:")
        url = first.removeprefix("serving on ").partition(",")[0]
        with urllib.request.urlopen(f"{url}/health") as answer:
            assert json.load(answer)["model"] == "demo"
        held = leave_at_any_point(int(url.rpartition(":")[2]))
        time.sleep(0.2)
        program.send_signal(sign)
        out, err = program.communicate(timeout=30)
    for client in held:
        client.close()
    assert (out, err) == ("", "")
    assert program.returncode == 0
