"""The boot cache as Python writes it: what is kept, and what a boot that was killed leaves."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from pyvmm.errors import HostError
from pyvmm.host import newfile
from pyvmm.state import cache
from pyvmm.state.cache import Entry
from pyvmm.state.state import State

MINUTE_NS = 60 * 10**9


class Guest:
    """A State, as far as it matters here."""

    def __init__(self, contents: bytes) -> None:
        self.contents = contents

    def parts(self, key: bytes, summed: bool, most: int) -> list[bytes] | None:
        """The contents, behind the key."""
        assert summed
        return [key, self.contents] if len(self.contents) <= most else None


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the cache is to be."""
    return tmp_path / "home/pyvmm/boot"


@pytest.fixture
def store(place: Path) -> Callable[..., None]:
    """Stores an entry: `store("name", b"contents")`."""

    def do(name: str, contents: bytes) -> None:
        entry = Entry(str(place), name, b"key:", [])
        entry.take(cast(State, Guest(contents)))
        entry.store()

    return do


def names(place: Path) -> set[str]:
    """The files that are there."""
    return {path.name for path in place.iterdir()}


def used(place: Path, name: str, minutes: int) -> None:
    """Makes a file's last use so long ago."""
    now = (place / name).stat().st_mtime_ns
    os.utime(place / name, ns=(now - minutes * MINUTE_NS, now - minutes * MINUTE_NS))


def test_an_entry_is_written_and_replaced(place: Path, store: Callable[..., None]) -> None:
    store("a", b"one")
    store("a", b"two")
    assert names(place) == {"a"}
    assert (place / "a").read_bytes() == b"key:two"


def test_an_entry_is_stored_once(place: Path) -> None:
    entry = Entry(str(place), "a", b"key:", [])
    entry.store()
    assert not place.exists()
    entry.take(cast(State, Guest(b"one")))
    entry.store()
    (place / "a").unlink()
    entry.store()
    assert names(place) == set()


def test_a_state_that_is_large_or_that_the_host_does_not_tell_of_is_not_stored(
    place: Path, store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "PAGES_MAX", 10)
    store("a", bytes(11))
    assert not place.exists()

    def refuse(*_: object, **__: object) -> None:
        raise HostError("/proc/self/pagemap", 2)

    monkeypatch.setattr(Guest, "parts", refuse)
    store("a", b"")
    assert not place.exists()


def identity(path: Path) -> bytes:
    """As `add_file` of cache.c has it."""
    status = path.stat()
    times = *divmod(status.st_mtime_ns, 10**9), *divmod(status.st_ctime_ns, 10**9)
    return struct.pack("=QQQqqqq", status.st_dev, status.st_ino, status.st_size, *times)


@pytest.mark.parametrize("change", ["none", "replaced", "written", "gone"])
def test_a_file_that_has_changed_since_the_key_was_made_is_not_stored(place: Path, tmp_path: Path, change: str) -> None:
    image, initrd = tmp_path / "image", tmp_path / "initrd"
    image.write_bytes(b"image")
    initrd.write_bytes(b"files")
    os.utime(image, ns=(0, 10**9 - 1))
    entry = Entry(str(place), "a", b"image\0" + identity(image) + identity(initrd), [str(image), str(initrd)])
    if change == "replaced":
        (tmp_path / "new").write_bytes(b"files")
        (tmp_path / "new").rename(initrd)
    elif change == "written":
        image.write_bytes(b"longer image")
    elif change == "gone":
        initrd.unlink()
    entry.take(cast(State, Guest(b"")))
    entry.store()
    assert place.exists() == (change == "none")


def test_the_least_recently_used_go_first(
    place: Path, store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SIZE_MAX", 350)
    for minutes, name in enumerate("dbca"):
        store(name, bytes(96))
        used(place, name, 9 - minutes)
    assert names(place) == {"b", "c", "a"}
    os.utime(place / "b")
    store("e", bytes(96))
    assert names(place) == {"a", "b", "e"}


def test_one_that_is_larger_than_all_may_be_stays_alone(
    place: Path, store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "SIZE_MAX", 350)
    store("a", bytes(10))
    used(place, "a", 1)
    store("b", bytes(1000))
    assert names(place) == {"b"}


def killed_in(call: str, store: Callable[[], None]) -> int:
    """Stores in another process, which is killed when it gets to a call; its ID."""
    child = os.fork()
    if not child:
        posix: Any = newfile.os  # type: ignore[attr-defined]
        setattr(posix, call, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        store()
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    return child


@pytest.mark.parametrize("call", ["write", "link"])
def test_a_store_that_is_killed_leaves_the_old_entry(place: Path, store: Callable[..., None], call: str) -> None:
    store("a", b"old")
    killed_in(call, lambda: store("a", b"new"))
    assert names(place) == {"a"}
    assert (place / "a").read_bytes() == b"key:old"


@pytest.mark.parametrize(("call", "has_tmpfile"), [("rename", True), ("rename", False), ("write", False)])
def test_what_a_store_that_is_killed_leaves_is_removed(
    place: Path, store: Callable[..., None], monkeypatch: pytest.MonkeyPatch, call: str, has_tmpfile: bool
) -> None:
    store("a", b"old")
    if not has_tmpfile:  # some file systems lack it
        monkeypatch.setattr(newfile.os, "O_TMPFILE", 0)  # type: ignore[attr-defined]
    left = f".a.{killed_in(call, lambda: store('a', b'new'))}"
    assert names(place) == {"a", left}
    assert (place / "a").read_bytes() == b"key:old"
    store("b", b"")
    assert names(place) == {"a", "b", left}, "another process may be writing it"
    used(place, left, 6)
    store("b", b"")
    assert names(place) == {"a", "b"}


def test_a_store_that_fails_leaves_nothing(
    place: Path, store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    store("a", b"old")
    monkeypatch.setattr(newfile.os, "write", fail)  # type: ignore[attr-defined]
    store("a", b"new")
    assert (place / "a").read_bytes() == b"key:old"
    assert names(place) == {"a"}
