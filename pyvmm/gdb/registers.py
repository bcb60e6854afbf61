"""A vCPU's registers as GDB knows them: the target description, and their values.

GDB names features and their registers ("Debugging with GDB", appendix G.5.4, "x86 Features"):
the core's, x87's and SSE's, and the segment bases. Those that only a kernel sees, control
registers and descriptor tables, are a feature of our own.
"""

from __future__ import annotations

from typing import cast

from pyvmm._kvm import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm._kvm import KvmFpu, KvmRegs, KvmSregs
    from pyvmm.kvm.vcpu import Vcpu

    #: Name, bits, GDB's type, and where its value is: in `struct kvm_…`, and the path in that.
    Register = tuple[str, int, str, str, str]

_GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)))
_POINTERS = {"rbp": "data_ptr", "rsp": "data_ptr"}
_SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")
#: In GDB's order. In 64-bit mode the pointers' segments are their upper halves.
_X87 = (("fctrl", "fcw"), ("fstat", "fsw"), ("ftag", "ftwx"), ("fiseg", "pad1"), ("fioff", "last_ip"),
        ("foseg", "pad1"), ("fooff", "last_dp"), ("fop", "last_opcode"))  # fmt: skip

_FEATURES: tuple[tuple[str, tuple[Register, ...]], ...] = (
    (
        "org.gnu.gdb.i386.core",
        (
            *((name, 64, _POINTERS.get(name, "int64"), "regs", name) for name in _GENERAL),
            ("rip", 64, "code_ptr", "regs", "rip"),
            ("eflags", 32, "i386_eflags", "regs", "rflags"),
            *((name, 32, "int32", "sregs", f"{name}.selector") for name in _SEGMENTS),
            *((f"st{n}", 80, "i387_ext", "fpu", f"fpr.{n}") for n in range(8)),
            *((name, 32, "int", "fpu", field) for name, field in _X87),
        ),
    ),
    (
        "org.gnu.gdb.i386.sse",
        (
            *((f"xmm{n}", 128, "vec128", "fpu", f"xmm.{n}") for n in range(16)),
            ("mxcsr", 32, "i386_mxcsr", "fpu", "mxcsr"),
        ),
    ),
    (
        "org.gnu.gdb.i386.segments",
        (("fs_base", 64, "int64", "sregs", "fs.base"), ("gs_base", 64, "int64", "sregs", "gs.base")),
    ),
    (
        "run.pyvmm.control",
        (
            *((name, 64, "int64", "sregs", name) for name in ("cr0", "cr2", "cr3", "cr4", "cr8", "efer", "apic_base")),
            *((f"{table}_base", 64, "data_ptr", "sregs", f"{table}.base") for table in ("gdt", "idt")),
            *((f"{table}_limit", 32, "int32", "sregs", f"{table}.limit") for table in ("gdt", "idt")),
            *((f"{name}_base", 64, "data_ptr", "sregs", f"{name}.base") for name in ("tr", "ldt")),
        ),
    ),
)
REGISTERS = tuple(register for _, registers in _FEATURES for register in registers)
_EFLAGS = ("CF", "", "PF", "", "AF", "", "ZF", "SF", "TF", "IF", "DF", "OF")
_MXCSR = ("IE", "DE", "ZE", "OE", "UE", "PE", "DAZ", "IM", "DM", "ZM", "OM", "UM", "PM", "", "", "FZ")

#: What an XMM register holds.
_VECTORS = "\n".join(
    [
        *(f'<vector id="{name}" type="{kind}" count="{count}"/>' for name, kind, count in (
            ("v4_float", "ieee_single", 4), ("v2_double", "ieee_double", 2), ("v16_int8", "int8", 16),
            ("v8_int16", "int16", 8), ("v4_int32", "int32", 4), ("v2_int64", "int64", 2),
        )),
        '<union id="vec128">',
        *(f'<field name="{name}" type="{name}"/>' for name in (
            "v4_float", "v2_double", "v16_int8", "v8_int16", "v4_int32", "v2_int64")),
        '<field name="uint128" type="uint128"/></union>',
    ]
)  # fmt: skip


