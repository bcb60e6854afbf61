"""Links an application: twice, because its table of function names is made from the first result.

What else depends on that result is the main stack, whose size the program states ($M), and the
probes. A primer on these: below each stack is a guard page, so that an overflow is an exception.
A routine with a frame larger than a page could step over it, to whatever is below. FPC does not
prevent that, so the instruction by which such a routine moves RSP is replaced by a call of a
probe, which moves RSP page by page and touches each. (gcc has an option that does the same.)
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pyvmm.errors import BuildError
from pyvmm.toolchain.symbols import symbol_table
from pyvmm.toolchain.tools import output, run

if TYPE_CHECKING:
    from collections.abc import Iterable

_PAGE = 4096
_STACK_MAX = 1 << 30
#: Routines of FPC's library that Kernel.pas and rtl/randomseed.pas replace.
_WRAPPED = ("fpc_initializeunits", "SYSTEM_$$_RANDOMIZE")
#: `lea rsp, [rsp - size]` with a 32-bit displacement, and as objdump writes it.
_MOVES_STACK = re.compile(rb"\x48\x8d\xa4\x24(...\xff)", re.DOTALL)
_WRITTEN = re.compile(r"^\s*([0-9a-f]+):\s+lea +-0x[0-9a-f]+\(%rsp\),%rsp$", re.MULTILINE)
#: R10 and R11 hold no parameter, and nothing that a routine must preserve.
_PROBE = """.globl toro_probe_{size}
toro_probe_{size}:
        pop     r11
        lea     r10, [rsp - {size}]
1:      lea     rsp, [rsp - 4096]
        or      qword ptr [rsp], 0
        cmp     rsp, r10
        ja      1b
        mov     rsp, r10
        jmp     r11
"""


class _Elf:
    """Where the segments of an image are in its file.

    Args:
        path: a 64-bit ELF file that ld has made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = bytearray(path.read_bytes())
        start, size, count = self._number(32, 8), self._number(54, 2), self._number(56, 2)
        headers = range(start, start + size * count, size)
        #: file offset, address, bytes in the file, flags
        self.segments = [
            (self._number(at + 8, 8), self._number(at + 16, 8), self._number(at + 32, 8), self._number(at + 4, 4))
            for at in headers
            if self._number(at, 4) == 1
        ]

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self.data[at : at + size], "little")

    def place(self, address: int) -> int:
        """The file offset of what is at an address."""
        for offset, start, size, _ in self.segments:
            if start <= address < start + size:
                return offset + address - start
        raise BuildError(f"{self.path}: nothing is at {address:#x}")

    def word(self, address: int) -> int:
        """The 64-bit number at an address."""
        return self._number(self.place(address), 8)


def link(objects: list[str], program: Path, script: Path, spelling: Iterable[Path], work: Path) -> Path:
    """Links an application; returns the image.

    Args:
        objects: the object files.
        program: what the user named; for messages.
        script: the linker script.
        spelling: Pascal sources, which show how names are spelled.
        work: where the files are made.
    """
    linker = ["ld", "-T", str(script), "-znoexecstack", "--gc-sections", *(f"--wrap={name}" for name in _WRAPPED)]
    first = work / "without-names.elf"
    run([*linker, "--strip-debug", "--undefined=__stklen", "-o", str(first), *objects], program)
    listed = output(["nm", "-n", "--defined-only", str(first)])
    addresses = {name: int(address, 16) for address, _, name in map(str.split, listed.splitlines())}
    elf = _Elf(first)
    stack = elf.word(addresses["__stklen"]) + _PAGE - 1 & -_PAGE
    if not 0 < stack <= _STACK_MAX:
        raise BuildError(f"{program}: a stack of {stack} bytes; $M may ask for up to {_STACK_MAX}")
    sites = _large_frames(elf, sorted(addresses.values()))

    # Names and probes are linked in behind the code, so that the second link does not move it.
    names = work / "function-names.o"
    probes = "".join(_PROBE.format(size=size) for size in sorted(set(sites.values())))
    run(
        ["as", "-o", str(names), "-"],
        program,
        f"{symbol_table(listed, spelling)}.intel_syntax noprefix\n.text\n{probes}",
    )
    complete = work / "complete.elf"
    keep = [f"--undefined=toro_probe_{size}" for size in set(sites.values())]
    how = ["--compress-debug-sections=zlib", *keep, f"--defsym=toro_stack_size={stack}"]
    run([*linker, *how, "-o", str(complete), *objects, str(names)], program)
    if sites:
        _call_probes(complete, sites)
    return complete


def _large_frames(elf: _Elf, routines: list[int]) -> dict[int, int]:
    """The addresses of the instructions that make room for frames larger than a page, and the frames' sizes."""
    found = {}
    for offset, start, size, flags in elf.segments:
        if not flags & 1:
            continue
        for match in _MOVES_STACK.finditer(elf.data, offset, offset + size):
            frame = -int.from_bytes(match[1], "little", signed=True)
            if frame >= _PAGE:
                found[start + match.start() - offset] = frame
    return {address: frame for address, frame in found.items() if _is_instruction(elf.path, address, routines)}


def _is_instruction(path: Path, address: int, routines: list[int]) -> bool:
    """Whether an instruction begins there, and not the middle of another."""
    start = max((routine for routine in routines if routine <= address), default=address)
    shown = output(
        ["objdump", "-d", "--no-show-raw-insn", f"--start-address={start}", f"--stop-address={address + 8}", str(path)]
    )
    return any(int(match[1], 16) == address for match in _WRITTEN.finditer(shown))


def _call_probes(image: Path, sites: dict[int, int]) -> None:
    """Replaces each instruction of 8 bytes by a call and a no-operation of 3."""
    elf = _Elf(image)
    listed = output(["nm", "--defined-only", str(image)])
    probes = {name: int(address, 16) for address, _, name in map(str.split, listed.splitlines())}
    for address, frame in sites.items():
        distance = probes[f"toro_probe_{frame}"] - (address + 5)
        at = elf.place(address)
        elf.data[at : at + 8] = b"\xe8" + distance.to_bytes(4, "little", signed=True) + b"\x0f\x1f\x00"
    image.write_bytes(elf.data)
