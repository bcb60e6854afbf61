"""GDB's `monitor` commands: what the VMM knows and GDB has no word for."""

from __future__ import annotations

from pyvmm._kvm import ffi, lib
from pyvmm.gdb.mmu import PAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyvmm.gdb.debugger import Debugger
    from pyvmm.virtio.mmio import VirtioMmio

HELP = """\
regs            registers of each vCPU
mmu ADDRESS     how the current vCPU translates an address
virtio          each device's status, features and queues
vsock           the streams of the vsock device
"""
_GENERAL = ("rax rbx rcx rdx", "rsi rdi rbp rsp", "r8 r9 r10 r11", "r12 r13 r14 r15", "rip rflags")
_FLAGS = ((1, "writable"), (2, "user"), (3, "write-through"), (4, "uncached"), (5, "accessed"), (6, "dirty"),
          (7, "large"), (8, "global"), (63, "no-execute"))  # fmt: skip
_STATUS = (
    (1, "ACKNOWLEDGE"),
    (2, "DRIVER"),
    (4, "DRIVER_OK"),
    (8, "FEATURES_OK"),
    (64, "NEEDS_RESET"),
    (128, "FAILED"),
)


def answer(debugger: Debugger, transports: Sequence[VirtioMmio], vcpu: int, text: str) -> str:
    """What `monitor TEXT` prints.

    Args:
        debugger: its hold on a guest that is stopped.
        transports: the guest's devices.
        vcpu: the current one.
        text: what the user typed.
    """
    match text.split():
        case ["regs"]:
            return "".join(_registers(debugger, index) for index in range(debugger.count))
        case ["mmu", address]:
            try:
                return _translation(debugger, vcpu, int(address, 0))
            except ValueError:
                return f"{address}: not an address; write it as 0x1000\n"
        case ["virtio"]:
            return "".join(map(_device, transports)) or "no devices\n"
        case ["vsock"]:
            from pyvmm.virtio.vsock import Vsock

            counts = [each.device.native.stream_count for each in transports if isinstance(each.device, Vsock)]
            return "".join(f"{count} streams\n" for count in counts) or "no vsock device\n"
    return HELP


def _registers(debugger: Debugger, index: int) -> str:
    registers = debugger.registers(index)
    regs, sregs = registers.regs, registers.sregs
    lines = [f"vCPU {index}: {debugger.state(index)}, ring {sregs.cs.selector & 3}"]
    lines += ["  ".join(f"{name:>6} {getattr(regs, name):016x}" for name in names.split()) for names in _GENERAL]
    lines.append("  ".join(f"{name:>6} {getattr(sregs, name):016x}" for name in ("cr0", "cr2", "cr3", "cr4", "efer")))
    for name in ("cs", "ss", "ds", "es", "fs", "gs", "tr"):
        segment = getattr(sregs, name)
        lines.append(f"{name:>6} {segment.selector:04x}  base {segment.base:016x}  limit {segment.limit:08x}")
    lines += [
        f"{name:>6} base {getattr(sregs, name).base:016x}  limit {getattr(sregs, name).limit:04x}"
        for name in ("gdt", "idt")
    ]
    return "\n".join(lines) + "\n"


def _translation(debugger: Debugger, vcpu: int, address: int) -> str:
    walk = debugger.translate(vcpu, address)
    lines = [
        f"level {step.level}: entry {step.entry:016x} at {step.at:#x}: "
        + (" ".join(name for bit, name in _FLAGS if step.entry >> bit & 1) if step.entry & 1 else "not present")
        for step in walk.steps
    ]
    size = f"{walk.size >> 20} MiB" if walk.size >= 1 << 20 else f"{walk.size // PAGE * 4} KiB"
    found = "not mapped" if walk.physical is None else f"guest-physical {walk.physical:#x}, page of {size}"
    return "\n".join([*lines, f"{address:#x}: {found}", ""])


def _device(transport: VirtioMmio) -> str:
    saved = ffi.new("struct virtio_mmio_saved *")
    lib.virtio_mmio_save(transport.native, saved)
    status = " ".join(name for bit, name in _STATUS if saved.status & bit) or "reset"
    lines = [
        f"{transport.device.name} at {transport.base:#x}: {status}",
        f"  features {saved.driver_features:#x}, interrupt status {saved.interrupt_status:#x}",
    ]
    for number in range(saved.queue_count):
        queue = saved.queue[number]
        if queue.ready:
            lines.append(
                f"  queue {number}: {queue.size} entries, descriptors {queue.desc:#x}, available {queue.avail:#x}, "
                f"used {queue.used:#x}; next available {queue.next_avail}, next used {queue.next_used}"
            )
    return "\n".join([*lines, ""])
