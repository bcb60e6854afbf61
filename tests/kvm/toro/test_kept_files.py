"""What a guest keeps of files, and what it sees of changes by the host, and of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guests import PYVMM, Result, wait_until
from programs import Programs, Talking

from pyvmm.config import MachineConfig
from pyvmm.host.virtiofsd import PROGRAMS, Share, Virtiofsd
from pyvmm.machine import Machine
from pyvmm.virtio.fs import VirtioFs


@pytest.fixture(scope="module", autouse=True)
def _needs_virtiofsd() -> None:
    if not any(os.access(program, os.X_OK) for program, _ in PROGRAMS):
        pytest.skip("needs virtiofsd (Debian 12: qemu-system-common)")


class Reader(Talking):
    """Reader.pas with a share."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        super().__init__(machine)
        self.folder = folder

    def requests(self) -> int:
        """How many the server has answered."""
        return dict(self.machine.counts())["fs"]["requests"]


@pytest.fixture
def reader(programs: Programs, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Reader]:
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "file").write_text("first\n")
    share = Share(f"{folder}:FS:cache={getattr(request, 'param', 'auto')}")
    device = VirtioFs("share", b"FS", Virtiofsd(share, print), print)
    with Machine(MachineConfig(programs.image("Reader")), [device]) as machine:
        machine.start()
        yield Reader(machine, folder)
        machine.stop()


def overwrite(file: Path) -> None:
    with file.open("r+") as opened:
        opened.write("other")


