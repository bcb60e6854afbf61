"""What a boot of HelloWorld may cost, counted by `pyvmm bench exits`.

No count depends on the machine's speed. A change that needs more raises the budget
and says why beside it; one that needs much less lowers it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from guests import PYVMM, needs_compiler, pyvmm, toro_image

pytestmark = needs_compiler

HELLO = Path(__file__).parents[2] / "examples/HelloWorld/HelloWorld.pas"

#: The kernel finds everything in the boot-info block: nothing is probed or programmed.
FIRST_LINE_EXITS: dict[str, int] = {}
#: One for each of its two lines, and one for the end.
EXITS = {"io": 3}
#: Descriptor tables, control registers and MSRs are loaded, and ring 3 is entered (boot/nucleus.s).
INTERPRETED_MAX = 60
#: Of the executable. 68 check whether a module's source has changed, by C for the boot cache and by
#: Python, which only a development install does; 18 are ioctls of KVM. The number varies by one or
#: two with threads. Two keep guest memory out of child processes and core dumps; one asks for the ID of
#: the vCPU's thread, one for the process's, which a fork for --detach changes. Some 15 confine the vCPU's thread.
SYSTEM_CALLS_MAX = 212
if sys.version_info[:2] == (3, 12):
    SYSTEM_CALLS_MAX += 4  # half a megabyte more of static data, populated in steps of 128 KiB
#: 26 of them, in a development install, check whether States are still composed as when they were built; 50 confine
#: the thread, 21 of these for the files that it may still read, 6 of which only a development install has.
CACHED_CALLS_MAX = 142
#: Direct boot only, the devices that every guest has, and no virtio; four are the State and its cache,
#: three the parts of pyvmm.kvm, one the machine that C has made, and six what confines it and where it is listed.
MODULES_MAX = 43
#: cffi's own, and two builtin modules that are used when the guest runs.
OTHER_MODULES = {"__future__", "_cffi_backend", "gc", "select"}
#: The kernel with threads, console, heap and exceptions, and function names for backtraces.
IMAGE_BYTES_MAX = 103 << 10


@pytest.fixture(scope="module")
def counts() -> Any:
    """What the benchmark says."""
    done = pyvmm("bench", "exits", "--json")
    assert done.status == 0, done.stderr
    return json.loads(done.stdout)


def test_exits(counts: Any) -> None:
    assert counts["first_line_exits"] == FIRST_LINE_EXITS
    assert counts["exits"] == EXITS


def test_ring_0_is_left_at_once(counts: Any) -> None:
    if counts["interpreted"] is None:
        pytest.skip("this KVM does not tell what it interprets")
    assert counts["first_line_interpreted"] <= counts["interpreted"] <= INTERPRETED_MAX


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_system_calls_before_the_guest_runs(counts: Any) -> None:
    assert 0 < counts["system_calls"] <= SYSTEM_CALLS_MAX


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_system_calls_before_a_cached_guest_runs(counts: Any) -> None:
    assert 0 < counts["cached_calls"] <= CACHED_CALLS_MAX


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.parametrize("options", [(), ("--vsock", "5", "-p", "0:80"), ("--name", "budget")])
def test_the_interpreter_starts_no_further_than_it_must(options: tuple[str, ...], tmp_path: Path) -> None:
    """Its main phase begins by a look for `os.py` (pyvmm/command/launch.py), and takes a millisecond."""
    image, log = toro_image(HELLO, tmp_path), tmp_path / "strace"
    words = ["strace", "-f", "-o", str(log), "-e", "trace=%file", PYVMM, "boot", image, "--no-cache", *options]
    assert subprocess.run(words, check=True, capture_output=True, timeout=60).stdout.startswith(b"Hello World")
    assert "_cffi_backend" in log.read_text()
    assert "/os.py" not in log.read_text()


def test_imported_modules(counts: Any) -> None:
    assert {"pyvmm.command.cli", "pyvmm.machine"} < {*counts["modules"]}
    assert len(counts["modules"]) <= MODULES_MAX, counts["modules"]
    assert {*counts["other_modules"]} <= OTHER_MODULES


def test_size_of_the_image(counts: Any) -> None:
    assert 0 < counts["image_bytes"] <= IMAGE_BYTES_MAX