def description() -> str:
    """The target description, in XML (appendix G.2)."""
    lines = [
        '<?xml version="1.0"?>',
        '<!DOCTYPE target SYSTEM "gdb-target.dtd">',
        "<target><architecture>i386:x86-64</architecture>",
    ]
    for feature, registers in _FEATURES:
        lines.append(f'<feature name="{feature}">')
        if feature.endswith("core"):
            lines.append(_flags("i386_eflags", _EFLAGS))
        if feature.endswith("sse"):
            lines += [_flags("i386_mxcsr", _MXCSR), _VECTORS]
        lines += [f'<reg name="{name}" bitsize="{bits}" type="{kind}"/>' for name, bits, kind, _, _ in registers]
        lines.append("</feature>")
    return "\n".join([*lines, "</target>", ""])


def _flags(name: str, fields: tuple[str, ...]) -> str:
    bits = "".join(f'<field name="{field}" start="{n}" end="{n}"/>' for n, field in enumerate(fields) if field)
    return f'<flags id="{name}" size="4">{bits}</flags>'


class _Field:
    """Where a register's value is in what KVM tells of a vCPU."""

    def __init__(self, register: Register) -> None:
        self.name, bits, _, self.group, path = register
        self.size = bits // 8
        steps = [int(step) if step.isdigit() else step for step in path.split(".")]
        kind = ffi.typeof(f"struct kvm_{self.group}")
        self.offset = ffi.offsetof(kind, *steps)
        for step in steps:
            kind = kind.item if isinstance(step, int) else dict(kind.fields)[step].type
        self.width = min(self.size, ffi.sizeof(kind))


_FIELDS = tuple(map(_Field, REGISTERS))
#: Of each x87 register, in the full tag word: valid or empty (Intel SDM volume 1, section 8.1.7).
_VALID, _EMPTY = 0, 3


class Registers:
    """The registers of a vCPU that is stopped, read when they are asked for."""

    def __init__(self, vcpu: Vcpu) -> None:
        self._vcpu = vcpu
        self._known: dict[str, KvmRegs | KvmSregs | KvmFpu] = {}
        self._changed: set[str] = set()

    @property
    def regs(self) -> KvmRegs:
        """KVM_GET_REGS; `change` before you change it."""
        if "regs" not in self._known:
            self._known["regs"] = self._vcpu.regs()
        return cast("KvmRegs", self._known["regs"])

    @property
    def sregs(self) -> KvmSregs:
        """KVM_GET_SREGS; `change` before you change it."""
        if "sregs" not in self._known:
            self._known["sregs"] = self._vcpu.sregs()
        return cast("KvmSregs", self._known["sregs"])

    @property
    def _fpu(self) -> KvmFpu:
        if "fpu" not in self._known:
            self._known["fpu"] = self._vcpu.fpu()
        return cast("KvmFpu", self._known["fpu"])

    def _bytes(self, group: str) -> memoryview:
        holder = self.regs if group == "regs" else self.sregs if group == "sregs" else self._fpu
        return memoryview(ffi.buffer(holder))

    def read(self, number: int) -> bytes:
        """A register's value, little-endian."""
        field = _FIELDS[number]
        value = bytes(self._bytes(field.group)[field.offset : field.offset + field.width])
        if field.name == "ftag":
            tags = (_VALID if value[0] >> n & 1 else _EMPTY for n in range(8))
            value = sum(tag << 2 * n for n, tag in enumerate(tags)).to_bytes(2, "little")
        return value.ljust(field.size, bytes(1))

    def write(self, number: int, value: bytes) -> None:
        """Changes a register; `store` tells KVM."""
        field = _FIELDS[number]
        if field.name != "ftag":
            self._bytes(field.group)[field.offset : field.offset + field.width] = value[: field.width]
            self.change(field.group)

    def change(self, group: str) -> None:
        """Of `regs` or `sregs`: is changed, so that `store` tells KVM."""
        self._changed.add(group)

    def store(self) -> None:
        """Hands what was changed to KVM.

        Raises:
            KvmError: it refuses; then nothing is known or changed.
        """
        changed, self._changed = self._changed, set()
        try:
            if "sregs" in changed:
                self._vcpu.set_sregs(self.sregs)
            if "regs" in changed:
                self._vcpu.set_regs(self.regs)
            if "fpu" in changed:
                self._vcpu.set_fpu(self._fpu)
        except BaseException:
            self._known.clear()
            raise
