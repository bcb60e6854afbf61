"""Starting virtiofsd, or a shell script in its place."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guests import open_fds, wait_until

from pyvmm.errors import ConfigError, HostError, PyvmmError
from pyvmm.eventloop import EventLoop
from pyvmm.host import virtiofsd
from pyvmm.host.mounts import Mount
from pyvmm.host.virtiofsd import Share, SocketBackend, Virtiofsd
from vhost_user.channel import Deadline
from vhost_user.listener import Listener

#: Makes a stand-in for virtiofsd from a script's lines.
Install = Callable[[str], None]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    fds = open_fds()
    yield
    assert open_fds() == fds
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    def make(script: str, options: virtiofsd.Options = virtiofsd._options_c) -> None:
        program = tmp_path / "virtiofsd"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(virtiofsd, "PROGRAMS", [("/nowhere/virtiofsd", options), (str(program), options)])

    return make


def connect(text: str, seconds: float = 60) -> tuple[Virtiofsd, str]:
    """Starts it, and what it says at its end."""
    server = Virtiofsd(Share(text), lambda _: None)
    server.connect(Deadline(seconds)).close()
    return server, server.why(Deadline(seconds))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("www:FS", ("www", "FS", False, "auto", True)),
        ("/a:b/c:FS", ("/a:b/c", "FS", False, "auto", True)),
        (".:x:ro", (".", "x", True, "auto", True)),
        (".:x:cache=none:ro", (".", "x", True, "none", True)),
        (".:x:restart=no:cache=always", (".", "x", False, "always", False)),
        ("ö:" + 18 * "ö", ("ö", 18 * "ö", False, "auto", True)),
    ],
)
def test_what_a_share_says(text: str, values: tuple[object, ...]) -> None:
    share = Share(text)
    assert (share.path, share.tag, share.read_only, share.cache, share.restart) == values
    assert not share.is_socket


def test_what_a_share_passes_on() -> None:
    assert Share(".:x:ro").passes == []
    assert sorted(Share(".:x:flock:ro:xattr").passes) == ["flock", "xattr"]
    for options in (virtiofsd._options_c, virtiofsd._options_rust):
        words = options(3, "/d", Share(".:x:xattr"), 0, ["sys_admin", "mknod"])
        assert any("xattr" in word for word in words)
        assert any("-sys_admin:-mknod" in word for word in words)
        assert any("sandbox=chroot" in word for word in words)
        assert not any("sandbox" in word or "attr" in word for word in options(3, "/d", Share(".:x"), 0, []))


def test_a_share_by_a_socket() -> None:
    share = Share("socket=/run/a:b.sock:ro")
    assert (share.is_socket, share.path, share.tag, share.read_only) == (True, "/run/a:b.sock", "ro", False)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("www", "not DIR:TAG or socket=PATH:TAG"),
        ("www:", "not DIR:TAG or socket=PATH:TAG"),
        (":FS", "not DIR:TAG or socket=PATH:TAG"),
        ("socket=FS", "not DIR:TAG or socket=PATH:TAG"),
        ("www:ro", "not DIR:TAG or socket=PATH:TAG"),
        ("www:FS:cache=some", "no such option; there are ro, cache=auto|always|none, xattr, flock and restart=no"),
        ("www:FS:ro=1", "no such option; there are ro, cache=auto|always|none, xattr, flock and restart=no"),
        ("www:FS:ro:ro", "an option is given twice"),
        ("www:" + 19 * "ö", "a tag has at most 36 bytes"),
        ("socket=/" + 107 * "x" + ":FS", "the path of a socket has at most 107 bytes"),
    ],
)
def test_what_is_no_share(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Share(text)
    assert str(caught.value) == f"share {text}: {complaint}"


def test_what_is_no_directory() -> None:
    with pytest.raises(ConfigError, match=r"^share /nowhere:FS: No such file or directory$"):
        Virtiofsd(Share("/nowhere:FS"), print)
    with pytest.raises(ConfigError, match="/dev/null is not a directory"):
        Virtiofsd(Share("/dev/null:FS"), print)


def test_without_virtiofsd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtiofsd, "PROGRAMS", [])
    with pytest.raises(HostError, match="install virtiofsd, or Debian's qemu-system-common"):
        Virtiofsd(Share(".:FS"), print)


def test_its_first_line_is_the_error(install: Install) -> None:
    install("echo the first >&2; echo the second; exit 1")
    assert connect(".:FS")[1] == "virtiofsd: the first"


@pytest.mark.parametrize(
    ("script", "reason"),
    [("exit 3", "virtiofsd ended with status 3"), ("kill -9 $$", "virtiofsd was killed by signal 9")],
)
def test_how_it_ended(install: Install, script: str, reason: str) -> None:
    install(script)
    assert connect(".:FS")[1] == reason


def test_one_that_goes_on_running_is_ended(install: Install) -> None:
    install("exec sleep 1000")
    assert connect(".:FS", 0.01)[1] == "virtiofsd does not answer"


@pytest.fixture
def file_system(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Says which file system all directories are on."""

    def be(name: str) -> None:
        mount = Mount(f"27 1 0:1 / / rw - {name} none rw".encode())
        monkeypatch.setattr("pyvmm.host.mounts.covering", lambda table, path: mount)

    return be


