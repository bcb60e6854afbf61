"""What is to be tested: pyvmm's own devices, a class of yours, or a vhost-user backend."""

from __future__ import annotations

import importlib
import importlib.util
import re
import socket
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pyvmm.api import share
from pyvmm.errors import ConfigError, UsageError
from pyvmm.host.tcp import Publish, TcpHost
from pyvmm.host.virtiofsd import Share, SocketBackend, Virtiofsd
from pyvmm.testing.steps import QUEUES_MAX
from pyvmm.virtio.console import VirtioConsole
from pyvmm.virtio.device import Device
from pyvmm.virtio.fs import VirtioFs
from pyvmm.virtio.vsock import Vsock

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.eventloop import Loop
    from pyvmm.virtio.device import Transport
    from pyvmm.virtio.queue import SplitQueue

CID, PORT = 5, 80


@dataclass
class Target:
    """What is to be tested.

    Attributes:
        name: as the user writes it, with an absolute path.
        make: makes the device.
    """

    name: str
    make: Callable[[], Device]


def target(text: str) -> Target:
    """The target that a text names.

    Args:
        text: `console`, `vsock`, `fs=DIR`, `MODULE:CLASS`, `FILE.py:CLASS`, `vhost-user=SOCKET` or `virtiofsd=DIR`.

    Raises:
        UsageError: it names none.
    """
    kind, equals, value = text.partition("=")
    if equals and kind in _WITH_VALUE and value:
        path = str(Path(value).absolute())
        return Target(f"{kind}={path}", partial(_WITH_VALUE[kind], path))
    if text in _ALONE:
        return Target(text, _ALONE[text])
    place, colon, name = text.rpartition(":")
    if colon and place and name:
        place = str(Path(place).absolute()) if place.endswith(".py") else place
        return Target(f"{place}:{name}", _device_class(place, name))
    known = [*_ALONE, *(f"{name}=…" for name in _WITH_VALUE), "MODULE:CLASS", "FILE.py:CLASS"]
    raise UsageError(f"{text}: no such target; there are {', '.join(known)}")


def _device_class(place: str, name: str) -> type[Device]:
    where = f"{place}:{name}"
    try:
        if place.endswith(".py"):
            path = Path(place)
            spec = importlib.util.spec_from_file_location(path.stem, path)
            assert spec
            assert spec.loader
            module = importlib.util.module_from_spec(spec)
            sys.modules[path.stem] = module
            sys.path.insert(0, str(path.parent))
            spec.loader.exec_module(module)
        else:
            sys.path.insert(0, "")
            module = importlib.import_module(place)
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror}") from None
    except Exception as error:  # whatever the user's module does
        raise UsageError(f"{where}: {type(error).__name__}: {error}") from None
    found = getattr(module, name, None)
    if not isinstance(found, type) or not issubclass(found, Device):
        raise UsageError(f"{where}: not a subclass of pyvmm.Device")
    return found


class _Echo:
    """The host's end of a console: gives back what it gets, as far as there is room."""

    _ROOM = 4096

    def __init__(self) -> None:
        self._held = b"hello"

    def attach(self, loop: Loop, changed: Callable[[], None]) -> None:
        """Nothing ever changes by itself."""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes of what came."""
        read, self._held = self._held[:size], self._held[size:]
        return read

    def write(self, data: memoryview) -> int:
        """Takes all, and keeps what there is room for."""
        self._held += bytes(data[: self._ROOM - len(self._held)])
        return len(data)

    def close(self) -> None:
        """Does nothing."""


class _Vsock(Vsock):
    """With a server at port PORT of the host, and a client of the guest's port PORT."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        tcp = TcpHost([Publish(f"0:{PORT}")], [(PORT, self._server.getsockname())], 16)
        super().__init__(CID, _silent, tcp)
        self._client = socket.create_connection(self.ports[0][:2])
        self._client.sendall(b"hello")

    def close(self) -> None:
        self._server.close()
        self._client.close()
        super().close()


class BackendError(Exception):
    """A vhost-user backend has ended, or does not do what it is asked to."""


class _Strict:
    """A transport that raises where it would break its device.

    Args:
        transport: the real one.
        said: what the backend has printed.
    """

    def __init__(self, transport: Transport, said: list[str]) -> None:
        self._transport, self._said = transport, said

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def needs_reset(self, reason: str) -> None:
        """Raises for what virtiofsd said last before it failed, or else for the reason.

        Which request noticed it first, who has read the output, and whether an assertion follows, is chance.
        """
        lines = [re.sub(r" \([A-Z_]+: [^()]*\)$", "", line) for line in (*self._said, reason)]
        said = [line.rpartition("virtiofsd: ")[2] for line in lines if "virtiofsd: " in line]
        last = [line for line in said if "Assertion" not in line] or said
        raise BackendError(f"virtiofsd: {last[-1]}" if last else lines[-1])


class Virtiofs(VirtioFs):
    """A backend as a device. What pyvmm makes the best of is a problem here: that the backend fails."""

    def __init__(self, where: str, tag: bytes, backend: SocketBackend | Virtiofsd, said: list[str]) -> None:
        super().__init__(where, tag, backend, said.append)
        self._printed = said

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        """Raises what breaks the device."""
        super().activate(cast("Transport", _Strict(transport, self._printed)), queues, features)


class Backend(Virtiofs):
    """One whose type of device is not known, nor which requests it answers."""

    device_id = 0
    answers = False

    def prepare(self, cpus: int) -> None:
        """Takes as many queues as there are."""
        super().prepare(QUEUES_MAX)


def _silent(_: str) -> None: ...


def _fs(directory: str) -> Device:
    try:
        return share(f"{directory}:fs")
    except ConfigError as error:
        raise UsageError(f"fs={directory}: {error.reason}") from None


def _virtiofsd(directory: str) -> Device:
    said: list[str] = []
    try:
        backend = Virtiofsd(Share(f"{directory}:fs"), said.append)
    except ConfigError as error:
        raise UsageError(f"virtiofsd={directory}: {error.reason}") from None
    return Virtiofs(f"virtiofsd={directory}", b"fs", backend, said)


def _backend(path: str) -> Device:
    return Backend(f"vhost-user={path}", b"", SocketBackend(Share(f"socket={path}:any")), [])


_ALONE: dict[str, Callable[[], Device]] = {"console": lambda: VirtioConsole(_Echo()), "vsock": _Vsock}
_WITH_VALUE: dict[str, Callable[[str], Device]] = {
    "fs": _fs,
    "virtiofsd": _virtiofsd,
    "vhost-user": _backend,
}
