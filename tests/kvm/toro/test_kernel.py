"""The kernel, checked from inside by programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from guests import Result

HELLO = Path(__file__).parents[3] / "examples/HelloWorld/HelloWorld.pas"


def assert_all_ok(result: Result, checks: int) -> None:
    """Every line says `ok`, and there are as many as the program has checks."""
    lines = result.stdout.decode().splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert len(lines) == checks
    assert (result.status, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("cpus", "memory", "mib"), [("1", "16M", 16), ("2", "128M", 128), ("4", "2G", 2048), ("8", "5G", 5120)]
)
def test_hello_world_sees_its_machine(toro: Callable[..., Result], cpus: str, memory: str, mib: int) -> None:
    result = toro(HELLO, "--cpus", cpus, "--mem", memory)
    text = f"Hello World, I am TORO!\n{cpus} cores, {mib} MiB of memory\n"
    assert result == Result(0, text.encode(), "")


def test_the_language_and_its_library(toro: Callable[..., Result]) -> None:
    assert_all_ok(toro("Language"), 25)


@pytest.mark.parametrize("protocol", ["direct", "pvh"])
def test_randomize_gives_every_guest_numbers_of_its_own(toro: Callable[..., Result], protocol: str) -> None:
    lines = [line for _ in range(2) for line in toro("Random", "--boot", protocol).stdout.splitlines()]
    assert len({*lines[0:2], *lines[3:5]}) == 4
    # MT19937 with init_genrand(1), as in every FPC program
    assert lines[2] == lines[5] == b"417021 997184 720324 "


@pytest.mark.parametrize("cpus", ["1", "2"])
def test_interrupts(toro: Callable[..., Result], cpus: str) -> None:
    assert_all_ok(toro("Interrupts", "--cpus", cpus), 6)


@pytest.mark.parametrize("cpus", [1, 2, 4, 8, 64])
def test_each_core_reaches_pascal(toro: Callable[..., Result], cpus: int) -> None:
    result = toro("Cores", "--cpus", str(cpus))
    lines = [f"core {i}: online TRUE, own block TRUE" for i in range(cpus)]
    assert result.stdout.decode().splitlines() == [*lines, "program on core 0"]
    assert result.status == 0


@pytest.mark.parametrize(("memory", "largest"), [("16M", 13 << 20), ("512M", 494 << 20), ("6G", 2950 << 20)])
def test_the_heap_is_all_of_memory(toro: Callable[..., Result], memory: str, largest: int) -> None:
    result = toro("Heap", "--mem", memory)
    lines = result.stdout.decode().splitlines()
    end = next(at for at, line in enumerate(lines) if line.startswith("Runtime error 203 at "))
    found = dict(re.findall(r"^(total|largest) (\d+)$", result.stdout.decode(), re.M))
    checks = [line for line in lines[:end] if not line.startswith(("total", "largest"))]
    assert [line for line in checks if not line.startswith("ok ")] == []
    assert len(checks) == 26
    size = int(memory[:-1]) << (30 if memory[-1] == "G" else 20)
    assert size - (3 << 20) < int(found["total"]) < size  # the main stack has 1 MiB
    assert int(found["largest"]) >= largest
    assert result.status == 203


@pytest.mark.parametrize("cpus", [1, 2, 4, 8])
def test_the_heap_of_all_cores(toro: Callable[..., Result], cpus: int) -> None:
    assert_all_ok(toro("HeapCores", "--cpus", str(cpus), "--mem", "48M"), 8)


def test_memory_that_kvm_does_not_know_yet(toro: Callable[..., Result], tmp_path: Path) -> None:
    timing = tmp_path / "timing.json"
    assert_all_ok(toro("Reach", "--mem", "64G", f"--timing={timing}"), 13)
    assert json.loads(timing.read_text())["exits"]["mmio"] > 0


def test_console_output_is_what_was_written(toro: Callable[..., Result]) -> None:
    text = (
        "decimal 7 18446744073709551611, hex 0x00000000DEADBEEF, text pchar, char c, percent %, tab\tbackslash \\\n"
        "missing 1 \n\n18446744073709551615\n" + "0123456789" * 100 + "\nno new line at the end"
    )
    assert toro("Terminal", "--append", "formats") == Result(0, text.encode(), "")


def test_a_line_is_one_exit(toro: Callable[..., Result], tmp_path: Path) -> None:
    timing = tmp_path / "timing.json"
    toro("Terminal", "--append", "line", f"--timing={timing}")
    assert json.loads(timing.read_text())["exits"] == {"io": 2}  # the line and the end


def test_lines_of_all_cores_are_whole(toro: Callable[..., Result]) -> None:
    """Also that of the core whose line would end beyond a page, where KVM splits it."""
    lines = toro("Lines", "--cpus", "16").stdout.decode().splitlines()
    assert sorted(lines) == sorted([chr(ord("a") + core) * 250 for core in range(16)] * 50)


def test_read_ln_reads_standard_input(toro: Callable[..., Result]) -> None:
    long = "x" * 3000
    result = toro("Terminal", "--append", "echo", stdin=f"one\n{long}\n\nend\n".encode())
    assert result.stdout.decode().splitlines() == ["read: ONE", f"read: {long.upper()}", "read: ", "read: END"]
    assert result.status == 0


def test_the_marks_are_in_order(toro: Callable[..., Result], tmp_path: Path) -> None:
    timing = tmp_path / "timing.json"
    toro(HELLO, f"--timing={timing}")
    steps = {step["name"]: step["ns"] for step in json.loads(timing.read_text())["steps"]}
    assert None not in steps.values()
    assert list(steps.values()) == sorted(steps.values())
