"""QEMU's microvm machine, where the same images boot by PVH."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from guests import in_emulator

QEMU = "qemu-system-x86_64"
_CPUS = {"tcg": ["-accel", "tcg,thread=multi", "-cpu", "max"], "kvm": ["-accel", "kvm", "-cpu", "qemu64"]}
_MACHINE = (
    "-nodefaults -no-user-config -display none -no-reboot -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4 "
    "-global virtio-mmio.force-legacy=false"  # by default QEMU offers the legacy transport, not version 2
).split()


def _usable(accelerator: str) -> tuple[bool, str]:
    if not shutil.which(QEMU):
        return False, "needs qemu-system-x86"
    if accelerator == "tcg":
        return not in_emulator(), "an emulator in an emulator takes too long"
    return os.access("/dev/kvm", os.R_OK | os.W_OK), "needs /dev/kvm"


def _accelerator(name: str) -> object:
    usable, reason = _usable(name)
    return pytest.param(name, marks=pytest.mark.skipif(not usable, reason=reason))


#: For `pytest.mark.parametrize`: those that cannot be used here are skipped.
ACCELERATORS = [_accelerator(name) for name in _CPUS]


def command(
    kernel: str,
    *options: str,
    accelerator: str,
    cpus: int = 1,
    memory: str = "256M",
    machine: str = "microvm,acpi=off",
    append: str = "",
) -> list[str]:
    """What boots an image. Guest memory is shared, so that other processes can serve its devices."""
    shared = ["-object", f"memory-backend-memfd,id=ram,size={memory},share=on"]
    base = [QEMU, *_CPUS[accelerator], *_MACHINE, "-M", f"{machine},memory-backend=ram", *shared, "-m", memory]
    return [*base, "-smp", str(cpus), "-kernel", kernel, "-append", append, *options]


def boot(kernel: str, *options: str, **how: object) -> tuple[int, bytes]:
    """Boots an image; its exit status and console, at whose start firmware may have said something."""
    words = command(kernel, *options, **how)  # type: ignore[arg-type]
    result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=100, check=False)
    assert result.returncode % 2, result.stderr.decode()  # isa-debug-exit: twice the status, plus one
    return result.returncode // 2, result.stdout


def share(socket: Path, tag: str) -> list[str]:
    """Options for a virtio-fs device that a vhost-user backend serves."""
    return ["-chardev", f"socket,id={tag},path={socket}", "-device", f"vhost-user-fs-device,chardev={tag},tag={tag}"]
