"""An OCI bundle: config.json, and the files that its container will see.

The image is hostile: its symbolic links lead nowhere outside, its devices and pipes are not
opened, and what is read of it is bounded. config.json is the engine's, but parts of it, such
as arguments and annotations, may be the image's: no value is used before a look at its type.
"""

from __future__ import annotations

import posix as os

from pyvmm._kvm import lib
from pyvmm.errors import HostError, PyvmmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

CONFIG_MAX = 16 << 20  # bytes


class BundleError(PyvmmError):
    """A bundle, or what its image says, cannot be used."""


class Mount:
    """A bind mount of a bundle.

    Attributes:
        destination: where it is in the container, without a slash at its end; empty for the root.
        source: path on the host.
        options: as in config.json.
    """

    def __init__(self, destination: str, source: str, options: list[str]) -> None:
        self.destination, self.source, self.options = destination.rstrip("/"), source, options


class Bundle:
    """A bundle that an engine has made.

    Args:
        path: its directory.

    Attributes:
        path: of its directory, absolute.
        config: config.json, to be changed in place (OCI runtime specification, config.md).

    Raises:
        BundleError: config.json is not what it must be.
        HostError: it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self.path = path = path if path.startswith("/") else f"{os.getcwd()}/{path}"
        self._file = f"{path}/config.json"
        try:
            fd = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                text = os.read(fd, min(os.fstat(fd).st_size, CONFIG_MAX))
            finally:
                os.close(fd)
        except OSError as error:
            raise HostError(self._file, error.errno or 0) from None
        self.config = parse(text, self._file)
        root = member(member(self.config, "root", dict), "path", str)
        if not root:
            raise BundleError(f"{self._file}: root.path is missing")
        self._root = root if root.startswith("/") else f"{path}/{root}"

    def save(self) -> None:
        """Replaces config.json.

        Raises:
            HostError: it cannot be written.
        """
        from pyvmm.jsontext import dumps

        new = f"{self._file}.pyvmm"
        rest = dumps(self.config).encode()
        try:
            mode = os.stat(self._file).st_mode & 0o777
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            try:
                while rest:
                    rest = rest[os.write(fd, rest) :]
            finally:
                os.close(fd)
            os.rename(new, self._file)
        except OSError as error:
            raise HostError(new, error.errno or 0) from None

    def binds(self) -> list[Mount]:
        """Its bind mounts, in the order in which they are made."""
        found = []
        for mount in member(self.config, "mounts", list):
            place, source = member(mount, "destination", str), member(mount, "source", str)
            options = texts(mount, "options")
            is_bind = member(mount, "type", str) == "bind" or "bind" in options or "rbind" in options
            if is_bind and place.startswith("/") and source and "\0" not in place + source:
                found.append(Mount(place, source, options))
        return found

    def open(self, path: str) -> int:
        """Opens a regular file by its path in the container, without leaving what the container will see.

        Args:
            path: absolute.

        Returns:
            A descriptor, which the caller closes; -1 if there is no such file.
        """
        base, rest = self._root, path
        for mount in self.binds():
            if path == mount.destination or path.startswith(f"{mount.destination}/"):
                base, rest = mount.source, path[len(mount.destination) :]
        rest = rest.lstrip("/")
        try:
            found = os.open(_encoded(base), os.O_PATH | os.O_CLOEXEC)
            if rest:
                root, found = found, lib.open_inside(found, _encoded(rest))
                os.close(root)
            try:
                if found < 0 or os.fstat(found).st_mode & 0o170000 != 0o100000:
                    return -1
                return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
            finally:
                if found >= 0:
                    os.close(found)
        except (OSError, ValueError):  # a NUL
            return -1

    def read(self, path: str, limit: int) -> bytes:
        """What is in a regular file; empty if there is none.

        Raises:
            BundleError: it has more than `limit` bytes.
        """
        fd = self.open(path)
        if fd < 0:
            return b""
        try:
            text = os.pread(fd, limit + 1, 0)
        except OSError:
            text = b""
        finally:
            os.close(fd)
        if len(text) > limit:
            raise BundleError(f"{path} of the image: more than {limit} bytes")
        return text


def parse(text: bytes, where: str) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        BundleError: the text is something else.
    """
    from pyvmm.jsontext import loads

    try:
        value = loads(text.decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BundleError(f"{where}: not an object of JSON")
    return value


def member(of: object, name: str, kind: type[T]) -> T:
    """A member of an object of JSON, or an empty one of its kind where it is missing or of another."""
    value = of.get(name) if isinstance(of, dict) else None
    return value if isinstance(value, kind) else kind()


def texts(of: object, name: str) -> list[str]:
    """A member that is a list of texts; what is none is left out."""
    return [value for value in member(of, name, list) if isinstance(value, str)]


def part(of: dict[str, Any], name: str, kind: type[T]) -> T:
    """As `member`, which becomes a part of the object if it was none."""
    of[name] = value = member(of, name, kind)
    return value


def _encoded(path: str) -> bytes:
    return path.encode(errors="surrogatepass")
