"""The devices that the options of `pyvmm boot` ask for."""

from __future__ import annotations

import posix as os

from pyvmm import api
from pyvmm._kvm import lib
from pyvmm.command.options import number
from pyvmm.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyvmm.config import MachineConfig
    from pyvmm.virtio.device import Device
    from pyvmm.virtio.vsock import Vsock

    Log = Callable[[str], None]

_OTHER_DESCRIPTORS = 1024  # than those of connections
_STDERR = 2
_NEED_VSOCK = ("-p", "--allow", "--vsock-uds", "--vsock-backlog", "--pcap")


def open_devices(
    config: MachineConfig, options: dict[str, str], repeated: dict[str, list[str]], say: Log, log: Log, address: str
) -> list[Device]:
    """The devices that the options of `boot` ask for.

    Args:
        config: the machine's.
        options, repeated: see `options.parse`.
        say: writes a line to stderr.
        log: the same, for lines about the guest.
        address: where ports are published whose option names no address.

    Raises:
        PyvmmError: one of them cannot be; none is left open.
    """
    target = options.get("--console")
    reached_by = [name for name in _NEED_VSOCK if repeated.get(name) or name in options]
    if config.vsock is None and reached_by:
        raise UsageError(f"{reached_by[0]} needs a vsock device: --vsock CID")
    if target is not None and not target.startswith("virtio="):
        raise UsageError(f"--console {target}: not virtio=file:PATH, virtio=unix:PATH or virtio=pty")
    devices: list[Device] = []
    try:
        if target is not None:
            devices.append(api.console(target.removeprefix("virtio="), say, log))
        if config.vsock is not None:
            devices.append(_vsock(config.vsock, options, repeated, say, log, address))
            if not reached_by and "--freeze" not in options and os.isatty(_STDERR):
                say("no port of the guest is published; -p HOSTPORT:GUESTPORT lets clients connect")
        devices += api.shares(repeated["--share"], log)
    except BaseException:
        for device in devices:
            device.close()
        raise
    return devices


def _vsock(
    cid: int, options: dict[str, str], repeated: dict[str, list[str]], say: Log, log: Log, default: str
) -> Vsock:
    """The vsock device, which may have a descriptor for each connection."""
    backlog = number("--vsock-backlog", options.get("--vsock-backlog", "1024"))
    lib.raise_descriptor_limit(lib.VSOCK_STREAMS + _OTHER_DESCRIPTORS)
    publish, allow = repeated["-p"], repeated["--allow"]
    device = api.vsock(cid, publish, allow, options.get("--vsock-uds"), backlog, log, default, options.get("--pcap"))
    fixed = [text for text in publish if text[-1] != "*"]  # `*` publishes later
    for text, (address, port, guest_port) in zip(fixed, device.ports, strict=True):
        if f":{text}".rsplit(":", 2)[1] == "0":
            say(f"port {port} of {address} is port {guest_port} of the guest")
    return device
