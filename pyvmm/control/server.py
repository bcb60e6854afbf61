"""The control socket of a guest: another process of the same user asks for something, and is answered.

A request is one line of JSON on a connection of its own, with descriptors beside it
(SCM_RIGHTS); so is the answer, an object with `error` if it was not done:

    {"do": "freeze", "name": FILE, "end": false}    with a descriptor of the file's directory
"""

from __future__ import annotations

import json
import os
import socket

from pyvmm.control.place import make_folder, socket_path
from pyvmm.errors import ConfigError, HostError, PyvmmError
from pyvmm.state.request import FreezeRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.eventloop import Loop
    from pyvmm.machine import Machine

REQUEST_MAX = 4096  # bytes
_DESCRIPTORS_MAX = 4


class Control:
    """The socket of one guest.

    Args:
        machine: the guest's.
        name: of the guest.

    Raises:
        ConfigError: the name is none, or another guest's.
        HostError: there can be no socket.
    """

    def __init__(self, machine: Machine, name: str) -> None:
        self._machine = machine
        self._path = socket_path(name)
        make_folder()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            if is_served(self._path):
                raise ConfigError("name", name, "another guest has this name")
            self._bind()
        except OSError as error:
            self._socket.close()
            raise HostError(self._path, error.errno or 0) from None
        except PyvmmError:
            self._socket.close()
            raise

    def _bind(self) -> None:
        try:
            os.unlink(self._path)  # of a guest that was killed
        except FileNotFoundError:
            pass
        self._socket.bind(self._path)
        self._socket.listen(8)

    def attach(self, loop: Loop) -> None:
        """Serves requests from `loop`."""
        self._loop = loop
        loop.add(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        _Connection(self._machine, self._loop, connection)

    def close(self) -> None:
        """Removes the socket. A second call does nothing."""
        if self._socket.fileno() >= 0:
            self._socket.close()
            os.unlink(self._path)


class _Connection:
    """One request."""

    def __init__(self, machine: Machine, loop: Loop, connection: socket.socket) -> None:
        self._machine, self._loop, self._socket = machine, loop, connection
        connection.setblocking(False)
        self._text = b""
        self._fds: list[int] = []
        loop.add(connection.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, REQUEST_MAX, _DESCRIPTORS_MAX)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        self._fds += fds
        self._text += data
        if data and b"\n" not in self._text and len(self._text) < REQUEST_MAX and len(self._fds) <= _DESCRIPTORS_MAX:
            return
        self._loop.remove(self._socket.fileno())
        answer = {}
        try:
            self._serve()
        except PyvmmError as error:
            answer["error"] = str(error)
        for fd in self._fds:
            os.close(fd)
        try:
            self._socket.send(json.dumps(answer).encode() + b"\n")
        except OSError:  # who asked is gone
            pass
        self._socket.close()

    def _serve(self) -> None:
        try:
            request = json.loads(self._text)
            if request["do"] != "freeze" or not self._fds:
                raise ValueError
            name, end = str(request["name"]), bool(request["end"])
            if not name or "/" in name or "\0" in name:
                raise ValueError
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ConfigError("request", "", "not understood; is it of another version of pyvmm?") from None
        FreezeRequest(self._machine, name, end, self._fds.pop(0)).serve()


def is_served(path: str) -> bool:
    """Whether a process listens at a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as client:
        try:
            client.connect(path)
        except OSError:
            return False
        return True
