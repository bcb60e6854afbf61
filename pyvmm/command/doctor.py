"""`pyvmm doctor`: what of this host pyvmm needs and can use, and what to do about what is missing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pyvmm._kvm import lib
from pyvmm.boot.tiny import tiny_image
from pyvmm.command.options import parse
from pyvmm.config import MachineConfig
from pyvmm.errors import BuildError, PyvmmError, UsageError
from pyvmm.host.confinement import confinement
from pyvmm.host.finding import Finding
from pyvmm.host.resources import resources
from pyvmm.host.virtiofsd import PROGRAMS
from pyvmm.host.vulnerabilities import vulnerabilities
from pyvmm.kvm import Kvm
from pyvmm.kvm.hardware import has_hardware, has_nested_paging, is_virtual
from pyvmm.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The exit status where guests will not boot.
STATUS_SICK = 1

_LOOPS = 1000
#: Counts down, and ends by writing 0 to the exit port: mov ecx, _LOOPS; 1: dec ecx; jnz 1b; xor al, al; out 0xf4, al
_GUEST = b"\xb9" + _LOOPS.to_bytes(4, "little") + b"\xff\xc9\x75\xfc\x30\xc0\xe6\xf4\xf4"
_PATIENCE = 10.0  # seconds for it
_OPTIONAL = {
    "KVM_CAP_BINARY_STATS_FD": "what KVM counts (`query-stats`, `--metrics`)",
    "KVM_CAP_EXIT_ON_EMULATION_FAILURE": "the instruction that KVM could not execute, in messages",
    "KVM_CAP_IOEVENTFD": "notifications without an exit",
    "KVM_CAP_IRQFD": "interrupts of devices",
}
_TAKE_NEWER = "take a newer kernel"
_SHARES = "install virtiofsd, or Debian's qemu-system-common; without it there is no `--share DIR:TAG`"


def doctor(words: list[str]) -> tuple[str, int]:
    """Looks at everything; returns the report and the exit status.

    Raises:
        UsageError: the words make no sense.
    """
    operands, options, _ = parse("doctor", words)
    if operands:
        raise UsageError(f"{operands[0]}: doctor has no operand")
    findings = list(examine())
    status = STATUS_SICK if any(finding.level == "fault" for finding in findings) else 0
    if "--json" in options:
        import json

        return json.dumps([finding._asdict() for finding in findings], indent=2) + "\n", status
    lines = [f"{level:<6} {what}: {found}{'; ' * bool(remedy)}{remedy}\n" for level, what, found, remedy in findings]
    verdict = "guests boot here\n" if not status else "no guest boots here; see each `fault`\n"
    return "".join([*lines, verdict]), status


def examine() -> Iterator[Finding]:
    """All findings; the first that is a fault says why no guest boots."""
    yield from _kvm()
    yield _virtiofsd()
    yield _compiler()
    yield from resources()
    yield from confinement()
    yield from vulnerabilities(is_virtual=is_virtual())


def _kvm() -> Iterator[Finding]:
    try:
        kvm = Kvm()
    except PyvmmError as error:
        yield _fault("/dev/kvm", error)
        return
    with kvm:
        yield Finding("ok", "/dev/kvm", "this user may open it")
        missing = [name for name in _OPTIONAL if not kvm.check_extension(getattr(lib, name))]
        vcpus = kvm.check_extension(lib.KVM_CAP_NR_VCPUS), kvm.check_extension(lib.KVM_CAP_MAX_VCPUS)
    yield from (Finding("note", name, f"absent, and so is {_OPTIONAL[name]}", _TAKE_NEWER) for name in missing)
    yield Finding("ok", "vCPUs", f"{vcpus[0]} run well at a time, a guest may have {vcpus[1]}")
    try:
        ms, interprets = _trial()
    except PyvmmError as error:
        yield _fault("trial", error)
    except TimeoutError:
        yield Finding("fault", "trial", f"a guest of a few instructions has not ended after {_PATIENCE:g} s",
                      "look at the host's log (`dmesg`)")  # fmt: skip
    else:
        yield _virtualization(interprets)
        yield Finding("ok", "trial", f"a guest has booted and ended, in {ms:.1f} ms")


def _fault(what: str, error: PyvmmError) -> Finding:
    found, _, remedy = str(error).removeprefix(f"{what}: ").partition("; ")
    return Finding("fault", what, found, remedy)


def _trial() -> tuple[float, bool]:
    """Boots a guest; returns the ms from making it to its end, and whether KVM interprets its ring 0.

    Raises:
        PyvmmError: it does not boot.
        TimeoutError: it does not end.
    """
    from time import perf_counter

    fd = os.memfd_create("doctor.elf")
    try:
        os.write(fd, tiny_image(_GUEST))
        begin = perf_counter()
        with Machine(MachineConfig(f"/proc/self/fd/{fd}")) as machine:
            machine.start()
            machine.wait(_PATIENCE)
            took = perf_counter() - begin
            return took * 1e3, (machine.measures.interpreted() or 0) > _LOOPS
    finally:
        os.close(fd)


def _virtualization(interprets: bool) -> Finding:
    what = "virtualization"
    if interprets:
        found = "KVM interprets ring 0, so whatever does not run in ring 3, as Toro does, is 100 to 1000 times slower"
        return Finding("note", what, found, "use a host whose CPU helps (VT-x, AMD-V), or one that is not virtual")
    if not has_hardware():
        return Finding("note", what, "KVM has no help of the CPU, so exits are slow", "use a host with VT-x or AMD-V")
    if not has_nested_paging():
        found = "the CPU does not walk guests' page tables (EPT, NPT), so page faults are slow"
        return Finding("note", what, found, "load kvm_intel with ept=1, or kvm_amd with npt=1")
    if is_virtual():
        found = "nested: this host is a virtual machine, and each exit passes through the hypervisor below"
        return Finding(
            "note", what, found, "use a host that is not virtual where exits matter (devices, many interrupts)"
        )
    return Finding("ok", what, "by the CPU")


def _virtiofsd() -> Finding:
    for program, _ in PROGRAMS:
        if os.access(program, os.X_OK):
            return Finding("ok", "virtiofsd", program)
    return Finding("note", "virtiofsd", "not installed", _SHARES)


def _compiler() -> Finding:
    from pyvmm.toolchain.pascal import compiler_version

    try:
        return Finding("ok", "pyvmm build", f"Free Pascal {compiler_version()}")
    except BuildError as error:
        found, _, remedy = str(error).partition(": ")
        return Finding("note", "pyvmm build", found, remedy)
