"""Units of the user that are called like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyvmm.toolchain.names import renamed, taken

KERNEL = [Path("kernel/Memory.pas"), Path("kernel/Process.pas"), Path("heap/HeapPool.pas")]


@pytest.mark.parametrize(
    ("program", "beside", "found"),
    [
        ("program X;", [], []),
        ("program memory;", [], ["Memory"]),
        ("begin end.", ["PROCESS.PP", "memory.pas", "heappool.txt"], ["Memory", "Process"]),
        ("// program Memory", [], []),
    ],
)
def test_what_is_taken(tmp_path: Path, program: str, beside: list[str], found: list[str]) -> None:
    source = tmp_path / "main.pas"
    source.write_text(program)
    for name in beside:
        (tmp_path / name).touch()
    assert taken(source, [tmp_path], KERNEL) == found


def test_a_unit_is_renamed_where_it_is_named() -> None:
    text = (
        "{ Memory }\nunit Memory;\ninterface\nuses Arch, memory,\n  MemoryMap;\nvar Memory: Byte;\nbegin\n"
        "  Memory.Take;\nend."
    )
    assert renamed(text, ["Memory"]) == (
        "{ Memory }\nunit ToroMemory;\ninterface\nuses Arch, ToroMemory,\n  MemoryMap;\nvar Memory: Byte;\nbegin\n"
        "  ToroMemory.Take;\nend."
    )
