"""Composes the State of a machine at time zero: a pure function of image and options."""

from __future__ import annotations

from pyvmm._kvm import lib
from pyvmm.boot.choose import choose
from pyvmm.boot.file import File
from pyvmm.layout import VIRTIO_GSI, VIRTIO_MMIO_STRIDE, Ram, virtio_base
from pyvmm.memory import GuestMemory
from pyvmm.state.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyvmm.boot.protocol import Host
    from pyvmm.config import MachineConfig


def compose(config: MachineConfig, devices: Sequence[int], shared: bool, host: Host | None = None) -> State:
    """The State with which a machine starts.

    Args:
        config: the machine's.
        devices: the virtio device ID of each slot.
        shared: other processes are to map its memory.
        host: the KVM that it is for; by default this host's, which only a PC depends on.

    Returns:
        It; the caller closes its memory.

    Raises:
        PyvmmError: the image is damaged or does not fit, or memory cannot be had.
    """
    file = File(config.image)
    initrd = None
    try:
        initrd = File(config.initrd) if config.initrd else None
        ram = Ram(config.memory)
        boot = choose(file, config.boot, ram, config.cpus, command_line(config.command_line, len(devices)), initrd)
        memory = GuestMemory(ram, shared)
        try:
            boot.load(file, memory)
            boot.write_tables(
                memory, [(virtio_base(slot), VIRTIO_GSI + slot, kind) for slot, kind in enumerate(devices)]
            )
            first, second = (*boot.reset_limits, *boot.reset_limits, 0, 0)[:2]
            state = State(
                memory,
                config.cpus,
                devices,
                flags=(lib.STATE_PC if boot.is_pc else 0) | (lib.STATE_OWN_PIT if boot.own_pit else 0),
                boot_info=boot.boot_info,
                end=boot.end,
                shutdown_message=boot.shutdown_message,
                reset_limits=first | second << 16,
            )
            if boot.is_pc and not host:
                from pyvmm.kvm.device import Kvm

                with Kvm() as kvm:
                    registers = boot.registers(kvm)
            else:
                registers = boot.registers(host)
            for cpu, sections in enumerate(registers):
                for kind, data in sections.items():
                    state.add(kind, cpu, data)
        except BaseException:
            memory.close()
            raise
    finally:
        file.close()
        if initrd:
            initrd.close()
    return state


def command_line(given: bytes, devices: int) -> bytes:
    """The user's, and behind it the devices as Linux's virtio_mmio names them."""
    words = [given] if given else []
    for slot in range(devices):
        words.append(b"virtio_mmio.device=%d@%#x:%d" % (VIRTIO_MMIO_STRIDE, virtio_base(slot), VIRTIO_GSI + slot))
    return b" ".join(words)