OnFileSystem = Callable[[str], None]


def test_options_of_the_one_in_c(install: Install, file_system: OnFileSystem, tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    install('echo "$@"')
    file_system("ext4")
    words = connect(f"{tmp_path}/a,b:FS:cache=none")[1].split()
    assert words[1].startswith("--fd=")
    served = f"-o cache=none,log_level=err -o source={tmp_path}/a\\,b"
    assert words[2:] == f"-f --rlimit-nofile=0 --thread-pool-size=0 {served}".split()


def test_options_of_the_one_in_rust(install: Callable[..., None], file_system: OnFileSystem, tmp_path: Path) -> None:
    install('echo "$@"', virtiofsd._options_rust)
    file_system("tmpfs")
    words = connect(f"{tmp_path}:FS:cache=none")[1].split()
    rest = "--cache=never --rlimit-nofile=0 --log-level=error --thread-pool-size=0"
    assert words[2:] == f"--shared-dir={tmp_path} {rest}".split()


@pytest.mark.parametrize(
    ("name", "option", "threads"),
    [("ext4", "", 0), ("overlay", ":ro", 0), ("nfs4", "", 16), ("fuse.ceph-fuse", "", 16), ("ext4", ":flock", 16)],
)
def test_it_has_threads_where_a_request_may_wait(
    install: Install, file_system: OnFileSystem, tmp_path: Path, name: str, option: str, threads: int
) -> None:
    """For another host, for a program, or for somebody's lock."""
    install('echo "$@"')
    file_system(name)
    assert f"--thread-pool-size={threads}" in connect(f"{tmp_path}:FS{option}")[1].split()


def test_it_has_the_socket_and_nothing_else_of_ours(install: Install) -> None:
    install("test -S /dev/fd/${1#--fd=} && echo $(ls /proc/self/fd)")
    listing = connect(".:FS")[1].split()[1:]
    assert len(listing) == 5  # the streams, the socket, and the directory that ls reads


def test_it_may_have_as_many_files_as_can_be(install: Install) -> None:
    """It has a descriptor for each file that the guest knows."""
    install("test $(ulimit -Sn) = $(ulimit -Hn) && echo equal")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, limits[1]), limits[1]))
    try:
        assert connect(".:FS")[1] == "virtiofsd: equal"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_read_only_is_what_it_sees(install: Install, tmp_path: Path) -> None:
    install(f"touch {tmp_path}/made 2>&1; exit 0")
    if "Operation not permitted" in (reason := connect(f"{tmp_path}:FS:ro")[1]):
        pytest.skip("needs the right to mount")
    assert reason.endswith("Read-only file system")
    assert connect(f"{tmp_path}:FS")[1] == "virtiofsd ended with status 0"
    assert (tmp_path / "made").exists()


