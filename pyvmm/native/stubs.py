"""Makes `_kvm.pyi`, what Python's type checker knows of the C parts: `python pyvmm/native/stubs.py`.

cffi has parsed all declarations; this writes them down as classes and functions. A pointer to
a structure and the structure itself are one class, for both are used in the same way.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cffi import model

sys.path.insert(0, str(Path(__file__).parent))
from build import ffi  # type: ignore[attr-defined]

_STUB = Path(__file__).parents[1] / "_kvm.pyi"

_HEAD = """\
# Made by native/stubs.py of what native/build.py declares.

from typing import Any, Generic, Literal, TypeVar, overload

_Item = TypeVar("_Item")

class CType:
    item: CType
    fields: list[tuple[str, CField]]

class CField:
    type: CType

class CData:
    def __add__(self, items: int) -> CData: ...

class Numbers(CData):
    def __add__(self, items: int) -> Numbers: ...
    def __getitem__(self, index: int) -> int: ...
    def __setitem__(self, index: int, value: int) -> None: ...

class Items(CData, Generic[_Item]):
    def __add__(self, items: int) -> _Item: ...  # type: ignore[override]
    def __getitem__(self, index: int) -> _Item: ...
"""

_FFI = """\
    @overload
    def new(self, cdecl: str, init: Any = ...) -> Any: ...
    def cast(self, cdecl: str, value: Any) -> Any: ...
    def buffer(self, cdata: Any, size: int = ...) -> Any: ...
    def from_buffer(self, data: Any) -> Any: ...
    def addressof(self, what: Any, *fields: str | int) -> Any: ...
    def sizeof(self, what: Any) -> int: ...
    def typeof(self, cdecl: str) -> CType: ...
    def offsetof(self, kind: CType, *fields: str | int) -> int: ...
    def string(self, cdata: Any) -> bytes: ...
"""


def _class(struct: model.StructType) -> str:
    """Its name as Python writes it: `struct kvm_regs` is KvmRegs."""
    return "".join(word.capitalize() for word in struct.name.split("_"))


def _item(kind: model.BaseTypeByIdentity) -> str:
    """What an array or pointer of `kind` is."""
    if isinstance(kind, model.StructType):
        return f"Items[{_class(kind)}]"
    if isinstance(kind, model.PrimitiveType) and kind.name not in ("char", "_Bool"):
        return "Numbers"
    return "CData"


def _type(kind: model.BaseTypeByIdentity) -> str:
    """What is read from a field, or returned."""
    if isinstance(kind, model.VoidType):
        return "None"
    if isinstance(kind, model.PrimitiveType):
        return "bool" if kind.name == "_Bool" else "int"
    if isinstance(kind, model.EnumType):
        return "int"
    if isinstance(kind, model.StructType):
        return _class(kind)
    if isinstance(kind, model.ArrayType):
        return _item(kind.item)
    if isinstance(kind, model.PointerType):
        return _class(kind.totype) if isinstance(kind.totype, model.StructType) else _item(kind.totype)
    return "CData"


def _argument(kind: model.BaseTypeByIdentity) -> str:
    """What a function takes: cffi makes an array of a list or of bytes."""
    if isinstance(kind, model.PointerType) and not isinstance(kind.totype, model.StructType):
        return "Any"
    return _type(kind)


def stub() -> str:
    """The text of `_kvm.pyi`."""
    known: dict[str, dict[str, Any]] = {}
    for key, (value, _) in ffi._parser._declarations.items():
        kind, _, name = key.partition(" ")
        known.setdefault(kind, {})[name] = value
    parts = [_HEAD]
    for struct in known["struct"].values():
        fields = zip(struct.fldnames, struct.fldtypes, strict=True)
        lines = [f"    {field}: {_type(kind)}\n" for field, kind in fields] or ["    ...\n"]
        parts.append(f"class {_class(struct)}(CData):\n" + "".join(lines))
    news = [
        f'    @overload\n    def new(self, cdecl: Literal["struct {name} *"], init: Any = ...)'
        f" -> {_class(struct)}: ...\n"
        for name, struct in known["struct"].items()
    ]
    parts.append("class _Ffi:\n    NULL: Any\n    errno: int\n" + "".join(news) + _FFI)
    constants = [*known["macro"], *(name for enum in known["enum"].values() for name in enum.enumerators)]
    functions = []
    for name, function in known["function"].items():
        arguments = "".join(f", {_name(i)}: {_argument(kind)}" for i, kind in enumerate(function.args))
        functions.append(f"    def {name}(self{arguments}, /) -> {_type(function.result)}: ...\n")
    parts.append("class _Lib:\n" + "".join(f"    {name}: int\n" for name in constants) + "".join(functions))
    parts.append("ffi: _Ffi\nlib: _Lib\n")
    return "\n".join(parts)


def _name(index: int) -> str:
    return "abcdefghij"[index]


if __name__ == "__main__":
    _STUB.write_text(stub())
