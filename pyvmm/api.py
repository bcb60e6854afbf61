"""Makes virtio devices, and what serves them on the host, from the values that a user writes."""

from __future__ import annotations

import posix as os

from pyvmm.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyvmm.virtio.console import VirtioConsole
    from pyvmm.virtio.fs import VirtioFs
    from pyvmm.virtio.vsock import Vsock

    Log = Callable[[str], None]

SHARES_MAX = 8
_FILE_TYPE, _REGULAR = 0o170000, 0o100000  # of st_mode


def _silent(_: str) -> None: ...


def vsock(
    cid: int,
    publish: Sequence[str] = (),
    allow: Sequence[str] = (),
    unix: str | None = None,
    backlog: int = 1024,
    log: Log = _silent,
    address: str = "127.0.0.1",
    capture: str | None = None,
) -> Vsock:
    """A virtio-vsock device. Its published ports accept clients from now on.

    Args:
        cid: the guest's context id, 3 to 2^32 - 2.
        publish: `[ADDR:]HOSTPORT:GUESTPORT` each: a TCP port of the host (by default on 127.0.0.1;
            0 is any free one) that leads to a port of the guest. `Machine.ports` has the result.
            `[ADDR:]*`: each port at which the guest listens, under the same number. `fd:GUESTPORT`: the
            next socket that systemd has passed.
        allow: `PORT[=HOST:PORT]` each: a port of CID 2 that the guest may connect to, and where it
            leads (127.0.0.1:PORT); or `all`.
        unix: path of a unix socket whose clients write `CONNECT PORT`, as with Firecracker.
        backlog: how many clients may wait at each port until the guest accepts them.
        log: called with a line about each connection that is refused.
        address: where published ports listen that name no address.
        capture: path of a file to which all packets are written, as pcapng; one that is there is
            replaced.

    Raises:
        ConfigError: a value is wrong, or given twice.
        HostError: a port or path cannot be listened on, or the file not be written.

    Example::

        with Machine(MachineConfig("server.elf"), [vsock(5, publish=["0:80"])]) as machine:
            machine.start()
            address, port = machine.ports[80]
    """
    from pyvmm.host.tcp import BACKLOG_MAX, Publish, TcpHost, parse_allow
    from pyvmm.host.unix import UnixHost
    from pyvmm.virtio.vsock import Vsock

    if not 1 <= backlog <= BACKLOG_MAX:
        raise ConfigError("backlog", backlog, f"not 1 to {BACKLOG_MAX}")
    published = [Publish(text, address) for text in publish]
    allowed = [parse_allow(text) for text in allow]
    _refuse_repeated(
        "publish", publish, [(p.address, p.port) if p.port or p.guest_port is None else None for p in published]
    )
    _refuse_repeated("allow", allow, [(port,) for port, _ in allowed])
    captured = None if capture is None else _new_file(capture)
    tcp = host = None
    try:
        tcp = TcpHost(published, allowed, backlog)
        host = None if unix is None else UnixHost(unix, backlog)
    except BaseException:
        if tcp:
            tcp.close()
        if captured is not None:
            os.close(captured)
        raise
    return Vsock(cid, log, tcp, host, captured)


def _new_file(path: str) -> int:
    """An empty regular file, for a thread that must never wait for a reader."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError("capture", path, os.strerror(error.errno or 0)) from None
    if os.fstat(fd).st_mode & _FILE_TYPE != _REGULAR:
        os.close(fd)
        raise ConfigError("capture", path, "not a regular file; let `tail -c +1 -f` pass it on")
    return fd


def _refuse_repeated(name: str, texts: Sequence[str], keys: Sequence[object]) -> None:
    """Raises for the first text whose key is not None and that of an earlier one."""
    for i, key in enumerate(keys):
        if key is not None and key in keys[:i]:
            raise ConfigError(name, texts[i], "given twice")


def share(text: str, log: Log = _silent) -> VirtioFs:
    """A directory of the host as a virtio-fs device.

    Args:
        text: `DIR:TAG[:ro][:cache=auto|always|none][:xattr][:flock][:restart=no]`, served by
            virtiofsd; or `socket=PATH:TAG`, served by a vhost-user backend that listens there.
        log: called with each line that virtiofsd prints.

    Raises:
        ConfigError: the text is malformed, or there is no such directory.
        HostError: virtiofsd cannot be started.
    """
    return shares([text], log)[0]


def shares(texts: Sequence[str], log: Log = _silent) -> list[VirtioFs]:
    """A device for each text (see `share`). Tags must differ.

    Raises:
        ConfigError: as for `share`; or there are too many, or two have the same tag.
        HostError: virtiofsd cannot be started.
    """
    from pyvmm.host.virtiofsd import Share, SocketBackend, Virtiofsd
    from pyvmm.virtio.fs import VirtioFs

    shared = [Share(text) for text in texts]
    if len(shared) > SHARES_MAX:
        raise ConfigError("share", texts[SHARES_MAX], f"there can be at most {SHARES_MAX} shares")
    for i, one in enumerate(shared):
        if one.tag in (other.tag for other in shared[:i]):
            raise ConfigError("share", one.text, "another share has this tag")
    made: list[VirtioFs] = []
    try:
        for one in shared:
            backend = SocketBackend(one) if one.is_socket else Virtiofsd(one, log)
            made.append(VirtioFs(f"share {one.text}", one.tag.encode(errors="surrogateescape"), backend, log))
    except BaseException:
        for device in made:
            device.close()
        raise
    return made


def console(target: str, say: Log = _silent, log: Log = _silent) -> VirtioConsole:
    """A virtio-console, in addition to the UART that every guest has.

    Args:
        target: `file:PATH`, `unix:PATH` (a socket, one client at a time) or `pty`.
        say: called with a line that names the pseudo-terminal.
        log: called with a line when the target cannot be written to.

    Raises:
        ConfigError: the target is malformed.
        HostError: it cannot be opened.
    """
    from pyvmm.host.stream import open_stream
    from pyvmm.virtio.console import VirtioConsole

    return VirtioConsole(open_stream(target, say, log))
