"""The registry of guests: one process holds an entry, and dead ones go by their lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from guests import open_fds

from pyvmm.control.entry import Entry, descriptions, open_entry, started_now, uptime_ns
from pyvmm.control.place import check_name, made_up
from pyvmm.errors import ConfigError, UsageError


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr("posix.environ", {**os.environb})
    return tmp_path / "pyvmm"


def test_an_entry_is_there_until_it_is_closed(runtime: Path) -> None:
    before = open_fds()
    entry = Entry("one")
    entry.describe({"pid": "5", "image": "a\nb", "started": started_now()})
    (values,) = descriptions()
    assert (values["name"], values["pid"], values["image"], values["paused"]) == ("one", "5", "a b", "")
    assert 0 <= uptime_ns(values) < 60 * 10**9
    entry.set_paused(True)
    assert next(iter(descriptions()))["paused"]
    entry.set_paused(False)
    entry.set_paused(False)
    assert not next(iter(descriptions()))["paused"]
    socket = entry.listen("control")
    assert (runtime / "one/control").is_socket()
    socket.close()
    entry.close()
    entry.close()
    assert [*descriptions()] == []
    assert [*runtime.iterdir()] == []
    assert open_fds() == before


def test_a_name_is_one_guest_s() -> None:
    entry = Entry("one")
    with pytest.raises(ConfigError, match="name one: another guest has this name"):
        Entry("one")
    entry.close()
    Entry("one").close()


def test_an_entry_without_description_is_not_shown() -> None:
    entry = Entry("one")
    assert [*descriptions()] == []
    entry.close()


HOLD = """
import sys
from pyvmm.control.entry import Entry
entry = Entry("held")
entry.describe({"pid": "1"})
entry.listen("control")
print("held", flush=True)
sys.stdin.read()
"""


def test_the_entry_of_a_process_that_was_killed_goes(runtime: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        assert [values["name"] for values in descriptions()] == ["held"]
        process.send_signal(signal.SIGKILL)
    assert (runtime / "held/guest").exists()
    assert [*descriptions()] == []
    assert not (runtime / "held").exists()


def test_what_a_dead_guest_has_left_is_replaced(runtime: Path) -> None:
    (runtime / "one").mkdir(parents=True)
    runtime.chmod(0o700)
    (runtime / "one/paused").touch()
    entry = Entry("one")
    assert [*(runtime / "one").iterdir()] == []
    entry.close()


def test_a_registry_that_others_could_change_is_not_used(runtime: Path) -> None:
    runtime.mkdir(mode=0o755)
    for use in (lambda: Entry("one"), lambda: [*descriptions()]):
        with pytest.raises(ConfigError, match="not a directory of yours alone"):
            use()
    runtime.rmdir()
    (runtime.parent / "elsewhere").mkdir(mode=0o700)
    runtime.symlink_to(runtime.parent / "elsewhere")
    with pytest.raises(ConfigError, match=r"Not a directory|symbolic"):
        Entry("one")


def test_a_registry_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/sys")  # mkdir(2) gives EPERM there, or EACCES to others than root
    with pytest.raises(ConfigError, match=r"/sys/pyvmm: (Operation not permitted|Permission denied)"):
        Entry("one")


def test_files_in_the_registry_are_no_guests(runtime: Path) -> None:
    runtime.mkdir(mode=0o700)
    (runtime / "file").touch()
    (runtime / "link").symlink_to("/etc")
    assert [*descriptions()] == []
    assert (runtime / "link").is_symlink()


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "é", "x" * 65])
def test_names(name: str) -> None:
    with pytest.raises(ConfigError, match="not 1 to 64 letters"):
        check_name(name)
    with pytest.raises(ConfigError):
        open_entry(name)


@pytest.mark.parametrize("image", ["/a/hello.elf", "", "/x/.elf", "/a b/\udcff\n.elf", "y" * 300, "v1.2.elf"])
def test_made_up_names_are_names(image: str) -> None:
    assert check_name(made_up(image)).endswith(f"-{os.getpid()}")


def test_a_guest_that_is_not_there_is_told() -> None:
    with pytest.raises(UsageError, match="no guest of yours has this name"):
        open_entry("nobody")
