"""Debian's cloud kernel on pyvmm: other people's drivers on our devices. Runs in the lab."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from linux import KERNEL, MODULES, Linux, booted, make_initrd, vmlinux

pytestmark = pytest.mark.skipif(not KERNEL.exists(), reason="runs in the lab: make test-lab")


@pytest.fixture(scope="module")
def initrd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_initrd(tmp_path_factory.mktemp("initrd"))


@dataclass
class Host:
    """What the host has for the guest."""

    server: socket.socket  # where a client receives what it has sent, reversed
    console: Path  # the socket of the virtio-console
    shared: Path  # the directory FS

    def answer(self) -> None:
        """Serves until a client says `end`."""
        while True:
            sock, _ = self.server.accept()
            with sock:
                data = b""
                while part := sock.recv(65536):
                    data += part
                if data == b"end":
                    return
                sock.sendall(data[::-1])


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("host")
    (folder / "shared").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = Host(server, folder / "console.sock", folder / "shared")
        thread = threading.Thread(target=made.answer)
        thread.start()
        yield made
        with socket.create_connection(server.getsockname()) as last:
            last.sendall(b"end")
        thread.join()


@pytest.fixture(scope="module")
def linux(initrd: Path, host: Host) -> Iterator[Linux]:
    """With two CPUs and a device of each kind."""
    devices = ["--vsock", "5", "--allow", f"9000=127.0.0.1:{host.server.getsockname()[1]}"]
    devices += ["--console", f"virtio=unix:{host.console}", "--share", f"{host.shared}:FS"]
    with booted(KERNEL, initrd, "--cpus", "2", *devices, ports=(1234, 1235, 1236)) as guest:
        yield guest


def test_it_sees_its_machine(linux: Linux) -> None:
    assert "cpus 2" in linux.said
    assert "devices 3" in linux.said


def test_the_serial_console_takes_input(linux: Linux) -> None:
    linux.type("echo $((6 * 7)) is the answer")
    linux.wait_for("42 is the answer")


# ---- virtio-vsock


def exchange(sock: socket.socket, data: bytes) -> bytes:
    """What comes back of `data`, with the sender's half closed behind it."""

    def send() -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    got = b""
    while part := sock.recv(65536):
        got += part
    sender.join()
    return got


@pytest.mark.parametrize("size", [1, 5000, 300_000])
def test_streams_come_back(linux: Linux, size: int) -> None:
    data = bytes(i * 7 % 256 for i in range(size))
    with linux.connect(1234) as sock:
        assert exchange(sock, data) == data


def test_it_connects_to_the_host(linux: Linux) -> None:
    with linux.connect(1235) as sock:
        assert exchange(sock, b"there and back") == b"kcab dna ereht"


def test_a_port_that_nobody_listens_on_resets(linux: Linux) -> None:
    with pytest.raises(ConnectionResetError), linux.connect(1236) as sock:
        sock.recv(1)


# ---- virtio-fs


def test_a_tree_is_the_same_on_both_sides(linux: Linux, host: Host) -> None:
    """Names with spaces and UTF-8, sizes around those of a page and a request; the list comes by the same way."""
    deep = host.shared.joinpath("ünïcödé 目录", *["a directory"] * 20)
    deep.mkdir(parents=True)
    random = Random(1)
    for size in (0, 1, 4095, 4096, 4097, (1 << 20) - 1, (1 << 20) + 1):
        for folder in (host.shared, deep):
            (folder / f"a file of {size} bytes").write_bytes(random.randbytes(size))
    here = {f"./{path.relative_to(host.shared)}": path for path in host.shared.rglob("*") if path.is_file()}
    linux.run("mount -t virtiofs FS /mnt && cd /mnt && find . -type f -exec sha256sum {} + > /sums && cp /sums /mnt")
    there = dict(line.split("  ", 1)[::-1] for line in (host.shared / "sums").read_text().splitlines())
    assert there == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in here.items()}
    assert len(there) == 14


def test_what_it_makes_is_there_at_once(linux: Linux, host: Host) -> None:
    linux.run("mkdir /mnt/new && echo text > /mnt/new/file && mv /mnt/new/file /mnt/new/moved && sync")
    assert (host.shared / "new/moved").read_text() == "text\n"
    linux.run("rm -r /mnt/new")
    assert not (host.shared / "new").exists()


# ---- virtio-console


def test_the_virtio_console_leads_both_ways(linux: Linux, host: Host) -> None:
    """A driver of the guest arrives whole, and a line goes there."""
    driver = MODULES / "fs/fuse/fuse.ko"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(str(host.console))
        linux.run("exec 3<> /dev/hvc0 && stty raw -echo <&3")
        linux.type("cat /modules/fuse.ko >&3; read line <&3; echo got $line of it")
        got = bytearray()
        while len(got) < driver.stat().st_size:
            got += sock.recv(65536)
        assert hashlib.sha256(got).digest() == hashlib.sha256(driver.read_bytes()).digest()
        sock.sendall(b"all\n")
        linux.wait_for("got all of it")


# ---- the machine


def test_interrupts_are_those_of_the_devices(linux: Linux) -> None:
    linux.type("grep -c -e '[567]-edge *virtio[012]' -e '4-edge *ttyS0' /proc/interrupts; echo count''ed")
    linux.wait_for("counted")
    assert "4" in [line.strip() for line in linux.said[-3:]]


def test_it_powers_off(linux: Linux) -> None:
    assert linux.power_off() == 0


@pytest.mark.parametrize("protocol", ["pvh", "linux"])
def test_the_vmlinux_boots(initrd: Path, tmp_path: Path, protocol: str) -> None:
    """The ELF image that is in the bzImage."""
    image = tmp_path / "vmlinux"
    image.write_bytes(vmlinux(KERNEL.read_bytes()))
    with booted(image, initrd, "--boot", protocol) as guest:
        assert "cpus 1" in guest.said
        assert guest.power_off() == 0
