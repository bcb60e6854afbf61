"""A crash report: a document of numbers and texts, made of a guest that does not run.

`text.py` writes it as lines; `storage.py` writes it as JSON, and checks what it reads;
`docs/crash-report.md` describes it. What comes from the guest, its registers, code and stack, is
bounded here and shown there as text only.
"""

from __future__ import annotations

from pyvmm import __version__
from pyvmm.crash.backtrace import callers, read_virtual
from pyvmm.measures import EXIT_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pyvmm.crash.names import Names
    from pyvmm.kvm.vcpu import Vcpu
    from pyvmm.machine import Machine

FORMAT = 1
#: The files of `--crash`.
REPORT, TEXT, CORE = "report.json", "report.txt", "core"
#: The name and type of its note in a core file.
NOTE, NOTE_REPORT = b"pyvmm", 1
GENERAL = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
    *("rip", "rflags"),
)
_CONTROL = ("cr0", "cr2", "cr3", "cr4", "efer")
_SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")
_CODE_BYTES = 16
#: What to do next, by kind.
_NEXT = {
    "triple fault": "its handlers of exceptions cannot be entered: look at where it was, its IDT and its stack",
    "emulation failure": "run it on a host whose CPU helps KVM, or compile it for the baseline of x86-64",
    "hang": "the vCPU runs without a pause: look at where it was, or give it longer by --watchdog",
}
#: Intel SDM volume 3, table 6-1.
_EXCEPTIONS = {
    0: "divide error", 1: "debug", 2: "non-maskable interrupt", 3: "breakpoint", 4: "overflow",
    5: "bound range exceeded", 6: "invalid opcode", 7: "device not available", 8: "double fault", 10: "invalid TSS",
    11: "segment not present", 12: "stack fault", 13: "general protection", 14: "page fault",
    16: "x87 floating-point error", 17: "alignment check", 18: "machine check", 19: "SIMD floating-point error",
    20: "virtualization", 21: "control protection",
}  # fmt: skip
_PAGE_FAULT = 14


class Crash:
    """What has happened.

    Args:
        kind: `triple fault`, `emulation failure`, `exception`, `panic`, `hang` or another.
        message: one line.
        vcpu: the number of the vCPU.
        registers: values that are to replace those of the vCPU: where the exception was, which a
            handler reports.
    """

    def __init__(self, kind: str, message: str, vcpu: int, registers: Mapping[str, int] | None = None) -> None:
        self.kind, self.message, self.vcpu, self.registers = kind, message, vcpu, registers or {}


def of_exception(vcpu: int, registers: Mapping[str, int]) -> Crash:
    """The crash that a guest's kernel reports.

    Args:
        vcpu: its number.
        registers: as they were, and `vector`, `error` and `cr2`.
    """
    vector, address = registers["vector"], registers["cr2"]
    name = _EXCEPTIONS.get(vector, "unknown")
    how = f" at the address {address:#x}" if vector == _PAGE_FAULT else ""
    message = f"vCPU {vcpu} at {registers['rip']:#x}: exception {vector}, {name}{how}"
    return Crash("exception", message, vcpu, registers)


def registers_of(vcpu: Vcpu) -> dict[str, int]:
    """A vCPU's registers by name; it must not run."""
    regs, sregs = vcpu.regs(), vcpu.sregs()
    found = {name: int(getattr(regs, name)) for name in GENERAL}
    found |= {name: int(getattr(sregs, name)) for name in _CONTROL}
    found |= {name: int(getattr(sregs, name).selector) for name in _SEGMENTS}
    return found | {f"{name}_base": int(getattr(sregs, name).base) for name in ("fs", "gs", "idt", "gdt", "tr")}


def document(machine: Machine, image: str, crash: Crash, uptime: float, names: Names) -> dict[str, Any]:
    """The report.

    Args:
        machine: whose vCPUs do not run.
        image: its path, as the user has named it.
        crash: what has happened.
        uptime: seconds since the guest's start.
        names: of the image.

    Raises:
        KvmError: KVM does not tell a vCPU's registers.
    """
    vcpus = [_vcpu(machine, index, crash, names) for index in range(machine.cpus)]
    exits = machine.measures.exits()
    return {
        "format": FORMAT,
        "pyvmm": __version__,
        "kind": crash.kind,
        "message": crash.message,
        "image": image,
        "uptime": round(uptime, 6),
        "memory": machine.memory.size,
        "vcpu": crash.vcpu,
        "vcpus": vcpus,
        "exits": {EXIT_NAMES.get(kind, str(kind)): count for kind, count in exits.items()},
        "next": _NEXT.get(crash.kind, "look at where it was"),
    }


def _vcpu(machine: Machine, index: int, crash: Crash, names: Names) -> dict[str, Any]:
    vcpu = machine.threads[index].vcpu
    sregs = vcpu.sregs()
    registers = registers_of(vcpu)
    if index == crash.vcpu:
        registers |= crash.registers
    bits = 64 if sregs.cs.l else 32 if sregs.cs.db else 16
    addresses = [registers["rip"]]
    if bits == 64:
        # A return address follows the call, and may belong to the next line or function.
        addresses += [address - 1 for address in callers(machine.memory, sregs, registers["rbp"])]
    if names and len(addresses) > 1:  # a register that is no frame pointer leads anywhere
        ends = (n for n, address in enumerate(addresses[1:], 1) if not names.function(address))
        addresses = addresses[: next(ends, len(addresses))]
    lines = names.lines(addresses)
    return {
        "index": index,
        "ring": registers["cs"] & 3,
        "bits": bits,
        "registers": {name: f"{value:#x}" for name, value in registers.items()},
        "code": read_virtual(machine.memory, sregs, registers["rip"], _CODE_BYTES).hex(" "),
        "backtrace": [
            {"address": f"{address:#x}", "function": names.function(address), "line": line}
            for address, line in zip(addresses, lines, strict=True)
        ],
    }
