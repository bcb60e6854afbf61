"""pyvmm.trace.fuse: requests as a driver writes them, and any other bytes."""

from __future__ import annotations

from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.trace import fuse


def request(opcode: int, arguments: bytes = b"") -> bytes:
    return pack("<IIQQIIIHH", 40 + len(arguments), opcode, 77, 5, 1000, 1001, 42, 0, 0) + arguments


WHO = {"unique": 77, "node": 5, "uid": 1000, "pid": 42}


@pytest.mark.parametrize(
    ("opcode", "arguments", "about"),
    [
        (1, b"name\0", {"op": "LOOKUP", "name": "name"}),
        (3, bytes(16), {"op": "GETATTR"}),
        (6, b"link\0target\0", {"op": "SYMLINK", "name": "link", "other": "target"}),
        (9, bytes(8) + b"folder\0", {"op": "MKDIR", "name": "folder"}),
        (12, bytes(8) + b"old\0new\0", {"op": "RENAME", "name": "old", "other": "new"}),
        (15, pack("<QQIIQII", 1, 4096, 512, 0, 0, 0, 0), {"op": "READ", "offset": 4096, "size": 512}),
        (26, bytes(64), {"op": "INIT"}),
        (35, bytes(16) + b"\xff\0", {"op": "CREATE", "name": "\\xff"}),
        (44, pack("<QQIIQII", 1, 8, 9, 0, 0, 0, 0), {"op": "READDIRPLUS", "offset": 8, "size": 9}),
        (4096, b"", {"op": "4096"}),
    ],
)
def test_requests(opcode: int, arguments: bytes, about: dict[str, int | str]) -> None:
    assert fuse.request(request(opcode, arguments)) == WHO | about


@pytest.mark.parametrize(("error", "name"), [(0, ""), (-2, "ENOENT"), (-13, "EACCES"), (-9999, "9999"), (5, "-5")])
def test_errors(error: int, name: str) -> None:
    assert fuse.error(pack("<IiQ", 16, error, 77)) == name


def test_no_reply_is_no_error() -> None:
    assert fuse.error(b"") == ""


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    about = fuse.request(data)
    assert about["op"]
    fuse.error(data)


@given(st.integers(0, 60), st.binary(max_size=60))
def test_any_arguments(opcode: int, arguments: bytes) -> None:
    assert fuse.request(request(opcode, arguments))["unique"] == 77
