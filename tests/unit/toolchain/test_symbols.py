"""Function names, as FPC mangles them and as backtraces show them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.toolchain.symbols import readable, symbol_table

SPELLING = {"HELLO": "Hello", "SHOWALL": "ShowAll", "TLIST": "TList", "SORT": "Sort"}


@pytest.mark.parametrize(
    ("mangled", "name"),
    [
        ("P$HELLO_$$_SHOWALL$LONGINT$$BOOLEAN", "Hello.ShowAll"),
        ("HELLO_$$_SHOWALL", "Hello.ShowAll"),
        ("HELLO$_$TLIST_$__$$_SORT$TCOMPARE", "Hello.TList.Sort"),
        ("P$HELLO$_$TLIST_$__$$_SORT", "Hello.TList.Sort"),
        ("HELLO$_$SHOWALL$LONGINT_$$_INNER$crcA14BB2DD", "Hello.ShowAll.INNER"),
        ("HELLO$_$TLIST_$_SORT_$$_INNER$LONGINT", "Hello.TList.Sort.INNER"),
        ("PASCALMAIN", "PASCALMAIN"),
        ("fpc_ansistr_incr_ref", "fpc_ansistr_incr_ref"),
        ("entry64", "entry64"),
    ],
)
def test_a_name_is_what_a_programmer_calls_it(mangled: str, name: str) -> None:
    assert readable(mangled, SPELLING) == name


@given(st.text(st.characters(codec="ascii"), max_size=60))
def test_any_name_has_a_reading(mangled: str) -> None:
    assert isinstance(readable(mangled, {}), str)


def table(assembly: str) -> list[tuple[int, str]]:
    """(address, name) of each symbol that the assembly defines."""
    words, names = [], b""
    for line in assembly.splitlines()[1:]:
        directive, values = line.split(maxsplit=1)
        numbers = [int(value) for value in values.split(",")]
        if directive == ".long":
            words += numbers
        else:
            names += bytes(numbers)
    count, addresses = words[0], words[1:]
    assert len(addresses) == count
    return list(zip(addresses, names.decode().split("\0")[:-1], strict=True))


def test_the_table_holds_functions_only_one_an_address(tmp_path: Path) -> None:
    source = tmp_path / "Hello.pas"
    source.write_text("unit Hello;\nprocedure ShowAll(X: LongInt);\ntype TList = class end;")
    nm = (
        "0000000000102000 t P$HELLO_$$_SHOWALL$LONGINT\n"
        "0000000000102000 T alias\n"
        "0000000000102040 T HELLO$_$TLIST_$__$$_SORT\n"
        "0000000000103000 D U_$HELLO_$$_VARIABLE\n"
        "0000000000104000 T .Lj5\n"
    )
    assert table(symbol_table(nm, [source])) == [(0x102000, "Hello.ShowAll"), (0x102040, "Hello.TList.SORT")]


def test_no_symbols_make_an_empty_table() -> None:
    assert table(symbol_table("", [])) == []
