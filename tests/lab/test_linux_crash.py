"""Debian's cloud kernel panics, tells of it by pvpanic, and its core file is read by GDB. Runs in the lab."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from linux import KERNEL, addresses, booted, make_initrd

pytestmark = pytest.mark.skipif(not KERNEL.exists() or not shutil.which("gdb"), reason="runs in the lab: make test-lab")


def test_a_panic_is_kept(tmp_path: Path) -> None:
    where = tmp_path / "crash"
    with booted(KERNEL, make_initrd(tmp_path), "--crash", str(where), "--cpus", "2") as guest:
        guest.type("echo c > /proc/sysrq-trigger")
        guard = threading.Timer(120, guest.process.kill)
        guard.start()
        assert guest.process.stderr
        said = guest.process.stderr.readline()
        guard.cancel()
    assert "the guest's kernel has panicked; the report and a core file are kept" in said
    assert json.loads((where / "report.json").read_text())["kind"] == "panic"
    (banner,) = addresses("linux_banner")
    words = ("-ex", "set architecture i386:x86-64", "-ex", f"core-file {where}/core", "-ex", f"x/s {banner:#x}")
    done = subprocess.run(
        ["gdb", "-batch", "-nx", *words, "-ex", "info threads", "-ex", "info registers ymm0"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Linux version " in done.stdout
    assert done.stdout.count("LWP ") >= 2
    assert ("v8_int32" in done.stdout) == (" avx " in Path("/proc/cpuinfo").read_text())
