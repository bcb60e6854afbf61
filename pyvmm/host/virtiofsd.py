"""What serves a shared directory: virtiofsd, started here, or an existing vhost-user socket.

Two programs have this name: the one in C, part of QEMU before version 8, and its
successor in Rust. They do the same but differ in their options.
"""

from __future__ import annotations

import _socket  # `socket` takes 20 ms to import
import posix as os
from errno import EAGAIN, ETIMEDOUT

from pyvmm._kvm import ffi, lib
from pyvmm.errors import ConfigError, HostError
from pyvmm.host.errands import Errand
from pyvmm.host.mounts import MountWatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from pyvmm.eventloop import Loop

    class Deadline(Protocol):
        """The time by which something must be done (see `vhost_user.channel`)."""

        def left(self) -> float:
            """Seconds that are left, at least 0."""

        def wait(self, fd: int) -> float:
            """Serves urgent events until a descriptor is readable; returns the seconds left."""

    #: (descriptor, directory, share, threads, capabilities that it has to do without) to virtiofsd's options.
    Options = Callable[[int, str, "Share", int, list[str]], list[str]]

#: The capabilities (capability.h) that virtiofsd keeps, and its name for each.
_CAPABILITIES = {0: "chown", 1: "dac_override", 3: "fowner", 4: "fsetid", 6: "setgid", 7: "setuid", 27: "mknod",
                 31: "setfcap"}  # fmt: skip
_CAP_SYS_ADMIN = 21


def _options_c(fd: int, directory: str, share: Share, threads: int, lacks: list[str]) -> list[str]:
    source = directory.replace("\\", "\\\\").replace(",", "\\,")
    words = [f"--fd={fd}", "-f", "--rlimit-nofile=0", f"--thread-pool-size={threads}"]
    words += ["-o", ",".join([f"cache={share.cache}", "log_level=err", *share.passes]), "-o", f"source={source}"]
    return [*words, "-o", f"sandbox=chroot,modcaps={_without(lacks)}"] if lacks else words


def _options_rust(fd: int, directory: str, share: Share, threads: int, lacks: list[str]) -> list[str]:
    mode = "never" if share.cache == "none" else share.cache
    words = [f"--fd={fd}", f"--shared-dir={directory}", f"--cache={mode}", "--rlimit-nofile=0", "--log-level=error"]
    words += [f"--thread-pool-size={threads}", *(f"--{name}" for name in share.passes)]
    return [*words, "--sandbox=chroot", f"--modcaps={_without(lacks)}"] if lacks else words


def _without(names: list[str]) -> str:
    return ":".join(f"-{name}" for name in names)


def _lacks() -> list[str]:
    """The capabilities that cannot be had in a container, which is virtiofsd's sandbox then; none elsewhere."""
    fd = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    text = os.read(fd, _STATUS_MAX).decode(errors="replace")
    os.close(fd)
    bounds = int(text.partition("\nCapBnd:")[2].partition("\n")[0], 16)
    if bounds >> _CAP_SYS_ADMIN & 1:
        return []
    return ["sys_admin", *(name for bit, name in _CAPABILITIES.items() if not bounds >> bit & 1)]


#: Where distributions install it.
PROGRAMS: list[tuple[str, Options]] = [
    ("/usr/libexec/virtiofsd", _options_rust),
    ("/usr/lib/virtiofsd", _options_rust),
    ("/usr/lib/qemu/virtiofsd", _options_c),
]
CACHES = ("auto", "always", "none")
PASSES = ("xattr", "flock")
TAG_MAX = 36  # bytes (virtio 1.2, section 5.11.4)
SOCKET_PATH_MAX = 107  # bytes: `sun_path` of unix(7) without its NUL

