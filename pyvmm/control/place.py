"""Where the control socket of a guest with a name is."""

from __future__ import annotations

import posix as os

from pyvmm.errors import ConfigError

_NAME_MAX = 64


def socket_path(name: str) -> str:
    """The path of a guest's socket; `make_folders` makes what it is in.

    Raises:
        ConfigError: the name is none.
    """
    if not 0 < len(name) <= _NAME_MAX or not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError("name", name, f"not 1 to {_NAME_MAX} letters, digits, - and _")
    return f"{folder()}/{name}.control"


def folder() -> str:
    """The directory of this user's guests."""
    base = os.environ.get(b"XDG_RUNTIME_DIR", b"").decode(errors="surrogateescape")
    return f"{base}/pyvmm" if base.startswith("/") else f"/tmp/pyvmm-{os.geteuid()}"


def make_folder() -> None:
    """Makes the directory, which is this user's alone.

    Raises:
        ConfigError: it is not.
    """
    path = folder()
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError("name", "", f"{path}: {error.strerror}") from None
    status = os.lstat(path)
    if status.st_mode & 0o170077 != 0o040000 or status.st_uid != os.geteuid():
        raise ConfigError("name", "", f"{path}: not a directory of yours alone")
