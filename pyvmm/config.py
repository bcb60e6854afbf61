"""The description of a machine: values such as the options of `pyvmm boot`, checked."""

from __future__ import annotations

import posix as os

from pyvmm.errors import ConfigError
from pyvmm.layout import GIB, KIB, MEMORY_MAX, MEMORY_MIN, MIB, PAGE_SIZE

CPUS_MAX = 255  # APIC ids of xAPIC mode
#: 0 and 1 are reserved, 2 is the host, and the last is VMADDR_CID_ANY.
CID_MIN, CID_MAX = 3, 0xFFFF_FFFE
COMMAND_LINE_MAX = 4096  # bytes, without the NUL at its end
BOOT_PROTOCOLS = ("direct", "toro-fast", "pvh", "linux")
_CPU_MAX = 99_999  # of the host
_UNITS = {"K": KIB, "M": MIB, "G": GIB}


class MachineConfig:
    """What a guest's machine is to be.

    Attributes:
        image: path of the ELF file, or of a Linux bzImage.
        memory: bytes of RAM.
        cpus: number of vCPUs.
        pin: the host CPU of each vCPU, or empty for any.
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
        self.pin: list[int | None] = _parse_pin(pin, cpus)


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


def parse_cpu_list(text: str) -> list[int]:
    """The CPU numbers in a list such as `0,2-3`, in that order.

    Raises:
        ValueError: the text is no such list.
    """
    cpus: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        lowest = parse_decimal(first, 0, _CPU_MAX)
        cpus += range(lowest, (parse_decimal(last, 0, _CPU_MAX) if dash else lowest) + 1)
    return cpus


def _parse_pin(text: str, cpus: int) -> list[int | None]:
    if not text:
        return []
    allowed = sorted(os.sched_getaffinity(0))
    if text == "auto":
        return [allowed[i % len(allowed)] for i in range(cpus)]
    try:
        chosen = parse_cpu_list(text)
    except ValueError:
        raise ConfigError("pin", text, "neither `auto` nor a list such as 0,2-3") from None
    for cpu in chosen:
        if cpu not in allowed:
            raise ConfigError("pin", text, f"host CPU {cpu} is not one that this process may use")
    if len(chosen) < cpus:
        enough = f"{cpus} vCPUs, but host CPUs for {len(chosen)}; name one for each, or `auto`"
        raise ConfigError("pin", text, enough)
    return [*chosen[:cpus]]
