"""A case as a guest: an ELF image that does to a device of any VMM what the steps say.

The image is a loop in machine code and a table of the operations. The code means the same
in 64-bit and in 32-bit mode, so the image boots directly, by PVH, and as an ELF kernel
wherever ring 0, the arena and the device's registers are mapped one to one::

    pyvmm boot case.elf --vsock 5
    qemu-system-x86_64 -M microvm -global virtio-mmio.force-legacy=false -nographic -kernel case.elf \\
        -device isa-debug-exit,iobase=0xf4,iosize=4 -device virtio-serial-device

The guest looks for the device from `base` on. At the end it writes the device's Status
to port 0xf4, which is pyvmm's exit status: 79 is a device that needs a reset. 255
means that there is no such device.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pyvmm.boot.tiny import ENTRY, tiny_image
from pyvmm.testing.registers import BASE, QUEUE_NOTIFY
from pyvmm.testing.steps import ARENA, QUEUE_BYTES, Notify, Read, Store, Wait, Write, operations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyvmm.testing.steps import Operation, Step

#: Reads of Status that the guest waits for: each is an exit, so they take some 10 ms.
_TURN = 3000
#: The same at the end, for a backend that takes its time to die.
_LAST_TURN = 30_000

_END, _WRITE, _READ, _STORE, _WAIT, _FILL = range(6)

#: (code, source): ESI is at the table, EBX at the device's registers. TABLE, BASE and ID are put in.
CODE = (
    ("fc", "cld"),
    ("be TABLE", "mov esi, TABLE"),
    ("bb BASE", "mov ebx, BASE"),
    ("b9 20 00 00 00", "mov ecx, 32"),
    ("81 3b 76 69 72 74", "1: cmp dword ptr [rbx], 0x74726976"),
    ("75 09", "jne 2f"),
    ("81 7b 08 ID", "cmp dword ptr [rbx+8], ID"),
    ("74 0f", "je 3f"),
    ("81 c3 00 02 00 00", "2: add ebx, 512"),
    ("83 e9 01", "sub ecx, 1"),
    ("75 e4", "jnz 1b"),
    ("b0 ff", "mov al, 0xff"),
    ("eb 47", "jmp 9f"),
    # An operation: its kind in EDX, and two numbers in EDI and EAX.
    ("ad", "3: lodsd"),
    ("89 c2", "mov edx, eax"),
    ("ad", "lodsd"),
    ("89 c7", "mov edi, eax"),
    ("ad", "lodsd"),
    ("83 fa 01", "cmp edx, 1"),
    ("72 38", "jb 8f"),
    ("74 14", "je 4f"),
    ("83 fa 03", "cmp edx, 3"),
    ("72 14", "jb 5f"),
    ("74 17", "je 6f"),
    ("83 fa 05", "cmp edx, 5"),
    ("72 1e", "jb 7f"),
    # Fills EAX bytes at EDI.
    ("89 c1", "mov ecx, eax"),
    ("b0 a5", "mov al, 0xa5"),
    ("f3 aa", "rep stosb"),
    ("eb de", "jmp 3b"),
    ("89 04 3b", "4: mov [rbx+rdi], eax"),
    ("eb d9", "jmp 3b"),
    ("8b 04 3b", "5: mov eax, [rbx+rdi]"),
    ("eb d4", "jmp 3b"),
    # Copies EAX bytes from the table, which goes on at a multiple of 4.
    ("89 c1", "6: mov ecx, eax"),
    ("f3 a4", "rep movsb"),
    ("83 c6 03", "add esi, 3"),
    ("83 e6 fc", "and esi, -4"),
    ("eb c8", "jmp 3b"),
    # Reads Status EAX times.
    ("89 c1", "7: mov ecx, eax"),
    ("8b 43 70", "1: mov eax, [rbx+0x70]"),
    ("83 e9 01", "sub ecx, 1"),
    ("75 f8", "jnz 1b"),
    ("eb bc", "jmp 3b"),
    ("8b 43 70", "8: mov eax, [rbx+0x70]"),
    ("e6 f4", "9: out 0xf4, al"),
    ("f4", "hlt"),
    ("eb fd", "jmp 9b+2"),
)


def guest_image(steps: Sequence[Step], device_id: int, queues: int, base: int = BASE) -> bytes:
    """The ELF image of a case.

    Args:
        steps: the case.
        device_id: the type of device (virtio 1.2, section 5).
        queues: how many it has: their parts of the arena are filled.
        base: guest-physical; the device is the first of this type among 32 from there, 512 bytes apart.

    Example::

        Path("case.elf").write_bytes(guest_image([Start((8,)), Notify(0), Wait()], device_id=4, queues=1))
    """
    table = _entry(_FILL, ARENA, queues * QUEUE_BYTES)
    for step in operations(steps):
        table += b"".join(map(_encode, step))
    table += _entry(_WAIT, 0, _LAST_TURN) + _entry(_END, 0, 0)
    size = len(_machine_code(0, base, device_id))
    at = ENTRY + size + -(ENTRY + size) % 4
    code = _machine_code(at, base, device_id)
    return tiny_image(code.ljust(at - ENTRY, b"\xf4") + table)


def _machine_code(table: int, base: int, device_id: int) -> bytes:
    text = " ".join(code for code, _ in CODE)
    for name, value in (("TABLE", table), ("BASE", base), ("ID", device_id)):
        text = text.replace(name, value.to_bytes(4, "little").hex())
    return bytes.fromhex(text)


def _entry(kind: int, a: int, b: int) -> bytes:
    return struct.pack("<3I", kind, a, b)


def _encode(operation: Operation) -> bytes:
    match operation:
        case Write(offset, value):
            return _entry(_WRITE, offset, value)
        case Notify(queue):
            return _entry(_WRITE, QUEUE_NOTIFY, queue)
        case Read(offset):
            return _entry(_READ, offset, 0)
        case Store(address, data):
            return _entry(_STORE, address, len(data)) + data + bytes(-len(data) % 4)
        case Wait():
            return _entry(_WAIT, 0, _TURN)
