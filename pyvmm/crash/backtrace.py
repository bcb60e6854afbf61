"""The callers of a function, by the chain of frame pointers on a guest's stack.

RBP points to the caller's RBP, behind which the return address lies. The guest wrote both: the
walk goes upwards only and ends after a number of steps, whatever it reads.
"""

from __future__ import annotations

from pyvmm.gdb.mmu import PAGE, Walk
from pyvmm.memory import GuestMemoryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyvmm.gdb.mmu import Control, Memory

FRAMES_MAX = 64
_WORD = 8


def read_virtual(memory: Memory, control: Control, address: int, length: int) -> bytes:
    """Up to `length` bytes at a guest-virtual address; fewer where the rest is not mapped."""
    data = b""
    while len(data) < length:
        part = min(length - len(data), PAGE - address % PAGE)
        physical = Walk(memory, control, address).physical
        try:
            if physical is None:
                break
            data += memory.read(physical, part)
        except GuestMemoryError:
            break
        address = (address + part) % (1 << 64)
    return data


def callers(memory: Memory, control: Control, frame: int) -> Iterator[int]:
    """Return addresses, the innermost first.

    Args:
        memory: the guest's.
        control: the vCPU's control registers.
        frame: its RBP.
    """
    for _ in range(FRAMES_MAX):
        words = read_virtual(memory, control, frame, 2 * _WORD) if frame % _WORD == 0 else b""
        if len(words) < 2 * _WORD:
            return
        above, address = int.from_bytes(words[:_WORD], "little"), int.from_bytes(words[_WORD:], "little")
        if not address:
            return
        yield address
        if above <= frame:
            return
        frame = above