_START, _STOP = 0, 1
_HANGS, _NOT_OURS = -1, -2
_TIMEOUT_UNIT = 0.1  # seconds
_SIGKILL = 9
_KILL_MS = 1000  # for a killed process to end
_STATUS_MAX = 8192  # bytes of /proc/self/status
#: Beside the one that takes requests, so that one that stalls, or waits for a lock, holds up no other.
#: Only where that can be: handing a request over takes longer than serving it from the host's memory.
_THREADS = 16
_SAID_MAX = 4096  # bytes of its output to read at a time


class Share:
    """A parsed share.

    Args:
        text: `DIR:TAG[:ro][:cache=MODE][:xattr][:flock][:restart=no]` or `socket=PATH:TAG`.

    Attributes:
        text: as given.
        path: of the directory, or of the socket.
        is_socket: which of the two.
        tag: the name that the guest mounts.
        read_only, cache, restart: options of a directory.
        passes: which of `xattr` and `flock` the guest may use: extended attributes, and locks that the
            host and other guests respect.

    Raises:
        ConfigError: the text is malformed.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_socket = text.startswith("socket=")
        words = text.removeprefix("socket=").split(":")
        self.read_only, self.cache, self.restart = False, "auto", True
        self.passes: list[str] = []
        if len(words) > 2 and words[-1] == "rw":
            raise ConfigError("share", text, "there is no option rw; what is not `ro` may be written to")
        seen = []
        while not self.is_socket and (word := words[-1].partition("="))[0] in ("ro", "cache", "restart", *PASSES):
            seen.append(word[0])
            if words.pop() == "ro":
                self.read_only = True
            elif word[0] in PASSES and not word[1]:
                self.passes.append(word[0])
            elif word[0] == "cache" and word[2] in CACHES:
                self.cache = word[2]
            elif word[0] == "restart" and word[2] in ("yes", "no"):
                self.restart = word[2] == "yes"
            else:
                raise ConfigError(
                    "share",
                    text,
                    f"no such option; there are ro, cache={'|'.join(CACHES)}, xattr, flock and restart=no",
                )
        if len(seen) != len(set(seen)):
            raise ConfigError("share", text, "an option is given twice")
        self.path, self.tag = ":".join(words[:-1]), words[-1]
        if not self.path or not self.tag or "\0" in text:
            raise ConfigError("share", text, "not DIR:TAG or socket=PATH:TAG")
        if len(self.tag.encode(errors="surrogateescape")) > TAG_MAX:
            raise ConfigError("share", text, f"a tag has at most {TAG_MAX} bytes")
        if self.is_socket and len(self.path.encode(errors="surrogateescape")) > SOCKET_PATH_MAX:
            raise ConfigError("share", text, f"the path of a socket has at most {SOCKET_PATH_MAX} bytes")


def _reap(pid: int, pidfd: int) -> int:
    """The wait status of a child that was killed; _HANGS if it does not end in time. Closes its pidfd."""
    try:
        if pidfd >= 0 and not lib.wait_readable(pidfd, _KILL_MS):
            return _HANGS
        return os.waitpid(pid, 0)[1]
    finally:
        if pidfd >= 0:
            os.close(pidfd)


class _Server(Errand):
    """The processes of virtiofsd, one after the other."""

    def __init__(self, program: str, options: Options, directory: str, share: Share, threads: int) -> None:
        super().__init__()
        self._program, self._options, self._directory, self._share = program, options, directory, share
        self._threads = threads
        self._pid = self._parent = 0
        self._pidfd = -1

    def do(self, what: int) -> tuple[int, list[int]]:
        if what == _START:
            made = self._start()
            return self._pid, made
        return self._stop(), []

    def _start(self) -> list[int]:
        """Starts one; returns a connection to it, the pipe with its output, and a pidfd."""
        # The kernel chooses a name (unix(7), autobind), so no file is made. We connect first, and
        # virtiofsd accepts no second connection.
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        made: list[int] = []
        try:
            listener.bind("")
            listener.listen(1)
            sock.connect(listener.getsockname())
            made += os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            self._spawn(listener.fileno(), made[1])
            os.close(made.pop())
            return [sock.detach(), *made, os.dup(self._pidfd)]
        except BaseException:
            sock.close()
            for fd in made:
                os.close(fd)
            raise
        finally:
            listener.close()

    def _spawn(self, listener: int, output: int) -> None:
        words = [self._program, *self._options(listener, self._directory, self._share, self._threads, _lacks())]
        kept = [ffi.new("char[]", word.encode(errors="surrogateescape")) for word in words]
        argv = ffi.new("char *[]", [*kept, ffi.NULL])
        read_only = self._directory.encode(errors="surrogateescape") if self._share.read_only else ffi.NULL
        pid = lib.spawn(argv, listener, output, read_only, os.geteuid() != 0)
        if pid < 0:
            raise OSError(ffi.errno, "fork")
        self._pid, self._parent = pid, os.getpid()
        self._pidfd = os.pidfd_open(pid)

    def _stop(self) -> int:
        """Kills it and all processes that it has made, stopped ones included; returns its wait status.

        Returns _HANGS for a process that cannot be killed yet, because its file system hangs: init will
        reap it; and _NOT_OURS for one that another process has started, which is to reap it.
        """
        if not self._pid:
            return 0
        pid, self._pid = self._pid, 0
        os.kill(pid, _SIGKILL)
        try:
            os.killpg(pid, _SIGKILL)
        except ProcessLookupError:  # its process group does not exist yet
            pass
        if self._parent != os.getpid():
            return _NOT_OURS
        pidfd, self._pidfd = self._pidfd, -1
        return _reap(pid, pidfd)

    def end(self) -> None:
        self._stop()


class Virtiofsd:
    """virtiofsd for a directory: a new process for each driver that starts the device.

    Args:
        share: the directory.
        log: called with each line that virtiofsd prints.

    Raises:
        ConfigError: there is no such directory.
        HostError: there is no virtiofsd.
    """

    #: virtiofsd serves one connection and ends with it.
    ends_with_connection = True

    def __init__(self, share: Share, log: Callable[[str], None]) -> None:
        self._where = f"share {share.text}"
        self._log = log
        self.restarts = share.restart
        self._pid = 0
        self._pidfd = self._output = -1
        self._loop: Loop | None = None
        try:
            self._directory = _real_path(share.path)
        except NotADirectoryError:
            raise ConfigError("share", share.text, f"{share.path} is not a directory") from None
        except OSError as error:
            raise ConfigError("share", share.text, str(error.strerror)) from None
        self._watch = MountWatch(self._directory)
        for program, options in PROGRAMS:
            if os.access(program, os.X_OK):
                threads = _THREADS if self._watch.may_stall or "flock" in share.passes else 0
                self._server = _Server(program, options, self._directory, share, threads)
                return
        raise HostError(f"{self._where}: virtiofsd", 2, "install virtiofsd, or Debian's qemu-system-common")

    def connect(self, deadline: Deadline) -> _socket.socket:
        """Starts virtiofsd; returns a connection to it. If it fails later, `why` tells the reason.

        Raises:
            HostError: the host has no process or descriptor left.
        """
        self.stop()
        try:
            self._pid, (sock, self._output, self._pidfd) = self._server.ask(_START)
        except OSError as error:
            self.stop()
            raise HostError(f"{self._where}: virtiofsd", error.errno or 0) from None
        if self._loop:
            self._loop.add(self._output, self._said)
        return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, sock)

    def attach(self, loop: Loop, lost: Callable[[str], None]) -> None:
        """Logs what virtiofsd prints, from `loop`, and watches its directory's mount."""
        self._loop = loop
        if self._output >= 0:
            loop.add(self._output, self._said)
        self._watch.attach(loop, lambda is_back: self._remounted(is_back, lost))

    def _remounted(self, is_back: bool, lost: Callable[[str], None]) -> None:
        if is_back:
            lost("its file system was mounted anew")
        else:
            self._log(f"{self._where}: its file system is not mounted any more")

    def _said(self) -> None:
        text = self._read()
        if not text and self._loop:
            self._loop.remove(self._output)
        for line in text.splitlines():
            self._log(f"{self._where}: virtiofsd: {line}")

    def _read(self) -> str:
        try:
            return os.read(self._output, _SAID_MAX).decode(errors="replace")
        except BlockingIOError:
            return ""

    def why(self, deadline: Deadline) -> str:
        """Stops virtiofsd; returns why the connection ended: its first line of output, or its status."""
        ended = not self._pid or self._has_ended(deadline)
        status = self._kill()
        said = self._read() if self._output >= 0 else ""
        self.stop()
        if said:
            return f"virtiofsd: {said.splitlines()[0]}"
        if not ended or status < 0:
            return "virtiofsd does not answer"
        if os.WIFSIGNALED(status):
            return f"virtiofsd was killed by signal {os.WTERMSIG(status)}"
        return f"virtiofsd ended with status {os.WEXITSTATUS(status)}"

    def _has_ended(self, deadline: Deadline) -> bool:
        return bool(lib.wait_readable(self._pidfd, int(deadline.wait(self._pidfd) * 1000)))

    def _kill(self) -> int:
        pidfd, self._pidfd = self._pidfd, -1
        pid, self._pid = self._pid, 0
        try:
            status = self._server.ask(_STOP)[0] if pid else 0
        except OSError:  # the helper is gone, and virtiofsd with it
            status = _HANGS
        if status == _NOT_OURS:
            return _reap(pid, pidfd)
        if pidfd >= 0:
            os.close(pidfd)
        return status

    def stop(self) -> None:
        """Ends virtiofsd if it runs. A second call does nothing."""
        self._kill()
        if self._output >= 0:
            if self._loop:
                self._loop.remove(self._output)
            os.close(self._output)
            self._output = -1

    def close(self) -> None:
        """Ends virtiofsd for good. A second call does nothing."""
        self.stop()
        self._server.forget()
        self._watch.close()


