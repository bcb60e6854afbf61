"""pyvmm/native/emulate: the effect of instructions, compared with this machine's CPU."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from guests import MIB, PAGE
from hypothesis import given, settings
from hypothesis import strategies as st

from pyvmm._kvm import ffi, lib
from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory

HERE = Path(__file__).parent

#: Virtual addresses; the pages of data are scattered in guest-physical memory.
CODE, DATA = 0x40_0000, 0x60_0000
CODE_PAGE, DATA_PAGES = 0x1_0000, (0x2_0000, 0x4_0000)
TABLES = 0x8_0000

GENERAL = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split()
ARITHMETIC = 0x8D5
MXCSR_RESET, FCW_RESET = 0x1F80, 0x37F
PRESENT, WRITABLE, USER, ACCESSED, DIRTY = 1, 2, 4, 0x20, 0x40
CR0_MP, CR0_EM, CR0_TS, CR0_WP = 2, 4, 8, 1 << 16
CR4_OSFXSR, CR4_OSXMMEXCPT = 1 << 9, 1 << 10
DEBUG, UD, NM, SS, GP, PF, MF = 1, 6, 7, 12, 13, 14, 16
FAULTS = SS, GP, PF
FSW_ES, FSW_TOP = 0x80, 0x3800

#: This machine's possible reactions to an instruction that is not in the tables, or that accesses no RAM.
REFUSED = UD, SS, GP, PF, MF

_FX = 416
_STATE = struct.Struct(f"<16QQQ{_FX}s")
_REQUEST = struct.Struct(f"<QQQ{_STATE.size}s16s{2 * PAGE}s")
_ANSWER = struct.Struct(f"<QQQ{_STATE.size}s{2 * PAGE}s")


@dataclass
class State:
    """A CPU's registers, and the data pages."""

    general: list[int]
    rip: int
    flags: int
    fx: bytes
    memory: bytes
    gs: int = 0


@dataclass
class Effect:
    """What an instruction did: an exception, or DEBUG for none, and the state behind it."""

    vector: int
    error: int
    address: int
    state: State

    def comparable(self) -> tuple[object, ...]:
        """All that the architecture defines of it."""
        state = self.state
        fcw, fsw, ftw = struct.unpack_from("<HHB", state.fx)
        # ST(0) is first in FXSAVE; here register 0 is.
        x87 = [state.fx[at : at + 10] for at in range(32, 160, 16)]
        top = (fsw & FSW_TOP) >> 11
        x87 = x87[8 - top :] + x87[: 8 - top]
        memory: bytes | None = state.memory
        if self.vector in FAULTS:
            # CPUs differ in which byte of an operand faults, whether bytes before it are stored,
            # and whether an MMX instruction has reset TOP by then.
            memory = None
            fsw &= ~FSW_TOP
        # Without the last x87 instruction's opcode and addresses, and MXCSR_MASK.
        fx = (state.fx[24:28], *x87, state.fx[160:])
        fault = self.vector, self.error & ~USER, self.address & -PAGE if self.vector == PF else 0
        return (*fault, state.general, state.rip, state.flags & ARITHMETIC, fcw, fsw, ftw, *fx, memory)


class Native:
    """This machine's CPU."""

    def __init__(self, program: Path) -> None:
        subprocess.run(["gcc", "-O1", str(HERE / "native_cpu.c"), "-o", str(program)], check=True)
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def execute(self, code: bytes, state: State) -> Effect:
        """Executes one instruction."""
        assert self._process.stdin
        assert self._process.stdout
        packed = _STATE.pack(*state.general, state.rip, state.flags, state.fx)
        self._process.stdin.write(_REQUEST.pack(CODE, DATA, state.gs, packed, code.ljust(16, b"\xcc"), state.memory))
        self._process.stdin.flush()
        answer = self._process.stdout.read(_ANSWER.size)
        assert len(answer) == _ANSWER.size
        vector, error, address, packed, memory = _ANSWER.unpack(answer)
        *general, rip, flags, fx = _STATE.unpack(packed)
        if vector == DEBUG:
            error = 0
        return Effect(vector, error, address, State(general, rip, flags, fx, memory, state.gs))

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(60) == 0


