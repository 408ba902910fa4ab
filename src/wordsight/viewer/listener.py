"""Door: where the server is reached, and by what names; found shut before the model is loaded."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec

from wordsight.errors import UsageError

PACKAGES = ("fastapi", "uvicorn", "python_multipart")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
EVERYWHERE = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True)
class Listener(AbstractContextManager["Listener"]):
    """A socket that listens, and the host that was asked for."""

    socket: socket.socket
    host: str

    @classmethod
    def at(cls, host: str, port: int) -> Listener:
        """Listen; port 0 is any that is free.

        Raises UsageError if the extra is not installed, or nobody can listen there.
        """
        if missing := [name for name in PACKAGES if find_spec(name) is None]:
            raise UsageError(f"the server needs {', '.join(missing)}: pip install 'wordsight[view]'")
        if not host:
            raise UsageError("--host is empty, which would let others in; give an address, as 127.0.0.1")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
            return cls(socket.create_server(address, family=family), host)
        except (OSError, ValueError) as error:
            # In brackets it tells host and port again; what is wrong with a name's letters has no strerror.
            why = str(getattr(error, "strerror", None) or error).partition(" (")[0]
            raise UsageError(
                f"cannot listen on {host}:{port}: {why}; give another --port, or 0 for any that is free"
            ) from error

    def __exit__(self, *problem: object) -> None:
        self.socket.close()

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the page."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        port = self.socket.getsockname()[1]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK or self.host.startswith("127.")

    def is_known_as(self, name: str) -> bool:
        """Whether a browser may have come by this name. A page of another site can make its own name lead
        here, and ask in the name of who looks at it; it has no say over addresses.
        """
        if name in LOOPBACK | {self.host.lower()}:
            return True
        return self.host in EVERYWHERE and (name == socket.gethostname().lower() or _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
