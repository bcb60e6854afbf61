"""QMP, the protocol of QEMU's monitor (docs/interop/qmp-spec.rst), as a server speaks it.

Each side sends objects of JSON: the server a greeting, then an answer to each command, and events in
between, each on a line; clients need not end theirs with one. It is a protocol alone: bytes in, bytes
out. What commands do is in `control.commands`.
"""

from __future__ import annotations

from time import time_ns

from pyvmm.control.connection import close_all
from pyvmm.errors import PyvmmError
from pyvmm.jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    #: Arguments, and descriptors that came with the command, to a result.
    Command = Callable[[dict[str, Any], list[int]], object]

COMMAND_MAX = 64 << 10  # bytes
_DESCRIPTORS_MAX = 4
_SPACE, _OPENING, _CLOSING = b" \t\r\n", b"{[", b"}]"
_QUOTE, _BACKSLASH, _NEWLINE = b'"\\\n'
_NEGOTIATE = "qmp_capabilities"


class CommandError(Exception):
    """A command was not done.

    Args:
        text: why.
        kind: the error's class (QapiErrorClass).
    """

    def __init__(self, text: str, kind: str = "GenericError") -> None:
        self.text, self.kind = text, kind


class Splitter:
    """Splits what a client sends into texts that are each to be an object of JSON."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._depth = 0  # of brackets that are open
        self._in_string = self._is_escaped = False

    def feed(self, data: bytes) -> list[bytes]:
        """The texts that are complete with `data`."""
        complete = []
        for byte in data:
            if not self._text and byte in _SPACE:
                continue
            self._text.append(byte)
            if self._is_over(byte):
                complete.append(bytes(self._text))
                self._text.clear()
        return complete

    def __len__(self) -> int:
        """Bytes of the text that is not complete yet."""
        return len(self._text)

    def _is_over(self, byte: int) -> bool:
        if self._in_string:
            self._in_string = self._is_escaped or byte != _QUOTE
            self._is_escaped = byte == _BACKSLASH and not self._is_escaped
            return False
        self._in_string = byte == _QUOTE and self._depth > 0
        if byte in _OPENING:
            self._depth += 1
        elif byte in _CLOSING and self._depth:
            self._depth -= 1
            return not self._depth
        return not self._depth and byte == _NEWLINE  # what is no object ends with its line


def version() -> dict[str, object]:
    """VersionInfo, with our own version in place of QEMU's."""
    from pyvmm import __version__

    major, minor, micro = (int(part) for part in __version__.split(".")[:3])
    return {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": f"pyvmm {__version__}"}


class Session:
    """The server's side of one connection.

    Args:
        commands: those that a client has once it has negotiated, by name.
        send: sends bytes to the client.
    """

    def __init__(self, commands: Mapping[str, Command], send: Callable[[bytes], None]) -> None:
        self._commands, self._send = commands, send
        self._is_ready = False
        self._splitter = Splitter()
        self._fds: list[int] = []

    def greet(self) -> None:
        """Begins the session."""
        self._tell({"QMP": {"version": version(), "capabilities": []}})

    def receive(self, data: bytes, fds: list[int]) -> bool:
        """Takes what the client has sent; descriptors go with the command that comes next.

        Returns:
            False if the connection is to end: the client sends what is no command at all.
        """
        self._fds += fds
        for text in self._splitter.feed(data):
            self._serve(text)
            close_all(self._fds)
        if len(self._fds) > _DESCRIPTORS_MAX:
            close_all(self._fds)
        return len(self._splitter) <= COMMAND_MAX

    def event(self, name: str, data: Mapping[str, object]) -> None:
        """Tells a client that has negotiated of an event."""
        if self._is_ready:
            seconds, ns = divmod(time_ns(), 1_000_000_000)
            timestamp = {"seconds": seconds, "microseconds": ns // 1000}
            self._tell({"event": name, **({"data": data} if data else {}), "timestamp": timestamp})

    def close(self) -> None:
        """Closes descriptors that came without a command."""
        close_all(self._fds)

    def _serve(self, text: bytes) -> None:
        answer: dict[str, object] = {}
        name = ""
        try:
            name, arguments = self._parse(text, answer)
            answer["return"] = self._run(name, arguments)
        except CommandError as error:
            answer["error"] = {"class": error.kind, "desc": error.text}
        except PyvmmError as error:
            answer["error"] = {"class": "GenericError", "desc": str(error)}
        except OSError as error:
            answer["error"] = {"class": "GenericError", "desc": f"{name}: {error.strerror}"}
        self._tell(answer)

    def _parse(self, text: bytes, answer: dict[str, object]) -> tuple[str, dict[str, Any]]:
        try:
            request = loads(text.decode())
        except (ValueError, RecursionError):
            raise CommandError("JSON parse error, expecting an object") from None
        if not isinstance(request, dict):
            raise CommandError("QMP input must be a JSON object")
        if "id" in request:
            answer["id"] = request["id"]
        for key in request:
            if key not in ("execute", "arguments", "id"):
                raise CommandError(f"QMP input member '{key}' is unexpected")
        name, arguments = request.get("execute"), request.get("arguments", {})
        if not isinstance(name, str):
            raise CommandError("QMP input lacks member 'execute'")
        if not isinstance(arguments, dict):
            raise CommandError("QMP input member 'arguments' must be an object")
        return name, arguments

    def _run(self, name: str, arguments: dict[str, Any]) -> object:
        if name == _NEGOTIATE and not self._is_ready:
            if arguments.get("enable"):
                raise CommandError("there are no capabilities to enable")
            self._is_ready = True
            return {}
        if not self._is_ready or name not in self._commands:
            why = "" if self._is_ready else f"Expecting capabilities negotiation with '{_NEGOTIATE}': "
            raise CommandError(f"{why}The command {name[:64]} has not been found", "CommandNotFound")
        return self._commands[name](arguments, self._fds)

    def _tell(self, message: Mapping[str, object]) -> None:
        self._send(dumps(message).encode() + b"\r\n")
