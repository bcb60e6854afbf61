"""The description of a machine: values such as the options of `pyvmm boot`, checked."""

from __future__ import annotations

from pyvmm._kvm import ffi, lib
from pyvmm.errors import ConfigError
from pyvmm.layout import GIB, KIB, MEMORY_MAX, MEMORY_MIN, MIB, PAGE_SIZE

CPUS_MAX = 255  # APIC ids of xAPIC mode
#: 0 and 1 are reserved, 2 is the host, and the last is VMADDR_CID_ANY.
CID_MIN, CID_MAX = 3, 0xFFFF_FFFE
COMMAND_LINE_MAX = 4096  # bytes, without the NUL at its end
BOOT_PROTOCOLS = ("direct", "toro-fast", "pvh", "linux")
_UNITS = {"K": KIB, "M": MIB, "G": GIB}


class MachineConfig:
    """What a guest's machine is to be.

    Attributes:
        image: path of the ELF file, or of a Linux bzImage.
        memory: bytes of RAM.
        cpus: number of vCPUs.
        pin: a list of host CPUs for the vCPUs, `auto`, or empty for any (see `pins`).
        command_line: passed to the guest; at most 4096 bytes without NUL. Kept as bytes.
        vsock: context ID of its vsock device, if it has one.
        boot: one of `BOOT_PROTOCOLS`, or None for the first of them that the image offers.
        initrd: path of an initial RAM disk, or empty.

    Raises:
        ConfigError: a value is out of range, or inconsistent with another.
    """

    def __init__(
        self,
        image: str,
        memory: int = 128 * MIB,
        cpus: int = 1,
        pin: str = "",
        command_line: str = "",
        vsock: int | None = None,
        boot: str | None = None,
        initrd: str = "",
    ) -> None:
        self.image = image
        self.memory = memory
        self.cpus = cpus
        self.vsock = vsock
        self.boot = boot
        self.initrd = initrd
        self.command_line = command_line.encode(errors="surrogateescape")
        if not MEMORY_MIN <= memory <= MEMORY_MAX or memory % PAGE_SIZE:
            limits = f"{MEMORY_MIN >> 20}M to {MEMORY_MAX >> 30}G"
            raise ConfigError("memory", memory, f"not a multiple of 4K from {limits}")
        if not 1 <= cpus <= CPUS_MAX:
            raise ConfigError("cpus", cpus, f"not 1 to {CPUS_MAX}")
        if boot not in (None, *BOOT_PROTOCOLS):
            raise ConfigError("boot", boot, f"not {', '.join(BOOT_PROTOCOLS)}")
        if vsock is not None and not CID_MIN <= vsock <= CID_MAX:
            raise ConfigError("vsock", vsock, f"a guest's context id is {CID_MIN} to {CID_MAX}")
        if len(self.command_line) > COMMAND_LINE_MAX or b"\0" in self.command_line:
            raise ConfigError("command_line", "", f"over {COMMAND_LINE_MAX} bytes, or with a NUL in it")
        self._pin = pin
        self.pins(cpus)

    def pins(self, cpus: int) -> list[int | None]:
        """The host CPU of each of so many vCPUs; empty for any.

        Raises:
            ConfigError: the list is bad, or too short.
        """
        return _parse_pin(self._pin, cpus)


def parse_decimal(text: str, low: int = 0, high: int = (1 << 64) - 1) -> int:
    """Parses a decimal number from `low` to `high`.

    Raises:
        ValueError: the text is something else.
    """
    # int() takes signs, spaces, underscores and other scripts' digits, and long for very many.
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and low <= int(text) <= high):
        raise ValueError(text)
    return int(text)


def parse_size(text: str) -> int:
    """The number of bytes that `512K`, `128M`, `2G` or a plain number stands for.

    Raises:
        ValueError: the text is none of these.
    """
    unit = _UNITS.get(text[-1:].upper(), 1)
    return parse_decimal(text if unit == 1 else text[:-1]) * unit


def _parse_pin(text: str, cpus: int) -> list[int | None]:
    if not text:
        return []
    pins, detail = ffi.new("int[]", cpus), ffi.new("uint32_t *")
    result = lib.pin_read(text.encode(errors="replace"), cpus, pins, detail)
    if result == lib.PIN_NO_LIST:
        raise ConfigError("pin", text, "neither `auto` nor a list such as 0,2-3")
    if result == lib.PIN_NOT_ALLOWED:
        raise ConfigError("pin", text, f"host CPU {detail[0]} is not one that this process may use")
    if result == lib.PIN_TOO_FEW:
        enough = f"{cpus} vCPUs, but host CPUs for {detail[0]}; name one for each, or `auto`"
        raise ConfigError("pin", text, enough)
    return [*pins]
