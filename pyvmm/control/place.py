"""The registry: a directory of this user's guests, with a directory for each."""

from __future__ import annotations

import posix as os

from pyvmm._kvm import ffi, lib
from pyvmm.errors import ConfigError

_ENOENT = 2


def check_name(name: str) -> str:
    """The name of a guest, which is also that of a directory.

    Raises:
        ConfigError: it is none.
    """
    most: int = lib.REGISTRY_NAME_MAX
    if not 0 < len(name) <= most or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError("name", name, f"not 1 to {most} letters, digits, - and _")
    return name


def made_up(image: str) -> str:
    """A name for a guest that was given none: of its image and this process."""
    name = ffi.new("char[]", lib.REGISTRY_NAME_MAX + 1)
    lib.registry_make_up(name, image.encode(errors="surrogateescape"))
    return ffi.string(name).decode()


def folder() -> str:
    """The path of the registry."""
    path = ffi.new("char[]", lib.REGISTRY_PATH_MAX)
    lib.registry_path(path)
    return ffi.string(path).decode(errors="surrogateescape")


def open_folder(make: bool) -> int:
    """A descriptor of the registry, which is this user's alone.

    Args:
        make: makes it if it is not there; else that is FileNotFoundError.

    Raises:
        ConfigError: another user could have made what is in it.
    """
    fd: int = lib.registry_open(make)
    if fd >= 0:
        return fd
    if fd == lib.REGISTRY_FOREIGN:
        raise ConfigError("name", "", f"{folder()}: not a directory of yours alone")
    errno = ffi.errno
    if errno == _ENOENT and not make:
        raise FileNotFoundError(errno, os.strerror(errno), folder())
    reason = "its directory is not there; see XDG_RUNTIME_DIR" if errno == _ENOENT else os.strerror(errno)
    raise ConfigError("name", "", f"{folder()}: {reason}")
