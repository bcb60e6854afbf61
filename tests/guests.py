"""Guests for the tests: ELF images built in Python, and tiny kernels in assembly."""

from __future__ import annotations

import os
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import monotonic

import pytest

from pyvmm.host.virtiofsd import PROGRAMS

#: The command under test, beside the interpreter that runs the tests.
PYVMM = str(Path(sys.executable).parent / "pyvmm")


def in_emulator() -> bool:
    """Whether the CPU is QEMU's emulator, as in tests/lab."""
    return "QEMU TCG" in Path("/proc/cpuinfo").read_text()


#: An SSE instruction never raises #XM there.
needs_simd_exceptions = pytest.mark.skipif(in_emulator(), reason="QEMU's TCG does not emulate #XM")

PAGE = 4096
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

#: A folder of prebuilt Toro images, for places without a compiler (tests/lab).
MADE = os.environ.get("PYVMM_TEST_IMAGES")


needs_virtiofsd = pytest.mark.skipif(
    not any(os.access(program, os.X_OK) for program, _ in PROGRAMS),
    reason="needs virtiofsd (Debian 12: qemu-system-common)",
)
needs_compiler = pytest.mark.skipif(not shutil.which("ppcx64"), reason="needs fp-compiler")


def toro_image(source: Path, folder: Path) -> str:
    """The image of a Toro program, compiled into `folder` if it is not made already."""
    if MADE:
        made = Path(MADE, f"{source.stem}.elf")
        if not made.exists():
            pytest.skip(f"{made} was not made: there is no compiler here")
        return str(made)
    from pyvmm.toolchain.build import build

    return str(build(str(source), str(folder / f"{source.stem}.elf")))


# ---- images built in Python ---------------------------------------------------

EHDR_SIZE, PHDR_SIZE = 64, 56
PT_LOAD, PT_NOTE = 1, 4
PF_X, PF_W, PF_R = 1, 2, 4

#: Offset and size of each field of the ELF header.
EHDR = {
    "EI_CLASS": (4, 1),
    "EI_DATA": (5, 1),
    "EI_VERSION": (6, 1),
    "e_type": (16, 2),
    "e_machine": (18, 2),
    "e_entry": (24, 8),
    "e_phoff": (32, 8),
    "e_phentsize": (54, 2),
    "e_phnum": (56, 2),
}

#: The same for a program header.
PHDR = {
    "p_type": (0, 4),
    "p_flags": (4, 4),
    "p_offset": (8, 8),
    "p_vaddr": (16, 8),
    "p_paddr": (24, 8),
    "p_filesz": (32, 8),
    "p_memsz": (40, 8),
}


@dataclass(frozen=True)
class Load:
    """A PT_LOAD: `data` at `paddr`, zeroes up to `memsz`."""

    paddr: int
    data: bytes = b""
    memsz: int = 0
    flags: int = PF_R | PF_X


def note(name: bytes, kind: int, desc: bytes) -> bytes:
    """One ELF note, padded."""
    padded_name = name + bytes(-len(name) % 4)
    return struct.pack("<III", len(name), len(desc), kind) + padded_name + desc + bytes(-len(desc) % 4)


def toro_note(entry: int, supervisor_size: int = PAGE, stack_size: int = 64 * KIB, version: int = 1) -> bytes:
    """The note that asks for direct boot."""
    return note(b"Toro\0", 1, struct.pack("<IIQII", version, 0, entry, supervisor_size, stack_size))


def elf_image(loads: list[Load], notes: bytes, entry: int = 0x10_0000) -> bytes:
    """An ELF64 executable: program headers are those of `loads`, then one PT_NOTE."""
    count = len(loads) + 1
    offset = EHDR_SIZE + count * PHDR_SIZE
    headers, body = b"", b""
    for load in loads:
        size = max(load.memsz, len(load.data))
        at = offset + len(body)
        headers += struct.pack("<IIQQQQQQ", PT_LOAD, load.flags, at, load.paddr, load.paddr, len(load.data), size, PAGE)
        body += load.data
    headers += struct.pack("<IIQQQQQQ", PT_NOTE, PF_R, offset + len(body), 0, 0, len(notes), len(notes), 4)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, entry, EHDR_SIZE, 0, 0, EHDR_SIZE, PHDR_SIZE, count, 0, 0, 0
    )
    return header + headers + body + notes


def good_image() -> bytes:
    """Text, read-only data, data with bss, and the note of direct boot."""
    loads = [
        Load(0x10_0000, b"\xf4" * 100, flags=PF_R | PF_X),
        Load(0x10_1000, b"constant", flags=PF_R),
        Load(0x10_2000, b"variable", 3 * PAGE, flags=PF_R | PF_W),
    ]
    return elf_image(loads, toro_note(0x10_0000))