class _Connection(Errand):
    """Connections to a socket, each made in time."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def do(self, what: int) -> tuple[int, list[int]]:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            sock.settimeout(what * _TIMEOUT_UNIT)
            sock.connect(self._path)
            return 0, [sock.detach()]
        except TimeoutError:
            raise OSError(ETIMEDOUT, "") from None
        finally:
            sock.close()


class SocketBackend:
    """A vhost-user backend that listens at a path.

    Args:
        share: names the path.
    """

    ends_with_connection = False
    restarts = True

    def __init__(self, share: Share) -> None:
        self._where = f"share {share.text}"
        self._connection = _Connection(share.path)

    def connect(self, deadline: Deadline) -> _socket.socket:
        """Connects to the backend.

        Raises:
            HostError: nothing listens there, or it does not accept in time.
        """
        units = max(1, min(255, int(deadline.left() / _TIMEOUT_UNIT)))
        try:
            (fd,) = self._connection.ask(units)[1]
        except OSError as error:
            hint = "its backlog is full" if error.errno == EAGAIN else ""
            raise HostError(self._where, error.errno or 0, hint) from None
        return _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)

    def attach(self, loop: Loop, lost: Callable[[str], None]) -> None:
        """Does nothing: it has no output here, and its directory is its own."""

    def why(self, deadline: Deadline) -> str:
        """Why the connection ended."""
        return "its backend has gone"

    def stop(self) -> None:
        """Does nothing: the backend is not ours to end."""

    def close(self) -> None:
        """No connection is made any more. A second call does nothing."""
        self._connection.forget()


def _real_path(path: str) -> str:
    """A directory's absolute path without symbolic links, which virtiofsd takes for no directory.

    virtiofsd makes the directory its root by mounting it on itself and pivot_root(2). For `/`, the result is a
    name that leads to that mount, while `/` remains the old root.
    """
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        real = os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return "/.." if real == "/" else real