def overwrite_with_its_old_time(file: Path) -> None:
    before = file.stat()
    overwrite(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def grow(file: Path) -> None:
    file.write_text("other and longer\n")


def cut(file: Path) -> None:
    os.truncate(file, 2)


def replace(file: Path) -> None:
    (file.parent / "new").write_text("other\n")
    (file.parent / "new").rename(file)


def remove(file: Path) -> None:
    file.unlink()


CHANGES: list[tuple[Callable[[Path], None], str, str]] = [
    (overwrite, "other", "other"),
    (overwrite_with_its_old_time, "other", "other"),
    (grow, "other and longer", "other and longer"),
    (cut, "fi", "fi"),
    (replace, "other", "first"),
    (remove, "error 2", "first"),
]


@pytest.mark.parametrize("reader", ["none"], indirect=True)
@pytest.mark.parametrize(("change", "by_name", "by_handle"), CHANGES)
def test_without_a_cache_a_change_is_seen_at_once(
    reader: Reader, change: Callable[[Path], None], by_name: str, by_handle: str
) -> None:
    assert (reader.ask("read /file"), reader.ask("open /file"), reader.ask("again")) == ("first", "ok", "first")
    change(reader.folder / "file")
    assert reader.ask("read /file") == by_name
    assert reader.ask("again") == by_handle


@pytest.mark.parametrize(("change", "by_name", "by_handle"), CHANGES)
def test_a_change_is_seen_after_a_second(
    reader: Reader, change: Callable[[Path], None], by_name: str, by_handle: str
) -> None:
    """As long as the server says that attributes are valid; until then as it was, or as it is."""
    assert (reader.ask("read /file"), reader.ask("open /file"), reader.ask("again")) == ("first", "ok", "first")
    change(reader.folder / "file")
    seen: set[str] = set()
    wait_until(lambda: seen.add(reader.ask("read /file")) or by_name in seen, "it is seen by its name")
    wait_until(lambda: reader.ask("again") == by_handle, "it is seen through the open file")
    assert seen <= {"first", by_name}
    assert reader.ask("read /file") == by_name


@pytest.mark.parametrize("reader", ["auto", "always"], indirect=True)
def test_a_file_that_is_read_again_takes_no_request(reader: Reader) -> None:
    reader.ask("read /file")
    before = reader.requests()
    assert reader.ask("hot /file 1000") == "first"
    assert reader.requests() - before < 20  # each second anew


@pytest.mark.parametrize("reader", ["always"], indirect=True)
def test_with_all_kept_the_host_is_not_asked(reader: Reader) -> None:
    assert (reader.ask("read /file"), reader.ask("stat /file")) == ("first", "6")
    before = reader.requests()
    grow(reader.folder / "file")
    assert (reader.ask("read /file"), reader.ask("stat /file")) == ("first", "6")
    assert reader.requests() == before


@pytest.mark.parametrize("reader", ["auto", "none", "always"], indirect=True)
def test_what_the_guest_changes_it_sees_at_once(reader: Reader) -> None:
    assert (reader.ask("read /file"), reader.ask("open /file"), reader.ask("again")) == ("first", "ok", "first")
    reader.ask("append /file second")
    assert (reader.ask("stat /file"), reader.ask("read /file")) == ("12", "first")
    reader.ask("write /file third")
    assert (reader.ask("read /file"), reader.ask("again"), reader.ask("stat /file")) == ("third", "third", "6")
    reader.ask("remove /file")
    assert (reader.ask("read /file"), reader.ask("stat /file"), reader.ask("again")) == ("error 2", "error 2", "third")
    reader.ask("write /file fourth")
    assert (reader.ask("read /file"), reader.ask("stat /file")) == ("fourth", "7")


@pytest.fixture
def listed(reader: Reader) -> Reader:
    """One that has a directory of 100 files, of 0 to 99 bytes."""
    (reader.folder / "names").mkdir()
    for number in range(100):
        (reader.folder / f"names/{number}").write_bytes(bytes(number))
    return reader


@pytest.mark.parametrize("reader", ["auto", "always"], indirect=True)
def test_files_of_a_listing_take_no_request_each(listed: Reader) -> None:
    before = listed.requests()
    assert listed.ask("list /names") == "100 4950"
    assert listed.requests() - before < 20


@pytest.mark.parametrize("reader", ["auto", "none", "always"], indirect=True)
def test_a_listing_has_what_the_guest_has_changed(listed: Reader) -> None:
    assert listed.ask("list /names") == "100 4950"
    listed.ask("append /names/7 more")
    listed.ask("remove /names/8")
    listed.ask("write /names/new 123456")
    assert listed.ask("list /names") == f"100 {4950 + 4 - 8 + 7}"


@pytest.mark.parametrize("reader", ["none"], indirect=True)
def test_a_listing_without_a_cache_has_what_the_host_has_changed(listed: Reader) -> None:
    assert listed.ask("list /names") == "100 4950"
    grow(listed.folder / "names/0")
    remove(listed.folder / "names/9")
    assert listed.ask("list /names") == f"99 {4950 + 17 - 9}"


def test_a_listing_has_what_the_host_has_changed_after_a_second(listed: Reader) -> None:
    assert listed.ask("list /names") == "100 4950"
    grow(listed.folder / "names/0")
    remove(listed.folder / "names/9")
    wait_until(lambda: listed.ask("list /names") == f"99 {4950 + 17 - 9}", "both are seen")


def test_a_listing_is_whole_however_large_it_is(reader: Reader) -> None:
    (reader.folder / "many").mkdir()
    for number in range(3000):
        (reader.folder / f"many/{'long' * 20}{number}").touch()
    assert reader.ask("list /many") == "3000 0"


def test_what_is_kept_gives_way_to_the_program(toro: Callable[..., Result], tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"file{number}").write_bytes(bytes([number]) * (1 << 20))
    result = toro("Crowded", "--mem", "64M", "--share", f"{tmp_path}:FS")
    assert result == Result(0, b"ok the files are right\nok most of the memory can be had\nok and again\n", "")


def test_no_memory_for_a_handle_is_an_error_of_its_opening(toro: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("abc")
    result = toro("Handles", "--mem", "32M", "--share", f"{tmp_path}:FS")
    assert (result.status, result.stderr) == (0, "")
    assert [line[:3] for line in result.stdout.decode().splitlines()] == ["ok "] * 4


@pytest.mark.parametrize("cache", ["auto", "none"])
def test_files_that_are_replaced_meanwhile_are_never_mixed(programs: Programs, tmp_path: Path, cache: str) -> None:
    """By threads of four cores, in so little memory that what is kept has to go."""
    sizes = (1, 4000, 70_000, 262_144, 300_000, 400_000)

    def replace_all(byte: int) -> None:
        for number, size in enumerate(sizes):
            (tmp_path / "new").write_bytes(bytes([byte]) * size)
            (tmp_path / "new").rename(tmp_path / f"file{number}")

    replace_all(0)
    command = [PYVMM, "boot", programs.image("Racing"), "--mem", "32M", "--cpus", "4"]
    with subprocess.Popen([*command, "--share", f"{tmp_path}:FS:cache={cache}"], stdout=subprocess.PIPE) as guest:
        byte = 0
        while guest.poll() is None:
            byte = (byte + 1) % 256
            replace_all(byte)
        assert guest.stdout
        assert guest.stdout.read() == b"2400 read, 0 wrong\n"
