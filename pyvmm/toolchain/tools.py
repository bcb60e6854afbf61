"""Runs the tools of a build, and keeps what they made until its inputs change."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from errno import EEXIST, ENOTEMPTY
from pathlib import Path
from typing import TYPE_CHECKING

from pyvmm.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_SOURCES = (".pas", ".pp", ".p", ".lpr", ".inc", ".s", ".ld", ".c", ".h")


class ToolError(BuildError):
    """A tool has failed.

    Attributes:
        said: what it wrote.
    """

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said


def run(
    command: list[str], what: object, stdin: str | None = None, quiet: bool = False, cwd: Path | None = None
) -> str:
    """Runs a tool and returns its output, which also goes to stderr unless `quiet`.

    Raises:
        ToolError: it has ended with another status than 0. Its output was not written.
    """
    result: subprocess.CompletedProcess[bytes] = subprocess.run(
        command, input=stdin and stdin.encode(), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said = result.stdout.decode(errors="surrogateescape")  # compilers quote sources, in whatever encoding they are
    if result.returncode:
        raise ToolError(f"{what}: not built, {command[0]} failed", said)
    if not quiet:
        show(said)
    return said


def show(said: str) -> None:
    """Writes a tool's output to stderr as it came."""
    sys.stderr.flush()
    sys.stderr.buffer.write(said.encode(errors="surrogateescape"))
    sys.stderr.buffer.flush()


def output(command: list[str]) -> str:
    """What a tool writes to stdout."""
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return str(result.stdout, "utf-8", "surrogateescape")


def digest(*parts: bytes | str) -> str:
    """A short hash that differs if any part does."""
    hashed = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogateescape") if isinstance(part, str) else part
        hashed.update(len(data).to_bytes(8, "little") + data)
    return hashed.hexdigest()[:16]


def contents(paths: Iterable[Path]) -> Iterator[bytes]:
    """Names and contents of the sources among `paths`."""
    for path in sorted(paths):
        if path.suffix in _SOURCES and path.is_file():
            yield os.fsencode(path.name)
            yield path.read_bytes()


def cache() -> Path:
    """This user's directory for intermediate files.

    Raises:
        BuildError: it cannot be made.
    """
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "pyvmm")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(f"{place}: {error.strerror}; set XDG_CACHE_HOME to a directory that you may write") from None
    return place


def once(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """A cached directory, filled by `make` if it does not exist yet.

    It is put in place by a rename, so any number of builds can run at once.
    """
    done = cache() / f"{name}-{key}"
    if not done.is_dir():
        with tempfile.TemporaryDirectory(dir=done.parent, ignore_cleanup_errors=True) as temporary:
            making = Path(temporary, name)
            making.mkdir()
            make(making)
            try:
                making.rename(done)
            except OSError as error:
                if error.errno not in (EEXIST, ENOTEMPTY):  # another build was first
                    raise
    return done


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """Makes the directory if need be, and keeps other builds out of it."""
    place.mkdir(exist_ok=True)
    with open(place / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def application_directory(program: Path, key: str) -> Iterator[Path]:
    """The directory of one program's intermediate files, for one build at a time.

    It is emptied when `key` or a source beside the program has changed, as FPC compares times
    only to two seconds. For all other files FPC's own check applies.
    """
    work = cache() / f"application-{digest(str(program.resolve()))}"
    with locked(work):
        made_of = work / "made-of"
        beside = program.resolve().parent
        state = digest(key, *contents([*beside.glob("*"), *beside.glob("*/*")]))
        if not made_of.is_file() or made_of.read_text() != state:
            for path in work.iterdir():
                if path.name != "lock":
                    path.unlink()
            made_of.write_text(state)
        yield work
