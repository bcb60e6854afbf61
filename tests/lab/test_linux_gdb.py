"""GDB on Debian's cloud kernel, by the CPU's debug registers. Runs in the lab.

Software breakpoints are left out: QEMU's emulation of AMD-V does not intercept an INT3, so the guest
itself gets it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from gdbs import gdb, waiting
from linux import ARGUMENTS, KERNEL, Linux, addresses, make_initrd, vmlinux

pytestmark = pytest.mark.skipif(not KERNEL.exists() or not shutil.which("gdb"), reason="runs in the lab: make test-lab")


def test_breakpoints_steps_and_watchpoints(tmp_path: Path) -> None:
    image = tmp_path / "vmlinux"
    image.write_bytes(vmlinux(KERNEL.read_bytes()))
    start, later, jiffies = addresses("start_kernel", "rest_init", "jiffies_64")
    options = ["--initrd", str(make_initrd(tmp_path)), "--append", ARGUMENTS, "--mem", "512M", "--cpus", "2"]
    with waiting(image, *options) as (process, place):
        said = gdb(
            image, place, f"hbreak *{start:#x}", "continue", "print $pc", "print $cr0 >> 31 & 1", "stepi", "delete",
            f"hbreak *{later:#x}", "continue", "print $pc", "stepi", "delete",
            f"watch *(unsigned long *) {jiffies:#x}", "continue", "info threads", "delete", "detach",
        )  # fmt: skip
        Linux(process).wait_for("ready for you")
    assert re.search(rf"\$1 = .*{start:#x}", said)
    assert "$2 = 1" in said
    assert re.search(rf"\$3 = .*{later:#x}", said)
    assert re.search(r"Old value = (\d+)\nNew value = (\d+)", said)
    assert len(re.findall(r"Thread \d+ \(vCPU \d", said)) >= 2
