"""pyvmm.command.timing: known steps are shown, others are unknown."""

from __future__ import annotations

import json
import os
from pathlib import Path
from time import CLOCK_BOOTTIME, CLOCK_MONOTONIC, clock_gettime_ns, monotonic_ns
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from pyvmm._kvm import lib
from pyvmm.command.timing import STEPS, Timeline
from pyvmm.errors import HostError

MS = 1_000_000


def machine(
    guest: dict[str, int],
    first_run: int = 0,
    exits: dict[int, int] | None = None,
    interpreted: int | None = None,
    thawed: bool = False,
) -> Any:
    """What a Timeline asks of a machine."""
    measures = SimpleNamespace(
        guest_marks=lambda: guest,
        first_run_ns=lambda: first_run,
        exits=lambda: exits or {},
        emulated=lambda: sum((exits or {}).values()),
        interpreted=lambda: interpreted,
    )
    marks = {"state ready": 11 * MS, "vm created": 12 * MS, "memory ready": 13 * MS, "vCPUs ready": 15 * MS}
    return SimpleNamespace(marks=marks, measures=measures, is_thawed=thawed)


FULL = machine(
    {"entry": 16 * MS, "kernel": 17 * MS, "application": 18 * MS, "exit": 19 * MS},
    first_run=15 * MS + 500_000,
    exits={lib.KVM_EXIT_IO: 3, lib.KVM_EXIT_MMIO: 1, 63: 2},
    interpreted=56,
)
STARTED = {"process start": 10 * MS, "interpreter ready": 11 * MS, "imports done": 11 * MS + 1}


def test_steps_are_in_order_and_count_from_the_first() -> None:
    steps = Timeline(FULL, STARTED).steps
    assert [(name, side) for name, side, _ in steps] == list(STEPS)
    times = {name: at for name, _, at in steps}
    assert times["process start"] == 0
    assert times["vm created"] == 2 * MS
    assert times["first KVM_RUN"] == 5 * MS + 500_000
    assert times["first instruction"] == 6 * MS
    assert times["application start"] == 8 * MS
    assert times["exit"] is None


def test_step_that_did_not_happen_is_unknown() -> None:
    timeline = Timeline(machine({}), {})
    times = {name: at for name, _, at in timeline.steps}
    assert times["state ready"] == 0
    for name in ("process start", "first KVM_RUN", "first instruction", "kernel start", "exit"):
        assert times[name] is None


def test_exits_are_named_and_unknown_kinds_are_numbered() -> None:
    assert Timeline(FULL, {}).exits == {"io": 3, "mmio": 1, "63": 2}


def test_table_has_a_line_for_each_step_and_for_exits() -> None:
    lines = Timeline(FULL, STARTED).table().splitlines()
    assert len(lines) == 1 + len(STEPS) + 3
    assert lines[0].split() == ["step", "at", "ms", "+", "ms"]
    assert lines[5].split() == ["vm", "created", "2.000", "1.000"]
    assert lines[12].split() == ["exit", "unknown"]
    assert lines[-3:] == [
        "exits: 3 io, 1 mmio, 2 63",
        "instructions emulated: 6",
        "instructions that KVM interpreted: 56",
    ]
    assert Timeline(machine({}), {}).table().endswith("exits: none\n")


def test_json_has_all_steps_and_null_for_unknown() -> None:
    document = json.loads(Timeline(FULL, STARTED).json())
    assert document["exits"] == {"io": 3, "mmio": 1, "63": 2}
    assert (document["emulated"], document["interpreted"]) == (6, 56)
    assert [step["name"] for step in document["steps"]] == [name for name, _ in STEPS]
    assert document["steps"][0] == {"name": "process start", "side": "host", "ns": 0}
    assert document["steps"][-1] == {"name": "exit", "side": "host", "ns": None}


@pytest.mark.parametrize("wild", [{}, {"entry": -(10**30)}, {"kernel": 10**30}, {"entry": 10 * MS}])
def test_svg_is_a_picture_of_every_step_whatever_the_guest_marks(wild: dict[str, int]) -> None:
    root = ElementTree.fromstring(Timeline(machine(wild), STARTED).svg())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {name for name, _ in STEPS} <= set(texts)
    for rect in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert rect.get("width") == "100%" or float(rect.get("width", "-1")) >= 1


def test_report_without_a_file_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    timeline = Timeline(FULL, STARTED)
    timeline.report("")
    assert capfd.readouterr() == ("", timeline.table())


@pytest.mark.parametrize(("name", "start"), [("t.json", "{"), ("t.svg", "<svg")])
def test_report_with_a_file_goes_there_in_its_format(tmp_path: Path, name: str, start: str) -> None:
    Timeline(FULL, STARTED).report(str(tmp_path / name))
    assert (tmp_path / name).read_text().startswith(start)


def test_file_that_cannot_be_written_is_a_host_error() -> None:
    with pytest.raises(HostError, match=r"--timing=/absent/t.json: No such file or directory"):
        Timeline(FULL, STARTED).report("/absent/t.json")


def test_process_start_is_within_the_tick_that_the_kernel_tells() -> None:
    stat = Path("/proc/self/stat").read_text()
    ticks = int(stat.rpartition(")")[2].split()[19])
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    earliest = ticks * tick_ns - clock_gettime_ns(CLOCK_BOOTTIME) + clock_gettime_ns(CLOCK_MONOTONIC)
    # Both places read the two clocks one after the other.
    assert earliest - MS <= lib.process_start_ns() <= earliest + tick_ns + MS
    assert lib.process_start_ns() < monotonic_ns()
