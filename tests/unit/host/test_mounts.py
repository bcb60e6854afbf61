"""The table of mounts, and the end of one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests import open_fds
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.eventloop import EventLoop
from pyvmm.host.mounts import MountWatch, covering, mounts

TABLE = rb"""22 27 0:20 / /proc rw,nosuid shared:12 - proc proc rw
27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
91 27 0:51 / /srv rw,relatime - fuse.ceph-fuse ceph-fuse rw
92 91 0:52 / /srv/a\040b rw - nfs server:/x rw
93 27 0:53 / /srv rw - fuse.ceph-fuse ceph-fuse rw
"""


@pytest.mark.parametrize(
    ("path", "number", "is_on_device"),
    [
        (b"/", 27, True),
        (b"/home", 27, True),
        (b"/srv", 93, False),
        (b"/srvx", 27, True),
        (b"/srv/site", 93, False),
        (b"/srv/a b/c", 92, False),
    ],
)
def test_the_mount_of_a_path_is_the_last_that_reaches_furthest(path: bytes, number: int, is_on_device: bool) -> None:
    found = covering(mounts(TABLE), path)
    assert found
    assert (found.number, found.is_on_device) == (number, is_on_device)


@given(st.binary(min_size=1, max_size=30).filter(lambda name: not {0, 47} & set(name)))
def test_any_name_of_a_directory_is_read_as_the_kernel_writes_it(name: bytes) -> None:
    written = b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in name)
    if b"\r" in name or not written.isascii():  # splitlines() of bytes parts at both
        written = written.replace(b"\r", b"\\015")
    (mount,) = mounts(b"5 1 0:9 / /" + written + b" rw - x x rw\n")
    assert mount.point == b"/" + name


def mount(folder: Path) -> None:
    done = subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr}")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "a mount"
    folder.mkdir()
    mount(folder)
    yield folder
    while os.path.ismount(folder):
        subprocess.run(["umount", "-l", folder], check=True)


def test_the_end_of_a_mount_is_noticed_once_and_each_new_one(mounted: Path) -> None:
    before = open_fds()
    loop = EventLoop()
    seen: list[bool] = []

    def changed(is_back: bool) -> None:
        seen.append(is_back)
        loop.stop()

    (mounted / "below").mkdir()
    watch = MountWatch(str(mounted / "below"))
    watch.attach(loop, changed)
    subprocess.run(["umount", "-l", mounted], check=True)
    loop.run()
    assert seen == [False]
    for _ in range(2):
        mount(mounted)
        loop.run()
    assert seen == [False, True, True]
    watch.close()
    watch.close()
    loop.close()
    assert open_fds() == before


def test_a_local_file_system_is_not_watched() -> None:
    loop = EventLoop()
    watch = MountWatch("/proc/no/such")
    watch._mount = None
    watch.close()
    watch.attach(loop, lambda _: None)
    loop.close()
