"""The registry: a directory of this user's guests, with a directory for each."""

from __future__ import annotations

import posix as os

from pyvmm.errors import ConfigError

NAME_MAX = 64


def check_name(name: str) -> str:
    """The name of a guest, which is also that of a directory.

    Raises:
        ConfigError: it is none.
    """
    if not 0 < len(name) <= NAME_MAX or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError("name", name, f"not 1 to {NAME_MAX} letters, digits, - and _")
    return name


def made_up(image: str) -> str:
    """A name for a guest that was given none: of its image and this process (`made_up` in entry.c does the same)."""
    stem = image.rpartition("/")[2].partition(".")[0].encode(errors="surrogateescape")[:_STEM_MAX]
    letters = (chr(byte) if chr(byte).isalnum() and byte < 128 else "-" for byte in stem)
    return f"{''.join(letters) or 'guest'}-{os.getpid()}"


_STEM_MAX = 48


def folder() -> str:
    """The path of the registry."""
    base = os.environ.get(b"XDG_RUNTIME_DIR", b"").decode(errors="surrogateescape")
    return f"{base}/pyvmm" if base.startswith("/") else f"/tmp/pyvmm-{os.geteuid()}"


def open_folder(make: bool) -> int:
    """A descriptor of the registry, which is this user's alone.

    Args:
        make: makes it if it is not there; else that is FileNotFoundError.

    Raises:
        ConfigError: another user could have made what is in it.
    """
    path = folder()
    try:
        if make:
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                pass
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        if make:
            raise ConfigError("name", "", f"{path}: its directory is not there; see XDG_RUNTIME_DIR") from None
        raise
    except OSError as error:
        raise ConfigError("name", "", f"{path}: {error.strerror}") from None
    status = os.fstat(fd)
    if status.st_mode & 0o077 or status.st_uid != os.geteuid():
        os.close(fd)
        raise ConfigError("name", "", f"{path}: not a directory of yours alone")
    return fd