class Emulated:
    """A guest's CPU in 64-bit mode."""

    def __init__(self) -> None:
        self.memory = GuestMemory(Ram(16 * MIB))
        rights = PRESENT | WRITABLE | USER
        self.entries: dict[int, int] = {}
        for level in range(2):
            self._enter(TABLES + level * PAGE, 0, TABLES + (level + 1) * PAGE | rights)
        for number, (virtual, pages) in enumerate(((CODE, (CODE_PAGE,)), (DATA, DATA_PAGES))):
            table = TABLES + (3 + number) * PAGE
            self._enter(TABLES + 2 * PAGE, virtual >> 21, table | rights)
            for index, page in enumerate(pages):
                self._enter(table, (virtual >> 12 & 511) + index, page | rights)
                self.entries[virtual + index * PAGE] = table + 8 * ((virtual >> 12 & 511) + index)
        self.cpu: Any = ffi.new("struct cpu *")
        self.cpu.ram = self.memory.native
        self.reset()

    def _enter(self, table: int, index: int, entry: int) -> None:
        self.memory.write(table + 8 * index, entry.to_bytes(8, "little"))

    def reset(self) -> None:
        """System registers as a kernel in 64-bit mode has them."""
        sregs = self.cpu.sregs
        sregs.cr0, sregs.cr3, sregs.efer = 0x8001_0033 & ~CR0_TS, TABLES, 0xD00
        sregs.cr4 = 0x20 | CR4_OSFXSR | CR4_OSXMMEXCPT
        sregs.cs.l, sregs.cs.db, sregs.cs.selector = 1, 0, 8

    def execute(self, code: bytes, state: State) -> Effect | None:
        """Executes one instruction; None if it is unknown, and then nothing has changed."""
        cpu, regs = self.cpu, self.cpu.regs
        for name, value in zip(GENERAL, state.general, strict=True):
            setattr(regs, name, value)
        regs.rip, regs.rflags = state.rip, state.flags
        cpu.sregs.gs.base = state.gs
        cpu.vector = cpu.error = 0
        ffi.buffer(ffi.addressof(cpu, "fx"))[:_FX] = state.fx
        at = state.rip - CODE
        first = code.ljust(16, b"\xcc")[: PAGE - at]
        self.memory.write(CODE_PAGE + at, first)
        for index, page in enumerate(DATA_PAGES):
            self.memory.write(page, state.memory[index * PAGE : (index + 1) * PAGE])
        insn = ffi.new("struct insn *")
        outcome = lib.insn_decode(cpu, insn)
        if outcome == lib.DONE:
            outcome = lib.insn_execute(cpu, insn)
        after = State(
            [getattr(regs, name) for name in GENERAL],
            regs.rip,
            regs.rflags,
            bytes(ffi.buffer(ffi.addressof(cpu, "fx"))[:_FX]),
            b"".join(self.memory.read(page, PAGE) for page in DATA_PAGES),
            state.gs,
        )
        if outcome == lib.UNKNOWN:
            assert after == state
            return None
        vector = cpu.vector if outcome == lib.FAULT else DEBUG
        return Effect(vector, cpu.error if cpu.has_error and vector != DEBUG else 0, cpu.sregs.cr2, after)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Native]:
    """This machine's CPU."""
    made = Native(tmp_path_factory.mktemp("native") / "native_cpu")
    yield made
    made.close()


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulated]:
    """A guest's."""
    made = Emulated()
    yield made
    made.memory.close()


# ---- states and instructions at random --------------------------------------------------

_FLOATS = (0.0, -0.0, 1.0, -1.5, 3e38, 1e-40, 1e300, 4.9e-324, float("inf"), float("nan"), 2147483647.5, -9.3e18)


def vector(random: Random) -> bytes:
    """16 bytes: of any kind, or floating-point numbers worth trying."""
    kind = random.randrange(4)
    if kind == 0:
        return random.randbytes(16)
    if kind == 1:
        return struct.pack("<2d", *random.choices(_FLOATS, k=2))
    if kind == 2:
        small = [x if abs(x) < 3.5e38 or x != x else 2.5 for x in random.choices(_FLOATS, k=4)]
        return struct.pack("<4f", *small)
    return bytes(random.choices((0, 1, 0x7F, 0x80, 0xFF), k=16))


def extended(random: Random) -> bytes:
    """An x87 register: of any kind, or a normal number."""
    if random.randrange(3) == 0:
        return random.randbytes(10) + bytes(6)
    exponent = random.choice((0x3FFF, 0x4000, 0x401D, 0x403D, 0x3F80, 0xBFFF, 0xC03E, 0))
    mantissa = (1 << 63 | random.getrandbits(63)) if exponent else 0
    return mantissa.to_bytes(8, "little") + exponent.to_bytes(2, "little") + bytes(6)


