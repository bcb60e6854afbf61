"""A Toro image in the state in which Firecracker enters a Linux ELF image on x86-64.

The bare minimum for 64-bit mode: an identity map of the first GiB only, a GDT of four
entries at 0x500, no more bits in CR0 and CR4 than needed, a stack, and a zero page with
the loader's fields, the memory map and the command line only.
"""

from __future__ import annotations

from pathlib import Path
from struct import pack, pack_into

import pytest
from guests import GIB, MIB
from programs import Programs

from pyvmm._kvm import ffi
from pyvmm.boot import elf
from pyvmm.boot.file import File
from pyvmm.boot.protocol import set_segment
from pyvmm.config import MachineConfig
from pyvmm.machine import Machine

HELLO = Path(__file__).parents[3] / "examples/HelloWorld/HelloWorld.pas"

GDT, IDT, ZERO_PAGE, STACK = 0x500, 0x520, 0x7000, 0x8FF0
PML4, PDPT, DIRECTORY = 0x9000, 0xA000, 0xB000
COMMAND_LINE, LOW_END = 0x20000, 0x9FC00
PE, ET, NW_CD, PG, PAE, LME_LMA = 1, 0x10, 0x6000_0000, 0x8000_0000, 0x20, 0x500


def zero_page(memory: int, rsdp: int) -> bytes:
    """struct boot_params as it is filled in there."""
    page = bytearray(4096)
    pack_into("<Q", page, 0x70, rsdp)
    pack_into("<H", page, 0x1FE, 0xAA55)
    pack_into("<I", page, 0x202, 0x5372_6448)
    page[0x210] = 0xFF  # type_of_loader: one without a number
    pack_into("<I", page, 0x228, COMMAND_LINE)
    pack_into("<I", page, 0x230, 0x100_0000)  # kernel_alignment
    pack_into("<I", page, 0x238, 2048)  # cmdline_size
    ranges = [(0, LOW_END), (1 * MIB, memory - 1 * MIB)]
    page[0x1E8] = len(ranges)
    for index, (start, size) in enumerate(ranges):
        pack_into("<QQI", page, 0x2D0 + 20 * index, start, size, 1)
    return bytes(page)


def enter_like_firecracker(machine: Machine, entry: int, rsdp: int) -> None:
    """Overwrites what pyvmm has prepared of memory and registers."""
    memory, vcpu = machine.memory, machine.threads[0].vcpu
    memory.write(ZERO_PAGE, zero_page(machine.config.memory, rsdp))
    memory.write(GDT, pack("<QQQQ", 0, 0xAF_9B00_0000_FFFF, 0xCF_9300_0000_FFFF, 0x8F_8B00_0000_FFFF))
    memory.write(IDT, bytes(8))
    memory.write(PML4, pack("<Q", PDPT | 3).ljust(4096, b"\0"))
    memory.write(PDPT, pack("<Q", DIRECTORY | 3).ljust(4096, b"\0"))
    memory.write(DIRECTORY, b"".join(pack("<Q", i << 21 | 0x83) for i in range(512)))
    sregs = vcpu.sregs()
    set_segment(sregs.cs, selector=8, type=11, l=1, db=0, limit=0xFFFFF)
    for name in ("ds", "es", "fs", "gs", "ss"):
        set_segment(getattr(sregs, name), selector=16, type=3, limit=0xFFFFF)
    set_segment(sregs.tr, selector=24, type=11, s=0, db=0, limit=0xFFFFF)
    sregs.gdt.base, sregs.gdt.limit = GDT, 31
    sregs.idt.base, sregs.idt.limit = IDT, 7
    sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer = PG | NW_CD | ET | PE, PML4, PAE, LME_LMA
    vcpu.set_sregs(sregs)
    vcpu.set_regs(
        ffi.new("struct kvm_regs *", {"rip": entry, "rflags": 2, "rsi": ZERO_PAGE, "rsp": STACK, "rbp": STACK})
    )


@pytest.mark.parametrize("tables", ["acpi", "mp"])
@pytest.mark.parametrize("cpus", [1, 4])
def test_a_toro_image_boots(programs: Programs, capfd: pytest.CaptureFixture[str], cpus: int, tables: str) -> None:
    """With processors from ACPI's tables, to which the zero page points, or from the MP table."""
    file = File(programs.image(HELLO))
    entry = elf.parse(file.read, file.size, file.name).entry
    file.close()
    with Machine(MachineConfig(file.name, boot="linux", cpus=cpus, memory=GIB), console=(0, 1)) as machine:
        enter_like_firecracker(machine, entry, 0xE0000 if tables == "acpi" else 0)
        if tables == "mp":
            machine.memory.write(0xE0000, bytes(0x1000))
        assert machine.run() == 0
    assert capfd.readouterr().out == f"Hello World, I am TORO!\n{cpus} cores, 1023 MiB of memory\n"
