"""`boot --trace exits=FILE`: a timeline that agrees with what is counted otherwise."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from guests import PYVMM, Assembler, Result, pyvmm, wait_until

PRINTS = """
    mov ebx, 5
1:  mov al, 46
    mov edx, 0x3f8
    out dx, al
    dec ebx
    jnz 1b
    exit 3
"""


def spans_of(path: Path, thread: int = 0) -> list[dict[str, Any]]:
    document = json.loads(path.read_text())
    assert document["displayTimeUnit"] == "ns"
    return [event for event in document["traceEvents"] if event["ph"] == "X" and event["tid"] == thread]


def test_each_exit_is_there(assemble: Assembler, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    result = pyvmm("boot", assemble(PRINTS), "--trace", f"exits={trace}")
    assert (result.status, result.stdout) == (3, b".....")
    spans = spans_of(trace)
    assert Counter(span["name"] for span in spans) == {"run": 6, "io write uart": 5, "io write end": 1}
    for before, after in zip(spans, spans[1:], strict=False):
        assert after["ts"] == pytest.approx(before["ts"] + before["dur"], abs=0.01)
    rows = [line.split() for line in result.stderr.splitlines()]
    assert {" ".join(row[1:4]): row[4] for row in rows[1:]} == {"io write uart": "5", "io write end": "1"}


def test_each_vcpu_has_a_thread(assemble: Assembler, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    source = "cmp esi, 2\n je 1f\n 2: hlt\n jmp 2b\n 1: exit 0"
    assert pyvmm("boot", assemble(source), "--cpus", "3", "--trace", f"exits={trace}").status == 0
    assert [span["name"] for span in spans_of(trace, 2)] == ["run", "io write end"]
    assert {span["name"] for index in (0, 1) for span in spans_of(trace, index)} <= {"run", "halt", "intr"}


def test_a_halt_is_seen(assemble: Assembler, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    command = [PYVMM, "boot", assemble("print text, 1\n 1: hlt\n jmp 1b\n .data\n text: .byte 10"), "--trace",
               f"exits={trace}"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"\n"
        task = Path(f"/proc/{process.pid}/task")
        vcpu = next(path for path in task.iterdir() if (path / "comm").read_text() == "vcpu0\n")
        wait_until(lambda: (vcpu / "stat").read_text().rpartition(")")[2].split()[0] == "S", "it has halted")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        process.terminate()
        assert process.wait(60) == 143
    halts = [span["dur"] for span in spans_of(trace) if span["name"] == "halt"]
    assert len(halts) >= 1
    assert max(halts) > 50_000


def test_a_guest_that_crashes_leaves_its_trace(assemble: Assembler, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    result = pyvmm("boot", assemble("ud2"), "--trace", f"exits={trace}")
    assert result.status == 124
    assert spans_of(trace)[0]["name"] == "run"


@pytest.mark.parametrize(
    ("trace", "said"),
    [
        ("exits", "--trace exits: not exits=FILE or fs=FILE"),
        ("exits=", "--trace exits=: not exits=FILE or fs=FILE"),
        ("disk=/tmp/x", "--trace disk=/tmp/x: not exits=FILE or fs=FILE"),
        ("exits=/absent/x", "--trace exits=/absent/x: No such file or directory"),
    ],
)
def test_mistakes_are_one_line(trace: str, said: str, assemble: Assembler) -> None:
    assert pyvmm("boot", assemble("exit 0"), "--trace", trace) == Result(125, b"", f"pyvmm: {said}\n")


def test_one_kind_is_not_given_twice(assemble: Assembler, tmp_path: Path) -> None:
    words = ("--trace", f"fs={tmp_path}/a", "--trace", f"fs={tmp_path}/b")
    assert pyvmm("boot", assemble("exit 0"), *words).stderr == f"pyvmm: --trace fs={tmp_path}/b: fs is given twice\n"


def test_a_full_disk_is_told(assemble: Assembler) -> None:
    result = pyvmm("boot", assemble("exit 4"), "--trace", "exits=/dev/full")
    assert (result.status, result.stderr.splitlines()[-1]) == (4, "pyvmm: --trace exits: No space left on device")