def random_state(random: Random, exceptions: bool = True) -> State:
    """Registers and memory.

    Args:
        exceptions: those of SSE and x87 may be unmasked.
    """
    general = [random.choice((random.getrandbits(64), random.getrandbits(7))) for _ in GENERAL]
    fcw = FCW_RESET if not exceptions or random.randrange(3) else random.getrandbits(13) & 0x1F7F | 0x40
    fsw = random.getrandbits(16) & 0x7F00 | (random.getrandbits(6) if random.randrange(4) == 0 else 0)
    if fsw & ~fcw & 0x3F:
        fsw |= 0x8080
    mxcsr = MXCSR_RESET
    if exceptions and random.randrange(3) == 0:
        mxcsr = random.getrandbits(16) | 0xC00  # except for overflow and underflow: see docs/limits.md
    ftw = random.choice((0, 0xFF, random.getrandbits(8)))
    fx = struct.pack("<HHBxHQQII", fcw, fsw, ftw, 0, 0, 0, mxcsr, 0xFFFF)
    fx += b"".join(extended(random) for _ in range(8)) + b"".join(vector(random) for _ in range(16))
    memory = b"".join(vector(random) for _ in range(2 * PAGE // 16))
    return State(general, CODE + random.randrange(64), 2 | random.getrandbits(12) & ARITHMETIC, fx, memory)


def target(random: Random, size: int) -> int:
    """An address for an operand: mostly aligned, at times across pages, or outside."""
    kind = random.randrange(10)
    if kind < 6:
        return DATA + random.randrange(0, 2 * PAGE - 16, 16)
    if kind == 6:
        return DATA + random.randrange(2 * PAGE - 128)
    if kind == 7:
        return DATA + PAGE - random.randrange(1, max(size, 2))
    if kind == 8:
        return random.choice((DATA - 8, DATA + 2 * PAGE - random.randrange(32), 0x1234_5678_9ABC_DEF0))
    return DATA + random.randrange(0, 2 * PAGE - 16, 8)


def memory_operand(random: Random, state: State, reg: int, rest: int) -> tuple[int, bytes]:
    """Of modrm and what follows, REX bits and bytes; `state` gets what makes it an address.

    Args:
        rest: how many bytes follow.
    """
    address = target(random, 16)
    mod, kind = random.randrange(3), random.randrange(4)
    if kind == 0 and not random.randrange(3):  # RIP-relative, from CODE + 64 at most
        return 0, bytes([reg << 3 | 5]) + b"RIP!"
    if kind == 1 and not random.randrange(3) and address < 1 << 31:  # absolute
        return 0, bytes([reg << 3 | 4, 0x25]) + struct.pack("<i", address)
    displacement = (0, random.randrange(-128, 128), random.randrange(-(1 << 31), 1 << 31))[mod]
    tail = (b"", struct.pack("<b", displacement if mod == 1 else 0), struct.pack("<i", displacement))[mod]
    base = random.randrange(16)
    if kind < 2 and base & 7 != 4 and (mod or base & 7 != 5):
        state.general[base] = (address - displacement) % (1 << 64)
        return base >> 3, bytes([mod << 6 | reg << 3 | base & 7]) + tail
    index, scale = random.randrange(16), random.randrange(4)
    if mod == 0 and base & 7 == 5:
        base = 0
    offset = 0
    if index != 4:
        if index == base:
            index = (base + 1) % 16 if (base + 1) % 16 != 4 else 6
        offset = state.general[index] << scale
    state.general[base] = (address - displacement - offset) % (1 << 64)
    sib = scale << 6 | (index & 7) << 3 | base & 7
    return base >> 3 | index >> 3 << 1, bytes([mod << 6 | reg << 3 | 4, sib]) + tail


def encode(random: Random, state: State, prefix: bytes, opcode: bytes, reg: int | None, immediate: bool) -> bytes:
    """An instruction with operands at random; with `reg`, as modrm.reg."""
    rex = random.choice((0, 0, 8)) | (random.randrange(2) << 2 if reg is None else 0)
    number = random.randrange(8) if reg is None else reg
    if random.randrange(2):
        bits, operand = 0, bytes([0xC0 | number << 3 | random.randrange(8)])
        rex |= random.randrange(2)
    else:
        bits, operand = memory_operand(random, state, number, immediate)
    rex |= bits
    if state.gs == 0 and random.randrange(8) == 0:
        prefix = b"\x65" + prefix
        state.gs = random.choice((16, PAGE - 16))
    code = prefix + (bytes([0x40 | rex]) if rex or random.randrange(8) == 0 else b"") + opcode + operand
    if immediate:
        code += random.randbytes(1)
    if b"RIP!" in code:
        relative = (DATA + random.randrange(0, PAGE, 16) - state.rip - len(code)) % (1 << 32)
        code = code.replace(b"RIP!", struct.pack("<I", relative))
    return code


NONE, P66, F3, F2 = b"", b"\x66", b"\xf3", b"\xf2"

#: (prefixes, opcodes of 0F, has an immediate), straight from the opcode map of SSE2.
SIMD: list[tuple[list[bytes], list[int], bool]] = [
    ([NONE, P66, F3, F2], [0x10, 0x11, 0x51, 0x58, 0x59, 0x5A, 0x5C, 0x5D, 0x5E, 0x5F], False),
    ([NONE, P66, F3, F2], [0x2A, 0x2C, 0x2D], False),
    ([NONE, P66], [0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x28, 0x29, 0x2B, 0x2E, 0x2F, 0x50], False),
    ([NONE, P66], [0x54, 0x55, 0x56, 0x57, *range(0x60, 0x6C), 0x6E, 0x74, 0x75, 0x76, 0x7E], False),
    ([NONE, F3], [0x52, 0x53], False),
    ([NONE, P66, F3], [0x5B, 0x6F, 0x7F], False),
    ([P66], [0x6C, 0x6D], False),
    ([F3], [0x7E, 0xB8], False),
    ([NONE, P66], [*range(0xD1, 0xD6), *range(0xD7, 0xE6), *range(0xE7, 0xF0), *range(0xF1, 0xF7)], False),
    ([NONE, P66], list(range(0xF8, 0xFF)), False),
    ([P66, F3, F2], [0xD6, 0xE6], False),
    ([NONE, P66, F3, F2], [0x70, 0xC2], True),
    ([NONE, P66], [0xC4, 0xC5, 0xC6], True),
]
CASES = [
    pytest.param(prefix, opcode, immediate, id=f"{prefix.hex()}0f{opcode:02x}")
    for prefixes, opcodes, immediate in SIMD
    for opcode in opcodes
    for prefix in prefixes
]
Seed = st.integers(0, (1 << 64) - 1)
few = settings(max_examples=8)


def compare(native: Native, emulated: Emulated, code: bytes, state: State) -> Effect | None:
    """Executes on both; returns the effect, None where the guest's CPU does not know."""
    mine = emulated.execute(code, state)
    if mine:
        theirs = native.execute(code, state)
        if mine.vector in FAULTS:
            assert mine.state.memory == state.memory
            if theirs.vector == DEBUG and theirs.state.fx[2] & FSW_ES:
                return mine  # nothing is stored for an unmasked exception, which some CPUs detect first
        assert mine.comparable() == theirs.comparable(), code.hex(" ")
    return mine


@pytest.mark.parametrize(("prefix", "opcode", "immediate"), CASES)
@given(seed=Seed)
@few
def test_simd_is_what_the_cpu_does(
    native: Native, emulated: Emulated, prefix: bytes, opcode: int, immediate: bool, seed: int
) -> None:
    random = Random(seed)
    state = random_state(random)
    code = encode(random, state, prefix, bytes([0x0F, opcode]), None, immediate)
    if compare(native, emulated, code, state) is None:
        assert native.execute(code, state).vector in REFUSED


SHIFTS = [
    pytest.param(prefix, opcode, reg, id=f"{prefix.hex()}0f{opcode:x}/{reg}")
    for opcode, regs in ((0x71, (2, 4, 6)), (0x72, (2, 4, 6)), (0x73, (2, 3, 6, 7)))
    for reg in regs
    for prefix in (NONE, P66)
    if prefix or reg not in (3, 7)
]


@pytest.mark.parametrize(("prefix", "opcode", "reg"), SHIFTS)
@given(seed=Seed)
@few
def test_shifts_by_an_immediate(
    native: Native, emulated: Emulated, prefix: bytes, opcode: int, reg: int, seed: int
) -> None:
    random = Random(seed)
    state = random_state(random)
    modrm = 0xC0 | reg << 3 | random.randrange(8)
    count = random.choice((random.randrange(20), random.randrange(256)))
    effect = compare(native, emulated, prefix + bytes([0x0F, opcode, modrm, count]), state)
    assert effect
    assert effect.vector in (DEBUG, MF)


@pytest.mark.parametrize("opcode", range(0xD8, 0xE0))
@given(seed=Seed)
@settings(max_examples=100)
def test_x87_is_what_the_cpu_does(native: Native, emulated: Emulated, opcode: int, seed: int) -> None:
    random = Random(seed)
    state = random_state(random)
    code = encode(random, state, NONE, bytes([opcode]), None, False)
    if compare(native, emulated, code, state) is None:
        assert native.execute(code, state).vector in (DEBUG, *REFUSED)  # with undocumented aliases


@given(seed=Seed)
def test_fwait(native: Native, emulated: Emulated, seed: int) -> None:
    assert compare(native, emulated, b"\x9b", random_state(Random(seed)))


@pytest.mark.parametrize("reg", [2, 3])
@given(seed=Seed)
def test_mxcsr_is_loaded_and_stored(native: Native, emulated: Emulated, reg: int, seed: int) -> None:
    random = Random(seed)
    state = random_state(random)
    if random.randrange(2):  # mostly values that LDMXCSR accepts
        state.memory = struct.pack("<I", random.getrandbits(16)) * (2 * PAGE // 4)
    code = encode(random, state, NONE, b"\x0f\xae", reg, False)
    effect = compare(native, emulated, code, state)
    assert effect or native.execute(code, state).vector in REFUSED


INTEGERS = {
    "popcnt": ([F3, P66 + F3], b"\x0f\xb8", None),
    "crc32 byte": ([F2], b"\x0f\x38\xf0", None),
    "crc32": ([F2, P66 + F2], b"\x0f\x38\xf1", None),
    "movbe load": ([NONE, P66], b"\x0f\x38\xf0", None),
    "movbe store": ([NONE, P66], b"\x0f\x38\xf1", None),
    "cmpxchg16b": ([NONE, b"\xf0"], b"\x0f\xc7", 1),
}


@pytest.mark.parametrize("name", INTEGERS)
@given(seed=Seed)
def test_integers_are_what_the_cpu_does(native: Native, emulated: Emulated, name: str, seed: int) -> None:
    random = Random(seed)
    prefixes, opcode, reg = INTEGERS[name]
    state = random_state(random)
    code = encode(random, state, random.choice(prefixes), opcode, reg, False)
    if reg == 1 and random.randrange(2):  # the two that are compared are equal
        state.general[0], state.general[2] = random.getrandbits(64), random.getrandbits(64)
        state.memory = struct.pack("<QQ", state.general[0], state.general[2]) * (2 * PAGE // 16)
    if compare(native, emulated, code, state) is None:
        assert native.execute(code, state).vector in (DEBUG, *REFUSED)  # CMPXCHG8B, which KVM knows


# ---- exceptions that a process does not see -------------------------------------------------

PADDD, POPCNT, FLD1, FWAIT = b"\x66\x0f\xfe\xc1", b"\xf3\x0f\xb8\xc1", b"\xd9\xe8", b"\x9b"
STORE, LOAD = b"\x66\x0f\x7f\x00", b"\x66\x0f\x6f\x00"  # movdqa [rax], xmm0 and back


@pytest.fixture
def guest(emulated: Emulated) -> Iterator[Emulated]:
    """A guest's CPU, whose system registers and rights may be changed."""
    yield emulated
    emulated.reset()
    for at in emulated.entries.values():
        emulated.memory.view(at, 1)[0] |= PRESENT | WRITABLE


def quiet_state() -> State:
    """A state in which nothing is pending, and RAX is the data's address."""
    state = random_state(Random(1), exceptions=False)
    state.fx = state.fx[:2] + bytes(2) + state.fx[4:24] + struct.pack("<I", MXCSR_RESET) + state.fx[28:]
    state.general[0] = DATA
    return state


@pytest.mark.parametrize(
    ("cr0", "cr4", "code", "vector"),
    [
        (CR0_EM, CR4_OSFXSR, PADDD, UD),
        (0, 0, PADDD, UD),
        (CR0_TS, CR4_OSFXSR, PADDD, NM),
        (CR0_TS, CR4_OSFXSR, FLD1, NM),
        (CR0_EM, CR4_OSFXSR, FLD1, NM),
        (CR0_TS | CR0_MP, CR4_OSFXSR, FWAIT, NM),
        (CR0_TS, CR4_OSFXSR, FWAIT, DEBUG),
        (CR0_TS | CR0_EM, 0, POPCNT, DEBUG),
        (0, CR4_OSFXSR, PADDD, DEBUG),
    ],
)
def test_registers_that_the_system_withholds(guest: Emulated, cr0: int, cr4: int, code: bytes, vector: int) -> None:
    guest.cpu.sregs.cr0 = 0x8000_0011 | cr0
    guest.cpu.sregs.cr4 = 0x20 | cr4
    before = quiet_state()
    effect = guest.execute(code, before)
    assert effect
    assert effect.vector == vector
    assert vector == DEBUG or effect.state == before


def test_exception_of_simd_without_a_handler_for_it_is_an_invalid_opcode(guest: Emulated) -> None:
    guest.cpu.sregs.cr4 = 0x20 | CR4_OSFXSR
    state = quiet_state()
    state.fx = state.fx[:24] + bytes(4) + state.fx[28:160] + struct.pack("<2d", 1, 1) + bytes(16) + state.fx[192:]
    effect = guest.execute(b"\xf2\x0f\x5e\xc1", state)  # divsd xmm0, xmm1
    assert effect
    assert effect.vector == UD


@pytest.mark.parametrize(
    ("code", "rights", "selector", "error"),
    [
        (LOAD, 0, 8, 0),
        (STORE, 0, 8, 2),
        (STORE, PRESENT, 8, 3),
        (LOAD, PRESENT, 8, None),
        (STORE, 0, 0x33, 6),
        (LOAD, PRESENT | WRITABLE, 0x33, 5),
    ],
)
def test_page_fault_tells_why(guest: Emulated, code: bytes, rights: int, selector: int, error: int | None) -> None:
    at = guest.entries[DATA]
    guest.memory.write(at, (DATA_PAGES[0] | rights).to_bytes(8, "little"))
    guest.cpu.sregs.cs.selector = selector
    guest.cpu.sregs.cr0 |= CR0_WP
    effect = guest.execute(code, quiet_state())
    assert effect
    assert (effect.vector, effect.error) == ((DEBUG, 0) if error is None else (PF, error))
    assert error is None or effect.address == DATA


def test_ring_0_writes_where_it_may_not_unless_write_protection_is_on(guest: Emulated) -> None:
    guest.memory.write(guest.entries[DATA], (DATA_PAGES[0] | PRESENT).to_bytes(8, "little"))
    guest.cpu.sregs.cr0 &= ~CR0_WP
    state = quiet_state()
    effect = guest.execute(STORE, state)
    assert effect
    assert (effect.vector, effect.state.memory[:16]) == (DEBUG, state.fx[160:176])


@pytest.mark.parametrize(("code", "bits"), [(LOAD, ACCESSED), (STORE, ACCESSED | DIRTY)])
def test_page_tables_note_what_was_used(guest: Emulated, code: bytes, bits: int) -> None:
    at = guest.entries[DATA]
    guest.memory.write(at, (DATA_PAGES[0] | PRESENT | WRITABLE).to_bytes(8, "little"))
    assert guest.execute(code, quiet_state())
    assert guest.memory.read(at, 1)[0] & (ACCESSED | DIRTY) == bits


def test_instruction_may_go_on_in_a_page_that_is_not_there(guest: Emulated) -> None:
    state = quiet_state()
    state.rip = CODE + PAGE - 2
    effect = guest.execute(PADDD, state)
    assert effect
    assert (effect.vector, effect.error, effect.address) == (PF, 16, CODE + PAGE)


@pytest.mark.parametrize(
    "code",
    [
        b"\x0f\x38\x00\xc1",  # pshufb
        b"\xc5\xf9\xfe\xc1",  # vpaddd
        b"\x0f\x05",  # syscall
        b"\xf0\x66\x0f\xfe\xc1",  # lock paddd
        b"\x66" * 15,
        b"\x0f\x73\xd9\x01",  # psrldq of an MMX register
    ],
)
def test_other_instructions_are_unknown(guest: Emulated, code: bytes) -> None:
    assert guest.execute(code, quiet_state()) is None


def test_registers_of_a_device_are_no_operand(guest: Emulated) -> None:
    guest.memory.write(guest.entries[DATA], (0xFEB0_0000 | PRESENT | WRITABLE).to_bytes(8, "little"))
    assert guest.execute(LOAD, quiet_state()) is None
