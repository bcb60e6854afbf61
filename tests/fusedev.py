"""A virtio-fs device in Python: a directory of the host, with a record of the driver's requests."""

from __future__ import annotations

import os
import struct
from collections import Counter
from errno import EMFILE
from pathlib import Path
from typing import TYPE_CHECKING

from pyvmm.virtio.device import Device

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.virtio.device import Transport
    from pyvmm.virtio.queue import Chain, SplitQueue

ROOT = 1
MAX_TRANSFER = 64 << 10
_REQUEST = struct.Struct("<IIQQIIII")
_REPLY = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_ENTRY = struct.Struct("<4Q2I")
_TRANSFER = struct.Struct("<QQIIQII")
_DIRENT = struct.Struct("<QQII")


class FuseDirectory(Device):
    """FUSE 7.31 over virtio-fs, as far as Toro uses it.

    Args:
        root: the directory.
        tag: its name for the guest.
        valid_s: how long the guest may believe names, in seconds.
        answer_last: answers the newest of the requests that are there first.
        most_nodes: how many nodes it can keep for the guest; EMFILE beyond that.

    Attributes:
        asked: how often each opcode has come.
        nodes: what the guest has asked for and not forgotten, and how often.
        most: how many requests there were at once.
    """

    name = "fs"
    device_id = 26
    queue_sizes = (128, 128)

    def __init__(
        self, root: Path, tag: str = "FS", valid_s: int = 1, answer_last: bool = False, most_nodes: int = 1 << 30
    ) -> None:
        self.config = tag.encode().ljust(36, b"\0") + (1).to_bytes(4, "little")
        self._valid, self._answer_last, self._most_nodes = valid_s, answer_last, most_nodes
        self._paths = {ROOT: root}
        self._files: dict[int, int] = {}
        self.asked: Counter[str] = Counter()
        self.nodes: Counter[int] = Counter()
        self.most = 0
        self.tamper: Callable[[str, bytes], bytes] = lambda _, reply: reply
        self._operations: dict[int, Callable[[int, bytes], bytes]] = {
            1: self.lookup,
            3: self.getattr,
            4: self.setattr,
            5: self.readlink,
            9: self.mkdir,
            10: self.unlink,
            11: self.rmdir,
            12: self.rename,
            14: self.open,
            15: self.read,
            16: self.write,
            18: self.release,
            20: self.fsync,
            26: self.init,
            27: self.opendir,
            28: self.readdir,
            29: self.release,
            35: self.create,
            44: self.readdirplus,
        }

    # ---- the device ---------------------------------------------------------------

    def activate(self, transport: Transport, queues: list[SplitQueue], features: int) -> None:
        self._transport, self._queues = transport, queues

    def reset(self) -> None:
        pass

    def close(self) -> None:
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()

    def kicked(self, index: int) -> None:
        queue = self._queues[index]
        more = True
        while more:
            chains = []
            while chain := queue.pop():
                chains.append(chain)
            self.most = max(self.most, len(chains))
            for chain in reversed(chains) if self._answer_last else chains:
                queue.push(chain, self._serve(chain))
            if queue.must_interrupt():
                self._transport.interrupt()
            more = queue.watch()

    def _serve(self, chain: Chain) -> int:
        request = b"".join(map(bytes, chain.readable))
        length, opcode, unique, node, *_ = _REQUEST.unpack_from(request)
        assert length == len(request)
        body = request[_REQUEST.size :]
        if opcode == 42:
            self._forget(body)
            return 0
        operation = self._operations[opcode]
        self.asked[operation.__name__] += 1
        try:
            error, data = 0, operation(node, body)
        except OSError as failure:
            error, data = -(failure.errno or 5), b""
        reply = _REPLY.pack(_REPLY.size + len(data), error, unique) + data
        reply = self.tamper(operation.__name__, reply)
        written = 0
        for view in chain.writable:
            part = reply[written : written + len(view)]
            view[: len(part)] = part
            written += len(part)
        return written

    def _forget(self, body: bytes) -> None:
        (count,) = struct.unpack_from("<I", body)
        assert len(body) == 8 + 16 * count
        self.asked["forget"] += count
        for node, lookups in struct.iter_unpack("<QQ", body[8:]):
            self.nodes[node] -= lookups
            assert self.nodes[node] >= 0

    # ---- what replies consist of --------------------------------------------------

    def _attributes(self, path: Path) -> bytes:
        status = path.lstat()
        times = int(status.st_atime), int(status.st_mtime), int(status.st_ctime), 0, 0, 0
        rest = status.st_mode, status.st_nlink, 0, 0, 0, 4096, 0
        return _ATTRIBUTES.pack(status.st_ino, status.st_size, status.st_blocks, *times, *rest)

    def _entry(self, path: Path) -> bytes:
        attributes = self._attributes(path)
        node = path.lstat().st_ino + 1000
        if not self.nodes[node] and len(+self.nodes) >= self._most_nodes:
            raise OSError(EMFILE, "as many nodes as there may be")
        self._paths[node] = path
        self.nodes[node] += 1
        return _ENTRY.pack(node, 0, self._valid, self._valid, 0, 0) + attributes

    def _child(self, node: int, name: bytes) -> Path:
        assert name.endswith(b"\0")
        assert b"/" not in name
        assert name not in (b".\0", b"..\0")
        return self._paths[node] / os.fsdecode(name[:-1])

    def _open(self, path: Path, flags: int) -> bytes:
        fd = os.open(path, flags, 0o644)
        self._files[fd] = fd
        return struct.pack("<QII", fd, 0, 0)

    # ---- operations ---------------------------------------------------------------

    def init(self, node: int, body: bytes) -> bytes:
        major, minor, readahead, flags = struct.unpack("<4I", body)
        assert (major, minor) == (7, 31)
        return struct.pack(
            "<4I2H2I2HI28x", 7, 31, readahead, flags, 16, 12, MAX_TRANSFER, 1, MAX_TRANSFER // 4096, 0, 0
        )

    def lookup(self, node: int, body: bytes) -> bytes:
        return self._entry(self._child(node, body))

    def getattr(self, node: int, body: bytes) -> bytes:
        return struct.pack("<Q2I", self._valid, 0, 0) + self._attributes(self._paths[node])

    def setattr(self, node: int, body: bytes) -> bytes:
        valid, _, handle, size = struct.unpack_from("<IIQQ", body)
        assert valid == 8 | 64
        os.ftruncate(self._files[handle], size)
        return self.getattr(node, b"")

    def readlink(self, node: int, body: bytes) -> bytes:
        return os.fsencode(os.readlink(self._paths[node]))

    def mkdir(self, node: int, body: bytes) -> bytes:
        path = self._child(node, body[8:])
        path.mkdir()
        return self._entry(path)

    def _known(self, node: int, name: bytes) -> Path:
        """A file that the guest has asked for and not forgotten: virtiofsd removes no other."""
        path = self._child(node, name)
        if self.nodes[path.lstat().st_ino + 1000] == 0:
            raise OSError(5, "not looked up")
        return path

    def unlink(self, node: int, body: bytes) -> bytes:
        self._known(node, body).unlink()
        return b""

    def rmdir(self, node: int, body: bytes) -> bytes:
        self._known(node, body).rmdir()
        return b""

    def rename(self, node: int, body: bytes) -> bytes:
        old, new, _ = body[8:].split(b"\0")
        (directory,) = struct.unpack_from("<Q", body)
        self._known(node, old + b"\0").rename(self._child(directory, new + b"\0"))
        return b""

    def create(self, node: int, body: bytes) -> bytes:
        flags, *_ = struct.unpack_from("<4I", body)
        path = self._child(node, body[16:])
        opened = self._open(path, flags | os.O_CREAT)
        try:
            return self._entry(path) + opened
        except OSError:
            os.close(self._files.pop(struct.unpack_from("<Q", opened)[0]))
            raise

    def open(self, node: int, body: bytes) -> bytes:
        return self._open(self._paths[node], struct.unpack("<II", body)[0])

    def release(self, node: int, body: bytes) -> bytes:
        os.close(self._files.pop(struct.unpack_from("<Q", body)[0]))
        return b""

    def read(self, node: int, body: bytes) -> bytes:
        handle, offset, size, *_ = _TRANSFER.unpack(body)
        assert size <= MAX_TRANSFER
        return os.pread(self._files[handle], size, offset)

    def write(self, node: int, body: bytes) -> bytes:
        handle, offset, size, *_ = _TRANSFER.unpack_from(body)
        data = body[_TRANSFER.size :]
        assert size == len(data) <= MAX_TRANSFER
        return struct.pack("<II", os.pwrite(self._files[handle], data, offset), 0)

    def fsync(self, node: int, body: bytes) -> bytes:
        os.fsync(self._files[struct.unpack_from("<Q", body)[0]])
        return b""

    def opendir(self, node: int, body: bytes) -> bytes:
        return self._open(self._paths[node], os.O_RDONLY | os.O_DIRECTORY)

    def readdir(self, node: int, body: bytes) -> bytes:
        return self._list(node, body, lambda _: b"")

    def readdirplus(self, node: int, body: bytes) -> bytes:
        unknown = bytes(_ENTRY.size + _ATTRIBUTES.size)

        def entry(name: bytes) -> bytes:
            return unknown if name in (b".", b"..") else self._entry(self._paths[node] / os.fsdecode(name))

        return self._list(node, body, entry)

    def _list(self, node: int, body: bytes, before: Callable[[bytes], bytes]) -> bytes:
        _, offset, size, *_ = _TRANSFER.unpack(body)
        entries = [(b".", 4), (b"..", 4)]
        entries += sorted((os.fsencode(p.name), 4 if p.is_dir() else 8) for p in self._paths[node].iterdir())
        data = b""
        for index, (name, kind) in enumerate(entries[offset:], offset + 1):
            dirent = _DIRENT.pack(index + 100, index, len(name), kind) + name
            dirent += bytes(-len(dirent) % 8)
            if len(data) + len(before(b".")) + len(dirent) > size:
                break
            try:
                data += before(name) + dirent
            except OSError:
                if not data:
                    raise
                break
        return data
