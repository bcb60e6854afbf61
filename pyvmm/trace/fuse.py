"""FUSE requests as a driver has put them into a queue (<linux/fuse.h>; virtio 1.2, section 5.11.6).

They are shown, and nothing depends on them: what is cut short or makes no sense is left out.
"""

from __future__ import annotations

from errno import errorcode
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_IN_HEADER = Struct("<IIQQIIIHH")  # len, opcode, unique, nodeid, uid, gid, pid, total_extlen, padding
_OUT_HEADER = Struct("<IiQ")  # len, error, unique
#: Bytes of a request that are looked at.
HEAD_MAX = 4096

OPCODES: Mapping[int, str] = dict(
    enumerate(
        "LOOKUP FORGET GETATTR SETATTR READLINK SYMLINK - MKNOD MKDIR UNLINK RMDIR RENAME LINK OPEN READ WRITE STATFS "
        "RELEASE - FSYNC SETXATTR GETXATTR LISTXATTR REMOVEXATTR FLUSH INIT OPENDIR READDIR RELEASEDIR FSYNCDIR GETLK "
        "SETLK SETLKW ACCESS CREATE INTERRUPT BMAP DESTROY IOCTL POLL NOTIFY_REPLY BATCH_FORGET FALLOCATE READDIRPLUS "
        "RENAME2 LSEEK COPY_FILE_RANGE SETUPMAPPING REMOVEMAPPING SYNCFS TMPFILE STATX".split(),
        1,
    )
)
#: Where names begin, behind the header, and how many there are.
_NAMES = {
    "LOOKUP": (0, 1), "UNLINK": (0, 1), "RMDIR": (0, 1), "SYMLINK": (0, 2), "MKNOD": (16, 1), "MKDIR": (8, 1),
    "RENAME": (8, 2), "RENAME2": (16, 2), "LINK": (8, 1), "CREATE": (16, 1), "TMPFILE": (16, 1), "SETXATTR": (8, 1),
    "GETXATTR": (8, 1), "REMOVEXATTR": (0, 1),
}  # fmt: skip
#: Requests whose arguments begin with a file handle, an offset and a size.
_AT_OFFSET = ("READ", "WRITE", "READDIR", "READDIRPLUS")
_OFFSET_AND_SIZE = Struct("<8xQI")


def request(head: bytes) -> dict[str, int | str]:
    """What a request's first bytes say: `op`, `unique`, `node`, `uid`, `pid`, and what it is about."""
    if len(head) < _IN_HEADER.size:
        return {"op": "?"}
    _, opcode, unique, node, uid, _, pid, _, _ = _IN_HEADER.unpack_from(head)
    operation = OPCODES.get(opcode, str(opcode))
    found: dict[str, int | str] = {"op": operation, "unique": unique, "node": node, "uid": uid, "pid": pid}
    arguments = head[_IN_HEADER.size :]
    if operation in _NAMES:
        at, count = _NAMES[operation]
        names = arguments[at:].split(b"\0")[:count]
        found |= {
            key: name.decode(errors="backslashreplace") for key, name in zip(("name", "other"), names, strict=False)
        }
    elif operation in _AT_OFFSET and len(arguments) >= _OFFSET_AND_SIZE.size:
        found["offset"], found["size"] = _OFFSET_AND_SIZE.unpack_from(arguments)
    return found


def error(head: bytes) -> str:
    """The name of a reply's error; empty: there is none, or no reply."""
    if len(head) < _OUT_HEADER.size:
        return ""
    number = -_OUT_HEADER.unpack_from(head)[1]
    return errorcode.get(number, str(number)) if number else ""


OUT_HEADER_SIZE = _OUT_HEADER.size
