"""Asks something of a guest by its control socket (see `control.server`)."""

from __future__ import annotations

import json
import socket

from pyvmm.control.place import socket_path
from pyvmm.errors import HostError, UsageError


def ask(name: str, request: dict[str, object], fds: list[int]) -> None:
    """Has a guest do something, and waits until it is done.

    Args:
        name: the guest's.
        request: see `control.server`.
        fds: descriptors that go with it; they stay the caller's.

    Raises:
        ConfigError, UsageError: there is no such guest.
        HostError: it was not done.
    """
    path = socket_path(name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as server:
        try:
            server.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            raise UsageError(f"{name}: no guest of yours has this name (`boot --name`)") from None
        except OSError as error:
            raise HostError(path, error.errno or 0) from None
        try:
            socket.send_fds(server, [json.dumps(request).encode() + b"\n"], fds)
            with server.makefile("rb") as answers:
                answer = json.loads(answers.readline() or b"null")
        except (OSError, ValueError):
            answer = None
    if answer is None:
        raise HostError(f"guest {name}", 104, "it has ended meanwhile")
    if "error" in answer:
        raise RefusedError(answer["error"])


class RefusedError(HostError):
    """What the guest's process has answered."""

    def __init__(self, text: str) -> None:
        Exception.__init__(self, text)
