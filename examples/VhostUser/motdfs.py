"""A file system that is made up as it is read: a vhost-user backend for virtio-fs in Python.

    python3 motdfs.py SOCKET

It has three files: `hello`, `time` (when it was opened) and `reads` (how often
something was read). It speaks as much of FUSE 7.31 (Linux: include/uapi/linux/fuse.h)
as a guest needs that only reads.
"""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable

from vhost_user.backend import Server
from vhost_user.device import Device
from vhost_user.messages import VhostUserError
from vhost_user.vring import Chain

_REQUEST = struct.Struct("<IIQQIIII")
_REPLY = struct.Struct("<IiQ")
_INIT = struct.Struct("<4I2H2I2HI28x")
_ATTRIBUTES = struct.Struct("<6Q10I")
_DIRENT = struct.Struct("<QQII")

_ENOENT, _EISDIR, _EROFS, _ENOSYS = 2, 21, 30, 38
_ROOT, _DIRECTORY, _FILE = 1, 0o040555, 0o100444
_SIZE = 64  # bytes of every file
_MAX = 1 << 17


class FuseError(Exception):
    """An errno."""


class MotdFs(Device):
    """The device; queue 0 is for requests without a reply."""

    queues = 2

    def __init__(self) -> None:
        self._reads = 0
        self._files: dict[bytes, Callable[[], str]] = {
            b"hello": lambda: "Hello from a process of the host",
            b"time": time.ctime,
            b"reads": lambda: str(self._reads),
        }
        self._names = list(self._files)
        self._open: dict[int, bytes] = {}
        self._handle = 0
        self._operations: dict[int, Callable[[int, bytes], bytes]] = {
            1: self._lookup,
            3: lambda node, _: struct.pack("<Q2I", 1, 0, 0) + self._attributes(node),
            14: self._open_file,
            15: self._read,
            18: self._release,
            26: self._init,
            27: lambda *_: bytes(16),  # OPENDIR
            28: self._read_directory,
            29: lambda *_: b"",  # RELEASEDIR
        }

    def serve(self, index: int, chain: Chain) -> int:
        """One request."""
        request = chain.read()
        if len(request) < _REQUEST.size:
            raise VhostUserError(f"{len(request)} bytes of request")
        _, opcode, unique, node, *_ = _REQUEST.unpack_from(request)
        if index == 0:  # FORGET: nothing is remembered
            return 0
        try:
            operation = self._operations.get(opcode)
            if not operation:
                raise FuseError(_ENOSYS)
            error, data = 0, operation(node, request[_REQUEST.size :])
        except (FuseError, struct.error) as failure:
            error, data = failure.args[0] if isinstance(failure, FuseError) else 22, b""
        return chain.write(_REPLY.pack(_REPLY.size + len(data), -error, unique) + data)

    def reset(self) -> None:
        """The guest is gone, and with it what it has opened."""
        self._open.clear()

    def _init(self, node: int, body: bytes) -> bytes:
        return _INIT.pack(7, 31, 0, 0, 16, 12, _MAX, 1, _MAX // 4096, 0, 0)

    def _attributes(self, node: int) -> bytes:
        mode = _DIRECTORY if node == _ROOT else _FILE
        now = int(time.time())
        return _ATTRIBUTES.pack(
            node, 0 if node == _ROOT else _SIZE, 1, now, now, now, *(0, 0, 0), mode, 1, *(0, 0, 0, 4096, 0)
        )

    def _lookup(self, node: int, body: bytes) -> bytes:
        name = body.rstrip(b"\0")
        if node != _ROOT or name not in self._files:
            raise FuseError(_ENOENT)
        child = _ROOT + 1 + self._names.index(name)
        return struct.pack("<4Q2I", child, 0, 1, 1, 0, 0) + self._attributes(child)

    def _open_file(self, node: int, body: bytes) -> bytes:
        flags, _ = struct.unpack("<2I", body)
        if node == _ROOT or node > _ROOT + len(self._names):
            raise FuseError(_EISDIR)
        if flags & 3:
            raise FuseError(_EROFS)
        self._handle += 1
        text = self._files[self._names[node - _ROOT - 1]]()
        self._open[self._handle] = text.encode().ljust(_SIZE - 1)[: _SIZE - 1] + b"\n"
        return struct.pack("<Q2I", self._handle, 0, 0)

    def _read(self, node: int, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        self._reads += 1
        return self._open.get(handle, b"")[offset : offset + size]

    def _release(self, node: int, body: bytes) -> bytes:
        self._open.pop(struct.unpack_from("<Q", body)[0], None)
        return b""

    def _read_directory(self, node: int, body: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", body)
        data = b""
        for index, name in enumerate(self._names[offset:], offset + 1):
            entry = _DIRENT.pack(_ROOT + index, index, len(name), _FILE >> 12) + name
            entry += bytes(-len(entry) % 8)
            if len(data) + len(entry) > size:
                break
            data += entry
        return data


def main() -> int:
    """Serves one frontend after the other."""
    if len(sys.argv) != 2:
        print("usage: motdfs.py SOCKET", file=sys.stderr)
        return 2
    try:
        with Server(sys.argv[1]) as server:
            device = MotdFs()
            while True:
                try:
                    server.serve(device)
                except VhostUserError as error:
                    print(f"motdfs.py: {error}", file=sys.stderr)
    except OSError as error:
        print(f"motdfs.py: {sys.argv[1]}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
