"""What makes a container a guest: an entrypoint with the ELF note `Toro`, and its settings."""

from __future__ import annotations

import posix as os

from pyvmm.boot import elf
from pyvmm.errors import ImageError
from pyvmm.oci.bundle import BundleError, member, parse, texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.oci.bundle import Bundle

    #: The values of each setting that was given, by name.
    Settings = dict[str, list[str]]

#: Where an image says how it is to be booted, and how large that may be in bytes.
SETTINGS_FILE = "/pyvmm.json"
SETTINGS_MAX = 64 << 10
ANNOTATION = "run.pyvmm."
#: A setting has one value, or any number (a list in the file, separated by commas in an annotation).
ONE = ("mem", "cpus", "pin", "boot", "initrd", "console", "vsock-backlog")
MANY = ("allow", "ports", "share", "env")

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TORO = (b"Toro", 1)
_DRIVER, _SEARCHED_MAX = b"virtiovsocket", 64 << 20


class Guest:
    """A container that is a guest.

    Attributes:
        image: its ELF file, an absolute path in the container.
        arguments: what follows it.
        environment: `NAME=VALUE` each.
        settings: of the image's `/pyvmm.json`, and of annotations, which replace them.
        has_sockets: its program may use them.
    """

    def __init__(
        self, image: str, arguments: list[str], environment: list[str], settings: Settings, has_sockets: bool = True
    ) -> None:
        self.image, self.arguments, self.environment, self.settings = image, arguments, environment, settings
        self.has_sockets = has_sockets


def find(bundle: Bundle) -> Guest | None:
    """What is to be booted in a container; None if it is an ordinary one.

    Raises:
        BundleError: it is a guest, but its settings are wrong.
    """
    process = member(bundle.config, "process", dict)
    words, environment = texts(process, "args"), texts(process, "env")
    for path in _candidates(words[:1], member(process, "cwd", str), environment):
        fd = bundle.open(path)
        if fd >= 0:
            try:
                is_toro = _TORO in _notes(fd)
                settings = _settings(bundle)
                if is_toro or "boot" in settings:
                    return Guest(path, words[1:], environment, settings, not is_toro or _names_driver(fd))
            finally:
                os.close(fd)
            return None
    return None


def _candidates(command: list[str], folder: str, environment: list[str]) -> list[str]:
    """Where a command may be: its path, or what execvp(3) would try."""
    if not command or not command[0]:
        return []
    name = command[0]
    if name.startswith("/"):
        return [name]
    if "/" in name:
        return [f"{folder}/{name}"]
    path = next((text[5:] for text in environment if text.startswith("PATH=")), _DEFAULT_PATH)
    return [f"{part}/{name}" for part in path.split(":") if part.startswith("/")]


def _notes(fd: int) -> dict[tuple[bytes, int], bytes]:
    try:
        return elf.parse(lambda at, size: os.pread(fd, size, at), os.fstat(fd).st_size, "entrypoint").notes
    except (ImageError, OSError):
        return {}


def _names_driver(fd: int) -> bool:
    """Whether a Toro image has the driver of sockets in it; a device that nobody drives would only cost time."""
    size = os.fstat(fd).st_size
    return size > _SEARCHED_MAX or _DRIVER in os.pread(fd, size, 0)


def _settings(bundle: Bundle) -> Settings:
    settings: Settings = {}
    text = bundle.read(SETTINGS_FILE, SETTINGS_MAX)
    if text:
        where = f"{SETTINGS_FILE} of the image"
        for name, value in parse(text, where).items():
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(one, str | int) and not isinstance(one, bool) for one in values):
                raise BundleError(f"{where}: {name} is neither a text nor a number, nor a list of them")
            settings[name] = _checked(where, name, [str(one) for one in values])
    annotations = member(bundle.config, "annotations", dict)
    for key, value in annotations.items():
        if key.startswith(ANNOTATION) and isinstance(value, str):
            name = key.removeprefix(ANNOTATION)
            values = [value] if name in ONE else [one for one in value.split(",") if one]
            settings[name] = _checked(f"annotation {key}", name, values)
    return settings


def _checked(where: str, name: str, values: list[str]) -> list[str]:
    if name not in ONE + MANY:
        raise BundleError(f"{where}: no such setting: {name}; there are {', '.join(sorted(ONE + MANY))}")
    if name in ONE and len(values) != 1:
        raise BundleError(f"{where}: {name} has one value")
    if any("\0" in value for value in values):
        raise BundleError(f"{where}: {name} has a NUL in it")
    return values
