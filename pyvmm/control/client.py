"""A client of a guest's control socket, for the commands of `pyvmm`."""

from __future__ import annotations

import json
import os
import socket
from contextlib import contextmanager
from errno import ECONNRESET, ETIMEDOUT

from pyvmm.control.entry import open_entry
from pyvmm.errors import HostError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_CHUNK = 64 << 10


@contextmanager
def connect(name: str, to: str, patience: float | None = None) -> Iterator[socket.socket]:
    """A connection to one of the sockets of a guest's entry.

    Args:
        patience: how long the guest's process may take for each step, in seconds.

    Raises:
        ConfigError, UsageError: there is no such guest, or it has no such socket.
        HostError: its process takes longer.
    """
    entry = open_entry(name)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as server:
            server.settimeout(patience)
            try:
                server.connect(f"/proc/self/fd/{entry}/{to}")
            except FileNotFoundError:
                why = "no guest of yours has this name; `pyvmm ps` lists them"
                if to != "control" and os.access(f"/proc/self/fd/{entry}/control", os.F_OK):
                    why = "it was not started with --detach"
                raise UsageError(f"{name}: {why}") from None
            except ConnectionRefusedError:
                raise UsageError(f"{name}: no guest of yours has this name; `pyvmm ps` lists them") from None
            except (TimeoutError, BlockingIOError):  # its backlog is full
                raise _does_not_answer(name) from None
            except OSError as error:
                raise HostError(f"guest {name}", error.errno or 0) from None
            try:
                yield server
            except TimeoutError:
                raise _does_not_answer(name) from None
    finally:
        os.close(entry)


class Client:
    """A session of QMP.

    Args:
        name: of the guest.
        server: a connection to its control socket.

    Raises:
        HostError: the guest has ended meanwhile.
    """

    def __init__(self, name: str, server: socket.socket) -> None:
        self._name, self._server = name, server
        self._came = b""
        self._events: list[dict[str, Any]] = []
        self._next()  # the greeting
        self.do("qmp_capabilities")

    def do(self, command: str, arguments: dict[str, object] | None = None, fds: list[int] | None = None) -> Any:
        """Has the guest do something, and waits until it is done.

        Args:
            command, arguments: see `control.commands`.
            fds: descriptors that go with it; they stay the caller's.

        Raises:
            RefusedError: it was not done.
            HostError: the guest has ended meanwhile.
        """
        request = json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n"
        try:
            socket.send_fds(self._server, [request], fds or [])
        except OSError:
            raise self._ended() from None
        while True:
            answer = self._next()
            if "event" in answer:
                self._events.append(answer)
            elif "error" in answer:
                raise RefusedError(answer["error"]["desc"])
            else:
                return answer["return"]

    def wait_for_end(self, timeout: float | None = None) -> int | None:
        """The guest's exit status once it has ended; None if it still runs after `timeout` seconds.

        Raises:
            HostError: it has ended without telling.
        """
        self._server.settimeout(timeout)
        try:
            while True:
                event = self._events.pop(0) if self._events else self._next()
                if event.get("event") == "SHUTDOWN":
                    return int(event["data"]["status"])
        except TimeoutError:
            return None
        finally:
            self._server.settimeout(None)

    def _next(self) -> dict[str, Any]:
        while b"\n" not in self._came:
            try:
                data = self._server.recv(_CHUNK)
            except TimeoutError:
                raise
            except OSError:
                data = b""
            if not data:
                raise self._ended()
            self._came += data
        line, _, self._came = self._came.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> HostError:
        return HostError(f"guest {self._name}", ECONNRESET, "it has ended meanwhile")


@contextmanager
def session(name: str, patience: float | None = None) -> Iterator[Client]:
    """A session with a guest.

    Args:
        patience: how long the guest's process may take for each answer, in seconds.

    Raises:
        ConfigError, UsageError, HostError: there is no such guest, or it does not answer.
    """
    with connect(name, "control", patience) as server:
        yield Client(name, server)


def _does_not_answer(name: str) -> HostError:
    return HostError(f"guest {name}", ETIMEDOUT, "its process does not answer")


class RefusedError(HostError):
    """What the guest's process has answered."""

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)
