"""pyvmm.crash.storage: a report comes out of every file as it went in, and of a wrong file comes one line."""

from __future__ import annotations

import json
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reports import report

from pyvmm.command.crash import crash
from pyvmm.crash.core import note
from pyvmm.crash.report import CORE, REPORT
from pyvmm.crash.storage import encoded, read
from pyvmm.crash.text import full
from pyvmm.errors import HostError, PyvmmError


def core_of(content: bytes) -> bytes:
    notes = note(b"CORE", 1, bytes(336)) + note(b"pyvmm", 1, content)
    header = pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 4, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + pack("<IIQQQQQQ", 4, 0, 120, 0, 0, len(notes), 0, 4) + notes


def test_it_is_read_from_directory_json_and_core(tmp_path: Path) -> None:
    (tmp_path / REPORT).write_bytes(encoded(report()))
    (tmp_path / CORE).write_bytes(core_of(encoded(report())))
    for path in (tmp_path, tmp_path / REPORT, tmp_path / CORE):
        assert read(str(path)) == report()
        assert crash([str(path)]) == "".join(f"{line}\n" for line in full(report()))
        assert json.loads(crash([str(path), "--json"])) == report()


def test_nothing_in_it_reaches_the_terminal_as_a_command(tmp_path: Path) -> None:
    (tmp_path / REPORT).write_bytes(encoded(report(message="\x1b[2Jgone\n")))
    first = crash([str(tmp_path)]).splitlines()[0]
    assert first.startswith("\\x1b[2Jgone\\n")


WRONG: list[Any] = [
    None, [], {}, report(format=2), report(vcpu=1), report(vcpu=-1), report(vcpu=True), report(vcpus=[{}]),
    report(vcpus=[]), report(exits={"io": "many"}), report(uptime="long"), report(memory=None), report(next=5),
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_report_is_refused(wrong: Any, tmp_path: Path) -> None:
    (tmp_path / REPORT).write_text(json.dumps(wrong))
    with pytest.raises(PyvmmError, match="no crash report"):
        read(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\x7fELF", b"\x7fELF" + bytes(100), b" " * (5 << 20)])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(PyvmmError, match="no crash report"):
        read(str(tmp_path / "file"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No such file"):
        read(str(tmp_path / "absent"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([encoded(report()), core_of(encoded(report()))])))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "file").write_bytes(whole)
    try:
        list(full(read(str(tmp_path / "file"))))
    except PyvmmError:
        pass
