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
from pyvmm.toolchain import syscalls
from pyvmm.toolchain.elf import Elf
from pyvmm.toolchain.symbols import symbol_table
from pyvmm.toolchain.tools import output, run

if TYPE_CHECKING:
    from collections.abc import Iterable

_PAGE = 4096
_STACK_MAX = 1 << 30
#: What the system calls of C need: the routine, and where their code is.
_OF_CALLS = ("toro_syscall", "toro_rank_text", "toro_rank_text_end")
#: Where code around system calls is moved to.
_ROOMS = "toro_syscall_rooms"
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


def link(objects: list[str], of_c: list[str], program: Path, toro: Path, spelling: Iterable[Path], work: Path) -> Path:
    """Links an application; returns the image.

    Args:
        objects: the object files.
        of_c: objects and archives of C; empty: there are none.
        program: what the user named; for messages.
        toro: Toro's sources.
        spelling: Pascal sources, which show how names are spelled.
        work: where the files are made.
    """
    scripts = [*(["ranks.ld"] if of_c else []), "toro.ld"]  # what is inserted comes first
    linker = ["ld", *(f"--script={toro / script}" for script in scripts), "-znoexecstack", "--gc-sections"]
    linker += [f"--wrap={name}" for name in _WRAPPED]
    inputs = objects
    if of_c:
        linker += [f"--undefined={name}" for name in _OF_CALLS]
        inputs = [*objects, "--start-group", *of_c, "--end-group"]
    first = work / "without-names.elf"
    run([*linker, "--strip-debug", "--undefined=__stklen", "-o", str(first), *inputs], program)
    listed = output(["nm", "-n", "--defined-only", str(first)])
    addresses = {name: int(address, 16) for address, _, name in map(str.split, listed.splitlines())}
    elf = Elf(first)
    stack = elf.word(addresses["__stklen"]) + _PAGE - 1 & -_PAGE
    if not 0 < stack <= _STACK_MAX:
        raise BuildError(f"{program}: a stack of {stack} bytes; $M may ask for up to {_STACK_MAX}")
    sites = _large_frames(elf, sorted(addresses.values()))
    calls = []
    if "toro_syscall" in addresses:
        code = addresses["toro_rank_text"], addresses["toro_rank_text_end"]
        calls = syscalls.find(first, *code, toro / "c/calls.c")

    # Names and probes are linked in behind the code, so that the second link does not move it.
    names = work / "function-names.o"
    probes = "".join(_PROBE.format(size=size) for size in sorted(set(sites.values())))
    run(
        ["as", "-o", str(names), "-"],
        program,
        f"{symbol_table(listed, spelling)}.intel_syntax noprefix\n.text\n{probes}"
        f".globl {_ROOMS}\n{_ROOMS}: .fill {len(calls) * syscalls.ROOM}\n",
    )
    complete = work / "complete.elf"
    keep = [f"--undefined={name}" for name in (_ROOMS, *(f"toro_probe_{size}" for size in set(sites.values())))]
    how = ["--compress-debug-sections=zlib", *keep, f"--defsym=toro_stack_size={stack}"]
    run([*linker, *how, "-o", str(complete), *inputs, str(names)], program)
    if sites or calls:
        elf = Elf(complete)
        listed = output(["nm", "--defined-only", str(complete)])
        addresses = {name: int(address, 16) for address, _, name in map(str.split, listed.splitlines())}
        _call_probes(elf, sites, addresses)
        if calls:
            syscalls.redirect(elf, calls, addresses[_ROOMS], addresses["toro_syscall"])
        complete.write_bytes(elf.data)
    return complete


def _large_frames(elf: Elf, routines: list[int]) -> dict[int, int]:
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


def _call_probes(elf: Elf, sites: dict[int, int], addresses: dict[str, int]) -> None:
    """Replaces each instruction of 8 bytes by a call and a no-operation of 3."""
    for address, frame in sites.items():
        distance = addresses[f"toro_probe_{frame}"] - (address + 5)
        at = elf.place(address)
        elf.data[at : at + 8] = b"\xe8" + distance.to_bytes(4, "little", signed=True) + b"\x0f\x1f\x00"
