"""A stand-in of the hub: the endpoints that its client asks to make a repository, to upload to it and to read
from it, on this machine, with what they were asked.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_a_secret_that_nobody_prints"


@dataclass
class Hub:
    """`branches` are those of each repository, with their files; `fails` answers every request so."""

    address: str = ""
    branches: dict = field(default_factory=dict)
    private: set = field(default_factory=set)
    stored: dict = field(default_factory=dict)  # large files by their digest
    asked: list = field(default_factory=list)
    fails: tuple = ()

    def files(self, repository, revision="main"):
        """What a branch or a commit of a repository holds, None if there is none."""
        branches = self.branches[repository]
        return branches.get(revision) or next(
            (files for files in branches.values() if commit_of(files) == revision), None
        )


def commit_of(files):
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self):
        hub, path = self.server.hub, self.path.partition("?")[0]
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.asked.append(f"{self.command} {path}")
        if hub.fails:
            return self.reply(hub.fails[0], {"error": hub.fails[1]}, {"X-Error-Message": hub.fails[1]})
        for pattern, does in ROUTES:
            if parts := re.fullmatch(pattern, f"{self.command} {path}"):
                if not path.startswith(("/api/validate", "/lfs")) and self.refuses(*parts.groups()):
                    return None
                return does(self, hub, *parts.groups())
        return self.reply(404, {"error": f"no such endpoint: {path}"})

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def refuses(self, repository=None, revision=None, *_):
        """Whether that is answered as the hub does of what is missing, hidden or not to be written."""
        hub, is_known = self.server.hub, self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if self.command in ("POST", "PUT") and not is_known:
            self.reply(401, {"error": "Invalid credentials in Authorization header"})
        elif repository is None:
            return False
        elif repository not in hub.branches or (repository in hub.private and not is_known):
            code = 404 if is_known else 401
            self.reply(code, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif revision and "/branch/" not in self.path and hub.files(repository, revision) is None:
            self.reply(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
        else:
            return False
        return True

    def reply(self, code, content, headers=None):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {**(headers or {}), "Content-Length": len(data)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def create(self, hub):
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        there = name in hub.branches
        if not there:
            hub.branches[name] = {"main": {".gitattributes": b""}}
            hub.private |= {name} if "private" in (asked.get("visibility"), *asked) else set()
        self.reply(409 if there else 200, {"url": f"{hub.address}/{name}", "error": "there already"})

    def branch(self, hub, repository, name):
        branches = hub.branches[repository]
        there = name in branches
        branches.setdefault(name, dict(branches["main"]))
        self.reply(409 if there else 200, {"error": "there already"} if there else {})

    def preupload(self, hub, repository, revision):
        files = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if each["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for each in json.loads(self.body)["files"]
        ]
        self.reply(200, {"files": files})

    def batch(self, hub, repository):
        objects = [
            {**each, "actions": {"upload": {"href": f"{hub.address}/lfs/{each['oid']}"}}}
            for each in json.loads(self.body)["objects"]
        ]
        self.reply(200, {"transfer": "basic", "objects": objects})

    def store(self, hub, digest):
        assert hashlib.sha256(self.body).hexdigest() == digest
        hub.stored[digest] = self.body
        self.reply(200, {})

    def commit(self, hub, repository, revision):
        files = hub.branches[repository][revision]
        for line in self.body.splitlines():
            kind, value = (asked := json.loads(line))["key"], asked["value"]
            if kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if kind == "lfsFile":
                files[value["path"]] = hub.stored[value["oid"]]
        commit = commit_of(files)
        url = f"{hub.address}/{repository}/commit/{commit}"
        self.reply(200, {"success": True, "commitOid": commit, "commitUrl": url})

    def info(self, hub, repository, revision="main"):
        sha = commit_of(hub.files(repository, revision))
        self.reply(200, {"id": repository, "sha": sha, "private": repository in hub.private, "siblings": []})

    def tree(self, hub, repository, revision):
        files = hub.files(repository, revision)
        listed = [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in files.items()
        ]
        self.reply(200, listed)

    def resolve(self, hub, repository, revision, name):
        files = hub.files(repository, revision)
        if name not in files:
            return self.reply(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
        etag = f'"{hashlib.sha1(files[name]).hexdigest()}"'
        return self.reply(200, files[name], {"X-Repo-Commit": commit_of(files), "ETag": etag})

    def validate(self, hub):
        self.reply(200, {"errors": [], "warnings": []})


NAME, REVISION = "([^/]+/[^/]+)", "([^/]+)"
ROUTES = (
    ("POST /api/repos/create", Handler.create),
    ("POST /api/validate-yaml", Handler.validate),
    (f"POST /api/models/{NAME}/branch/{REVISION}", Handler.branch),
    (f"POST /api/models/{NAME}/preupload/{REVISION}", Handler.preupload),
    (f"POST /api/models/{NAME}/commit/{REVISION}", Handler.commit),
    (f"POST /{NAME}.git/info/lfs/objects/batch", Handler.batch),
    ("PUT /lfs/(.+)", Handler.store),
    (f"GET /api/models/{NAME}", Handler.info),
    (f"GET /api/models/{NAME}/revision/{REVISION}", Handler.info),
    (f"GET /api/models/{NAME}/tree/{REVISION}", Handler.tree),
    (f"(?:GET|HEAD) /{NAME}/resolve/{REVISION}/(.+)", Handler.resolve),
)


@contextmanager
def serving():
    """A hub that answers on this machine while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