def patch(image: bytes, field: str, value: int, header: int | None = None) -> bytes:
    """`image` with another value in a field of the ELF header, or of a program header."""
    if header is None:
        at, size = EHDR[field]
    else:
        at, size = PHDR[field]
        at += EHDR_SIZE + header * PHDR_SIZE
    return image[:at] + value.to_bytes(size, "little") + image[at + size :]


# ---- guests in assembly -------------------------------------------------------

_PROLOGUE = """
.intel_syntax noprefix
.section .note.Toro, "a", @note
.long 5, 24, 1
.asciz "Toro"
.balign 4
.long 1, 0
.quad entry
.long {supervisor_size}, {stack_size}
.macro exit status
    mov al, \\status
    out 0xf4, al
.endm
.macro print text, size
    lea rsi, \\text[rip]
    mov ecx, \\size
    mov edx, 0x3f8
    rep outsb
.endm
.data
.text
.globl entry
entry:
"""

_EPILOGUE = """
.text
9: hlt
    jmp 9b
"""

_LINKER_SCRIPT = """
PHDRS { text PT_LOAD FLAGS(5); data PT_LOAD FLAGS(6); note PT_NOTE FLAGS(4); }
SECTIONS {
  . = 0x100000;
  .text : { *(.text) } :text
  .note : { *(.note.*) } :text :note
  . = ALIGN(4096);
  .data : { BYTE(0) . = ALIGN(8); *(.data) *(.bss) } :data
}
"""


#: Echoes what it reads, by polling; `q` ends it with status 9.
ECHO = """
1:  mov edx, 0x3fd
    in al, dx
    test al, 1
    jz 1b
    mov edx, 0x3f8
    in al, dx
    cmp al, 0x71
    je 2f
    out dx, al
    jmp 1b
2:  exit 9
"""


class Assembler:
    """Assembles guests into `folder`, each source once.

    A guest starts at its first line in ring 0 and 64-bit mode: RDI is the
    boot-info block, RSI the CPU's index, RSP the top of the supervisor area,
    RDX that of the stack. `exit STATUS` and `print LABEL, SIZE` are macros;
    behind the last line stands a loop around `hlt`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "guest.ld").write_text(_LINKER_SCRIPT)

    def __call__(self, source: str, supervisor_size: int = PAGE, stack_size: int = 64 * KIB) -> str:
        """The path of the image."""
        sizes = {"supervisor_size": supervisor_size, "stack_size": stack_size}
        text = _PROLOGUE.format(**sizes) + source + _EPILOGUE
        stem = self._folder / sha256(text.encode()).hexdigest()[:16]
        image = stem.with_suffix(".elf")
        if not image.exists():
            stem.with_suffix(".s").write_text(text)
            _run("as", "-o", f"{stem}.o", f"{stem}.s")
            _run("ld", "-n", "-T", f"{self._folder}/guest.ld", "-o", str(image), f"{stem}.o")
        return str(image)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"


@dataclass(frozen=True)
class Result:
    """How a command ended and what it wrote."""

    status: int
    stdout: bytes
    stderr: str


def pyvmm(*words: str, stdin: bytes | int = b"", timeout: float = 60, **options: object) -> Result:
    """Runs the `pyvmm` command. `stdin` is its input, or a file descriptor."""
    feed: dict[str, object] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    done = subprocess.run([PYVMM, *words], capture_output=True, timeout=timeout, **feed, **options)  # type: ignore[call-overload]
    return Result(done.returncode, done.stdout, done.stderr.decode())


def open_fds() -> dict[int, str]:
    """This process's file descriptors and what they are."""
    fds = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            fds[int(entry.name)] = str(entry.readlink())
        except FileNotFoundError:  # the one that listed the directory
            pass
    return fds


def tasks() -> dict[str, int]:
    """This process's threads by name; one that was joined may be seen for a moment."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            found[(task / "comm").read_text().strip()] = int(task.name)
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            pass
    return found


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Lets this process open `count` more file descriptors at most."""
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def of_threads(pid: int, name: str) -> list[str]:
    """The text of /proc/PID/task/*/`name` for the threads that there are; some may be ending."""
    texts = []
    for file in Path(f"/proc/{pid}/task").glob(f"*/{name}"):
        try:
            texts.append(file.read_text())
        except (FileNotFoundError, ProcessLookupError):
            pass
    return texts


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Returns once `condition` holds; a minute without is a failure."""
    deadline = monotonic() + 60
    while not condition():
        assert monotonic() < deadline, f"never: {what}"
        os.sched_yield()
