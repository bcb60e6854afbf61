"""Core files: a guest's memory and registers in the format that GDB reads (System V gABI, chapter 5).

A PT_LOAD for each range of memory, at the guest-virtual address where the crashed vCPU's page
tables map it, with its guest-physical one in `p_paddr`. RAM that is not mapped is there as well, from
UNMAPPED on, outside all addresses that a CPU translates. All of RAM is in the file once, and several
PT_LOADs may refer to the same part. Pages of zeroes are holes.

A PT_NOTE has NT_PRSTATUS and NT_FPREGSET for each vCPU, which is a thread to GDB, the crashed one
first; their layouts are those of `struct elf_prstatus` and `struct user_fpregs_struct` of Linux on
x86-64. NT_X86_XSTATE is there if the guest has AVX registers. The report itself is a note of the
name `pyvmm`.
"""

from __future__ import annotations

import posix as os
from struct import pack

from pyvmm._kvm import ffi, lib
from pyvmm.errors import HostError
from pyvmm.host.newfile import write
from pyvmm.layout import page_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pyvmm._kvm import KvmFpu
    from pyvmm.crash.mappings import Mapping as Range
    from pyvmm.memory import GuestMemory

UNMAPPED = 1 << 56
SIGNAL = 11  # SIGSEGV, of the vCPU that has crashed
NT_PRSTATUS, NT_FPREGSET, NT_X86_XSTATE = 1, 2, 0x202
_AVX = 4  # of XCR0
_XSAVE_HEAD = 576  # bytes that all areas have (Intel SDM volume 1, section 13.4)
_XCR0_AT = 464  # in the part that is left to software: where Linux tells it
_ET_CORE, _EM_X86_64, _PT_LOAD, _PT_NOTE = 4, 62, 1, 4
_R, _W, _X = 4, 2, 1
_EHDR_SIZE, _PHDR_SIZE = 64, 56
_RUNS_MAX = 1 << 16
_SEEK_SET, _SEEK_END = 0, 2
_LOADS_MAX = 0xFFFE - 1  # of program headers, one is the PT_NOTE
#: Of `struct user_regs_struct`; the one before RIP is the number of a system call.
_REGISTERS = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
    *("", "rip", "cs", "rflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs"),
)


def prstatus(registers: Mapping[str, int], thread: int, signal: int) -> bytes:
    """The `struct elf_prstatus` of a vCPU.

    Args:
        registers: values by name; those that are missing are 0.
        thread: its number, from 1.
        signal: that has ended it, or 0.
    """
    head = pack("<iiihxxQQiiii64x", signal, 0, 0, signal, 0, 0, thread, 0, 1, 1)
    return head + pack("<27Qixxxx", *(registers.get(name, 0) for name in _REGISTERS), 1)


def fpregset(fpu: KvmFpu) -> bytes:
    """The `struct user_fpregs_struct` of a vCPU, which is the layout of FXSAVE."""
    head = pack(
        "<HHHHQQII", fpu.fcw, fpu.fsw, fpu.ftwx, fpu.last_opcode, fpu.last_ip, fpu.last_dp, fpu.mxcsr, 0xFFFF
    )  # fmt: skip
    return (head + bytes(ffi.buffer(fpu.fpr)) + bytes(ffi.buffer(fpu.xmm))).ljust(512, b"\0")


def xstate(area: bytes, xcr0: int) -> bytes:
    """The NT_X86_XSTATE of a vCPU; empty if it has only the registers of NT_FPREGSET.

    Args:
        area: what KVM_GET_XSAVE returns, in the CPU's standard format.
        xcr0: the components that the guest has enabled.
    """
    if not xcr0 & _AVX:
        return b""
    end, part = _XSAVE_HEAD, ffi.new("uint32_t[4]")
    for component in range(2, 63):
        if xcr0 >> component & 1:
            lib.cpuid(0xD, component, part)
            end = max(end, part[1] + part[0])
    return (area[:_XCR0_AT] + pack("<Q", xcr0) + area[_XCR0_AT + 8 :])[:end]


