"""A crash report as JSON, and the reading of one from a file, which anybody may have made."""

from __future__ import annotations

import json
import os
from struct import iter_unpack, unpack_from

from pyvmm.crash.report import CORE, FORMAT, NOTE, NOTE_REPORT, REPORT
from pyvmm.errors import HostError, PyvmmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIZE_MAX = 4 << 20
_NOTES_MAX = SIZE_MAX + (1 << 20)
_ET_CORE, _PT_NOTE = 4, 4
_KEYS = {
    "format": int, "pyvmm": str, "kind": str, "message": str, "image": str, "uptime": (int, float), "memory": int,
    "vcpu": int, "vcpus": list, "exits": dict, "next": str,
}  # fmt: skip
_VCPU_KEYS = {"index": int, "ring": int, "bits": int, "registers": dict, "code": str, "backtrace": list}
_FRAME_KEYS = {"address": str, "function": str, "line": str}


def encoded(report: dict[str, Any]) -> bytes:
    """As JSON."""
    return json.dumps(report, indent=1).encode()


def read(path: str) -> dict[str, Any]:
    """The report in a file of `--crash`, or in that directory.

    Raises:
        HostError: it cannot be read.
        PyvmmError: it has no report, or a damaged one.
    """
    file = os.path.join(path, REPORT) if os.path.isdir(path) else path
    try:
        with open(file, "rb") as stream:
            start = stream.read(64)
            is_core = start[:4] == b"\x7fELF"
            data = _note_of(stream, start) if is_core else start + stream.read(SIZE_MAX + 1)
    except OSError as error:
        raise HostError(file, error.errno or 0) from None
    try:
        report = json.loads(data) if len(data) <= SIZE_MAX else None
    except (ValueError, RecursionError):
        report = None
    if not _is_report(report):
        raise PyvmmError(f"{file}: no crash report; name the directory of `--crash`, or its {REPORT} or {CORE}")
    assert isinstance(report, dict)
    return report


def _note_of(stream: Any, header: bytes) -> bytes:
    """The report in a core file's notes; empty if there is none."""
    if len(header) < 64 or unpack_from("<H", header, 16)[0] != _ET_CORE:
        return b""
    (at,), (size, count) = unpack_from("<Q", header, 32), unpack_from("<HH", header, 54)
    if size != 56 or at >= 1 << 62:
        return b""
    stream.seek(at)
    table = stream.read(size * count)
    for kind, offset, length in iter_unpack("<I4xQ16xQ16x", table[: len(table) // size * size]):
        if kind == _PT_NOTE and length <= _NOTES_MAX and offset < 1 << 62:
            stream.seek(offset)
            return _find(stream.read(length))
    return b""


def _find(notes: bytes) -> bytes:
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = unpack_from("<III", notes, at)
        name_at = at + 12
        data_at = name_at + (name_size + 3 & ~3)
        if kind == NOTE_REPORT and notes[name_at : name_at + name_size] == NOTE + b"\0":
            return notes[data_at : data_at + size]
        at = data_at + (size + 3 & ~3)
    return b""


def _has(value: object, keys: dict[str, Any]) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(key), kind) and not isinstance(value.get(key), bool) for key, kind in keys.items()
    )


def _is_report(report: Any) -> bool:
    """Whether it has all that is shown of it."""
    if not _has(report, _KEYS) or report["format"] != FORMAT or not 0 <= report["vcpu"] < len(report["vcpus"]):
        return False
    if not all(isinstance(count, int) for count in report["exits"].values()):
        return False
    return all(
        _has(vcpu, _VCPU_KEYS)
        and all(isinstance(value, str) for value in vcpu["registers"].values())
        and all(_has(frame, _FRAME_KEYS) for frame in vcpu["backtrace"])
        for vcpu in report["vcpus"]
    )