def test_what_it_says_later_is_logged(install: Install) -> None:
    install("echo later; exec sleep 1000")
    logged: list[str] = []
    server = Virtiofsd(Share(".:FS"), logged.append)
    sock = server.connect(Deadline(60))
    loop = EventLoop()
    server.attach(loop, print)
    while not logged:
        for fd, events in loop._epoll.poll():
            loop._callbacks[fd](events)
    assert logged == ["share .:FS: virtiofsd: later"]
    sock.close()
    server.close()
    server.close()
    loop.close()


def test_it_dies_with_its_parent(install: Install, tmp_path: Path) -> None:
    """However that dies."""
    install(f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 1000")
    parent = os.fork()
    if not parent:
        try:
            Virtiofsd(Share(".:FS"), print).connect(Deadline(60))
            while True:
                signal.pause()
        finally:
            os._exit(1)
    wait_until((tmp_path / "pid").exists, "the start")
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not running(pid), "its end")


@pytest.mark.parametrize("end", ["wait", "kill -9 $$"], ids=["runs", "has died"])
def test_what_it_has_started_ends_with_it(install: Install, tmp_path: Path, end: str) -> None:
    """Stopped or not, and whatever it makes of SIGTERM and SIGHUP."""
    install(f"trap '' TERM HUP; sleep 1000 & echo $! > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; {end}")
    server = Virtiofsd(Share(".:FS"), print)
    server.connect(Deadline(60)).close()
    wait_until((tmp_path / "pid").exists, "the start")
    child = int((tmp_path / "pid").read_text())
    os.kill(child, signal.SIGSTOP)
    if end == "wait":
        server.close()
    else:
        assert server.why(Deadline(60)) == "virtiofsd was killed by signal 9"
    wait_until(lambda: not running(child), "its end")


def test_one_that_cannot_be_killed_keeps_nobody(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that waits for a file system that hangs."""
    install("exec sleep 1000")
    server = Virtiofsd(Share(".:FS"), print)
    server.connect(Deadline(60)).close()
    pid = server._pid
    with monkeypatch.context() as patched:
        patched.setattr(virtiofsd, "_KILL_MS", 0)
        for name in ("kill", "killpg"):
            patched.setattr(virtiofsd.os, name, lambda *_: None)
        assert server.why(Deadline(0)) == "virtiofsd does not answer"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def running(pid: int) -> bool:
    """A zombie, which its new parent has not collected yet, does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_it_is_root_in_a_namespace_of_its_own(install: Install, tmp_path: Path) -> None:
    """And nobody outside."""
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.geteuid() and not folder.stat().st_mode & 1:
            folder.chmod(folder.stat().st_mode | 0o711)
    tmp_path.chmod(0o755)
    install(f"id -u; touch {shared}/made")
    child = os.fork()
    if not child:
        try:
            os.setgroups([65534])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: /proc/self is ours, as after exec
            reason = connect(f"{shared}:FS")[1]
            os._exit(0 if reason == "virtiofsd: 0" else 2 if "user namespace" in reason else 1)
        finally:
            os._exit(3)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 2:
        pytest.skip("this kernel gives users no namespaces")
    assert status == 0
    assert (shared / "made").stat().st_uid == 65534


def test_a_socket_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "backend.sock"
    backend = SocketBackend(Share(f"socket={path}:FS"))
    with pytest.raises(PyvmmError, match=f"^share socket={path}:FS: No such file or directory$"):
        backend.connect(Deadline(60))
    listener = Listener(str(path))
    backend.connect(Deadline(60)).close()
    listener.close()
    backend.close()


def test_a_socket_whose_backlog_is_full(tmp_path: Path) -> None:
    path = str(tmp_path / "backend.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(path)
        listener.listen(0)
        other.connect(path)
        backend = SocketBackend(Share(f"socket={path}:FS"))
        with pytest.raises(HostError, match=r"Resource temporarily unavailable; its backlog is full$"):
            backend.connect(Deadline(60))
        backend.close()
