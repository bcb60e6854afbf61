"""One Toro image with each of pyvmm's boot protocols."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from guests import Result
from test_kernel import assert_all_ok

HELLO = Path(__file__).parents[3] / "examples/HelloWorld/HelloWorld.pas"


@pytest.mark.parametrize("cpus", [1, 2, 8, 32])
@pytest.mark.parametrize("protocol", ["direct", "pvh", "linux"])
def test_hello_world(toro: Callable[..., Result], protocol: str, cpus: int) -> None:
    """By PVH and Linux the cores are woken by INIT and SIPI."""
    result = toro(HELLO, "--boot", protocol, "--cpus", str(cpus))
    mib = 128 if protocol == "direct" else 127  # less 384 KiB of BIOS
    assert result == Result(0, f"Hello World, I am TORO!\n{cpus} cores, {mib} MiB of memory\n".encode(), "")


@pytest.mark.parametrize("protocol", ["pvh", "linux"])
def test_threads(toro: Callable[..., Result], protocol: str) -> None:
    assert_all_ok(toro("Threads", "--boot", protocol, "--cpus", "4", "--mem", "5G"), 44)


def test_time_is_that_of_kvms_clock(toro: Callable[..., Result]) -> None:
    result = toro("Utilities", "--boot", "pvh", "--append", "first,second")
    assert b"FAILED" not in result.stdout
    assert result.stdout.endswith(b"parameter first\nparameter second\n")


def test_direct_boot_takes_no_initrd(toro: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "initrd").touch()
    result = toro(HELLO, "--initrd", str(tmp_path / "initrd"))
    assert (result.status, result.stderr.partition("initrd: ")[2]) == (125, "direct boot takes none; try pvh\n")
