"""The listener: where the server is reached, and by what names; it is opened before the model is loaded."""

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
    """A socket that listens, and the host that the user gave."""

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
            raise UsageError("--host is empty, which would let others in; give an address, such as 127.0.0.1")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
            return cls(socket.create_server(address, family=family), host)
        except (OSError, ValueError) as error:
            # Brackets repeat host and port; what is wrong with the letters of a name has no strerror.
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
        """Whether a browser may have used this name. A page of another site can make its own name lead here
        (DNS rebinding), but not an address.
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
