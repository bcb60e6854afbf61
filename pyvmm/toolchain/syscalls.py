"""System calls of a C program: each `syscall` instruction becomes a call of Toro's kernel.

The instruction has two bytes, and a jump five. So it and its neighbours, as many as it takes, are
moved elsewhere, where a call of toro_syscall (toro/c/calls.c) stands in its place, and a jump leads
there and back. Nothing jumps into the middle of what is moved: that is checked in a disassembly.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pyvmm.errors import BuildError
from pyvmm.toolchain.c import HEADERS
from pyvmm.toolchain.tools import output

if TYPE_CHECKING:
    from pathlib import Path

    from pyvmm.toolchain.elf import Elf

#: Bytes that are reserved for what is moved from one place.
ROOM = 64
_JUMP = 5
_FUNCTION = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
_INSTRUCTION = re.compile(r"^ +([0-9a-f]+):\t(.*)$")
_TARGET = re.compile(r"^(?:j\w+|call) +([0-9a-f]+)\b")
_STAYS = re.compile(r"^(?:j|call|ret|loop|syscall|\(bad\)|ud|.*\$.*\(%rip\))")
_NUMBER = re.compile(r"^(?:mov +\$0x([0-9a-f]+),%eax|xor +%eax,%eax)$")
_POINT_NUMBER = re.compile(r"^(?:mov +\$0x([0-9a-f]+),%edi|xor +%edi,%edi)$")
_DEFINED = re.compile(r"^#define __NR_(\w+)\s+(\d+)", re.MULTILINE)
_NAMED = re.compile(r"\bSYS_(\w+)")
#: `lea -128(%rsp),%rsp` and back, around the call: functions may use the 128 bytes below RSP.
_BELOW, _ABOVE = b"\x48\x8d\x64\x24\x80", b"\x48\x8d\xa4\x24\x80\0\0\0"


class Instruction(NamedTuple):
    """One of the disassembly; `text` is without its bytes."""

    address: int
    text: str


class Function(NamedTuple):
    """A function of the disassembly."""

    name: str
    code: list[Instruction]


class Site(NamedTuple):
    """A `syscall`, the addresses between which code is moved, and those of displacements from RIP in it."""

    start: int
    at: int
    end: int
    relative: list[int]


def find(image: Path, start: int, end: int, calls: Path) -> list[Site]:
    """The system calls between two addresses of an image.

    Args:
        image: an ELF file that ld has made.
        start, end: where the code of C is.
        calls: the source that names the calls which Toro has.

    Raises:
        BuildError: it makes one that Toro does not have.
    """
    words = ["objdump", "-d", "--no-show-raw-insn", f"--start-address={start}", f"--stop-address={end}", str(image)]
    functions = parse(output(words))
    missing = _missing(functions, calls)
    if missing:
        raise BuildError(f"{'; '.join(missing)}: Toro has no such system call")
    targets = {
        int(match[1], 16) for function in functions for one in function.code if (match := _TARGET.match(one.text))
    }
    sites = []
    for function in functions:
        for index, one in enumerate(function.code):
            if one.text.startswith("syscall"):
                sites.append(_site(function, index, targets, end))
    return sites


def parse(listing: str) -> list[Function]:
    """The functions of a disassembly by objdump."""
    functions: list[Function] = []
    for line in listing.splitlines():
        if started := _FUNCTION.match(line):
            functions.append(Function(started[1], []))
        elif (found := _INSTRUCTION.match(line)) and functions:
            functions[-1].code.append(Instruction(int(found[1], 16), found[2].strip()))
    return functions


def _site(function: Function, index: int, targets: set[int], end: int) -> Site:
    """What to move for a `syscall`: what stands before it, or else what follows."""
    code = function.code
    first, last = index, index + 1

    def address(at: int) -> int:
        return code[at].address if at < len(code) else end

    while address(last) - address(first) < _JUMP:
        if first > 0 and address(first) not in targets and not _STAYS.match(code[first - 1].text):
            first -= 1
        elif last < len(code) and address(last) not in targets and not _STAYS.match(code[last].text):
            last += 1
        else:
            raise BuildError(f"{function.name}: its system call at {code[index].address:#x} cannot be replaced")
    relative = [address(at + 1) - 4 for at in range(first, last) if "(%rip)" in code[at].text]
    return Site(address(first), address(index), address(last), relative)


def _missing(functions: list[Function], calls: Path) -> list[str]:
    """Texts about the functions that make calls which Toro does not have, as far as their numbers are in the code."""
    names = {int(number): name for name, number in _DEFINED.findall((HEADERS / "bits/syscall.h").read_text())}
    known = set(_NAMED.findall(calls.read_text()))
    found = []
    for function in functions:
        for index, one in enumerate(function.code):
            number = None
            if one.text.startswith("syscall"):
                number = _constant(function.code[:index], _NUMBER)
            elif one.text.startswith("call") and "<__syscall_cp>" in one.text:
                number = _constant(function.code[:index], _POINT_NUMBER)
            name = names.get(number) if number is not None else None
            if name and name not in known:
                found.append(f"{function.name} calls {name}")
    return sorted(set(found))


def _constant(code: list[Instruction], pattern: re.Pattern[str]) -> int | None:
    """The constant that the last instructions of a straight piece of code put into a register."""
    for one in reversed(code):
        if match := pattern.match(one.text):
            return int(match[1] or "0", 16)
        if one.text.startswith(("j", "call", "ret", "syscall")) or one.text.endswith((",%eax", ",%rax")):
            return None
    return None


def redirect(elf: Elf, sites: list[Site], rooms: int, routine: int) -> None:
    """Moves the code of each site to its room, and puts jumps there.

    Args:
        elf: the image, whose data are changed.
        sites: as found.
        rooms: address of the first room, of ROOM bytes each.
        routine: address of toro_syscall.
    """
    for index, site in enumerate(sites):
        room = rooms + index * ROOM
        code = _moved(elf, site, site.start, site.at, room) + _BELOW
        code += b"\xe8" + _distance(room + len(code) + 5, routine) + _ABOVE
        code += _moved(elf, site, site.at + 2, site.end, room + len(code))
        code += b"\xe9" + _distance(room + len(code) + 5, site.end)
        if len(code) > ROOM:
            raise BuildError(f"{elf.path}: the system call at {site.at:#x} takes {len(code)} bytes")
        at = elf.place(room)
        elf.data[at : at + len(code)] = code
        at = elf.place(site.start)
        size = site.end - site.start
        elf.data[at : at + size] = (b"\xe9" + _distance(site.start + 5, room)).ljust(size, b"\x90")


def _distance(behind: int, target: int) -> bytes:
    return (target - behind).to_bytes(4, "little", signed=True)


def _moved(elf: Elf, site: Site, start: int, end: int, to: int) -> bytes:
    """Code from `start` to `end` as it must be at another address."""
    at = elf.place(start)
    code = bytearray(elf.data[at : at + end - start])
    for address in site.relative:
        if start <= address < end:
            place = slice(address - start, address - start + 4)
            code[place] = (int.from_bytes(code[place], "little", signed=True) + start - to).to_bytes(
                4, "little", signed=True
            )
    return bytes(code)