def note(name: bytes, kind: int, data: bytes) -> bytes:
    """An ELF note."""
    return b"".join(
        (pack("<III", len(name) + 1, len(data), kind), _padded(name + b"\0"), _padded(data)),
    )


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


class Core:
    """What is to be in a core file.

    Args:
        memory: the guest's; no vCPU may run.
        ranges: what is mapped where.
        notes: of the PT_NOTE.
    """

    def __init__(self, memory: GuestMemory, ranges: Sequence[Range], notes: Sequence[bytes]) -> None:
        self._memory = memory
        self._notes = b"".join(notes)
        loads = [*_mapped(memory, ranges), *_unmapped(memory, ranges)][:_LOADS_MAX]
        self._start = page_up(_EHDR_SIZE + _PHDR_SIZE * (1 + len(loads)) + len(self._notes))
        self._loads = loads

    def head(self) -> bytes:
        """The ELF header, the program headers and the notes."""
        count = 1 + len(self._loads)
        notes_at = _EHDR_SIZE + _PHDR_SIZE * count
        ident = b"\x7fELF\2\1\1".ljust(16, b"\0")
        header = pack("<16sHHIQQQIHHHHHH", ident, _ET_CORE, _EM_X86_64, 1, 0, _EHDR_SIZE, 0, 0,
                      _EHDR_SIZE, _PHDR_SIZE, count, 0, 0, 0)  # fmt: skip
        headers = [pack("<IIQQQQQQ", _PT_NOTE, 0, notes_at, 0, 0, len(self._notes), 0, 4)]
        for virtual, physical, size, flags in self._loads:
            at = self._start + self._memory.offset(physical, size)
            headers.append(pack("<IIQQQQQQ", _PT_LOAD, flags, at, virtual, physical, size, size, 4096))
        return b"".join((header, *headers, self._notes))

    def write(self, fd: int) -> None:
        """Writes all of it to an empty file.

        Raises:
            OSError: it cannot be written.
            HostError: the host does not tell which pages are zero.
        """
        _write_at(fd, self.head(), 0)
        runs = ffi.new("struct state_run[]", _RUNS_MAX)
        memory = self._memory
        count = lib.pages_find(memory.native, memory.fd, (1 << 64) - 1, runs, _RUNS_MAX)
        if count < 0:
            raise HostError("/proc/self/pagemap", ffi.errno)
        for i in range(count):
            address, size = int(runs[i].address), int(runs[i].size)
            _write_at(fd, memory.view(address, size), self._start + memory.offset(address, size))
        end = self._start + memory.size
        if os.lseek(fd, 0, _SEEK_END) < end:
            _write_at(fd, b"\0", end - 1)


def _write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    """By the calls that a confined thread has."""
    os.lseek(fd, offset, _SEEK_SET)
    write(fd, [data])


def _mapped(memory: GuestMemory, ranges: Iterable[Range]) -> Iterable[tuple[int, int, int, int]]:
    """Virtual and physical address, size and flags of what of each range is RAM."""
    for each in ranges:
        flags = _R | _W * each.writable | _X * each.executable
        for start, length, _ in memory.regions:
            low, high = max(each.physical, start), min(each.physical + each.size, start + length)
            if low < high:
                yield each.virtual + low - each.physical, low, high - low, flags


def _unmapped(memory: GuestMemory, ranges: Iterable[Range]) -> Iterable[tuple[int, int, int, int]]:
    """The same of RAM that no range leads to."""
    taken = sorted((each.physical, each.physical + each.size) for each in ranges)
    for start, length, _ in memory.regions:
        at, end = start, start + length
        for low, high in [*taken, (end, end)]:
            if at < low:
                yield UNMAPPED + at, at, min(low, end) - at, _R | _W
            at = max(at, high)
            if at >= end:
                break
