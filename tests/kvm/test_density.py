"""bench/density.py with real guests, none of which it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from guests import PYVMM, needs_compiler, toro_image, wait_until

BENCH = Path(__file__).parent.parent.parent / "bench"
sys.path.append(str(BENCH))

import density  # noqa: E402

pytestmark = needs_compiler


def command_of(pid: int) -> str:
    """The command line of a process, empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_guests_are_counted_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(density, "SETTLE_SECONDS", 0)
    image = toro_image(BENCH / "Idle.pas", tmp_path)
    one, three = density.measure(Path(PYVMM), Path(image), [1, 3], 0.01)
    assert (one.guests, three.guests) == (1, 3)
    assert (len(one.starts), len(three.starts)) == (1, 3)
    assert 0 < one.memory.guest < three.memory.guest < 3 * (16 << 20)
    assert one.memory.vmm < three.memory.vmm < 3 * one.memory.vmm  # file pages are shared
    assert sum(three.memory.by_mapping.values()) == three.memory.vmm
    assert image not in " ".join(map(command_of, density.descendants(os.getpid())))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_no_guest_outlives_a_benchmark_that_is_ended(number: signal.Signals, status: int) -> None:
    with subprocess.Popen([PYVMM, "bench", "density", "--guests", "1"], stderr=subprocess.PIPE, text=True) as process:

        def guests() -> list[int]:
            return [pid for pid in density.descendants(process.pid) if "Idle.elf --mem" in command_of(pid)]

        wait_until(guests, "a guest")
        pids = guests()
        process.send_signal(number)
        assert process.wait(60) == status
        assert process.stderr
        assert process.stderr.read() == ""
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
