"""`pyvmm cache`: lists or clears the boot cache."""

from __future__ import annotations

import os
from time import localtime, strftime

from pyvmm._kvm import ffi, lib
from pyvmm.command.options import COMMANDS, only_operand, parse, suggestion
from pyvmm.errors import HostError, UsageError
from pyvmm.state.cache import entries, open_directory


def cache(words: list[str]) -> str:
    """Does what the words say; returns what to print.

    Raises:
        UsageError: they make no sense.
        HostError: the cache cannot be read or cleared.
    """
    action = only_operand("cache", parse("cache", words)[0])
    if action not in COMMANDS["cache"][1].split():
        raise UsageError(f"{action}: not ls or clear{suggestion(action, ['ls', 'clear'], 'cache --help')}")
    base = os.environ.get("XDG_CACHE_HOME", "")
    path = f"{base if base.startswith('/') else os.path.expanduser('~/.cache')}/pyvmm/boot"
    try:
        directory = open_directory(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise HostError(path, error.errno or 0) from None
    try:
        return _clear(directory) if action == "clear" else _list(directory)
    except OSError as error:
        raise HostError(path, error.errno or 0) from None
    finally:
        os.close(directory)


def _clear(directory: int) -> str:
    for name, _ in entries(directory):
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:  # another process was faster
            pass
    return ""


def _list(directory: int) -> str:
    lines = []
    for name, status in reversed(entries(directory)):
        if name.startswith("."):
            continue
        used = strftime("%Y-%m-%d %H:%M", localtime(max(status.st_atime, status.st_mtime)))
        lines.append(f"{used}  {status.st_size >> 10:>7} KiB  {_image(directory, name)}\n")
    return "".join(lines)


def _image(directory: int, name: str) -> str:
    """The image that an entry was made of: its key begins with the name."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        return f"damaged: {name}"
    state, size = ffi.new("struct state *"), ffi.new("uint64_t *")
    try:
        if not lib.state_open(state, fd):
            return f"damaged: {name}"
        key = lib.state_section(state, lib.STATE_KEY, 0, size)
        text = bytes(ffi.buffer(key, size[0])) if key != ffi.NULL else b""
        lib.state_close(state)
    finally:
        os.close(fd)
    shown = text.partition(b"\0")[0].decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)
