"""Debian's cloud kernel on pyvmm: other people's drivers on our devices. Runs in the lab."""

from __future__ import annotations

import platform
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from guests import PYVMM

KERNEL = Path(f"/boot/vmlinuz-{platform.release()}")
MODULES = Path(f"/lib/modules/{platform.release()}/kernel")
ARGUMENTS = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr"
DRIVERS = [
    *("drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_mmio"),
    *("net/vmw_vsock/vsock", "net/vmw_vsock/vmw_vsock_virtio_transport_common"),
    "net/vmw_vsock/vmw_vsock_virtio_transport",
]
INIT = """\
#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in {modules}; do insmod /modules/$module.ko; done
echo "cpus $(grep -c ^processor /proc/cpuinfo)"
echo "devices $(ls /sys/bus/virtio/devices | wc -l)"
socat VSOCK-LISTEN:1234,fork EXEC:cat &
socat VSOCK-LISTEN:1235,fork VSOCK-CONNECT:2:9000 &
sleep 1
echo "ready for you"
exec sh -i
"""

pytestmark = pytest.mark.skipif(not KERNEL.exists(), reason="runs in the lab: make test-lab")


@pytest.fixture(scope="module")
def initrd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """busybox, socat and the drivers, in an archive."""
    folder = tmp_path_factory.mktemp("initrd")
    root = folder / "root"
    for place in ("bin", "modules", "proc", "sys", "dev"):
        (root / place).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    shutil.copy("/usr/bin/socat", root / "bin/socat")
    libraries = subprocess.run(["ldd", "/usr/bin/socat"], capture_output=True, text=True, check=True).stdout
    for path in re.findall(r"(/\S+)", libraries):
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / path[1:])
    for driver in DRIVERS:
        shutil.copy(MODULES / f"{driver}.ko", root / "modules")
    init = root / "init"
    init.write_text(INIT.format(modules=" ".join(driver.rpartition("/")[2] for driver in DRIVERS)))
    init.chmod(0o755)
    archive = folder / "initrd"
    with archive.open("wb") as out:
        names = "\n".join(str(path.relative_to(root)) for path in root.rglob("*"))
        subprocess.run(["busybox", "cpio", "-o", "-H", "newc"], cwd=root, input=names.encode(), stdout=out, check=True)
    return archive


@dataclass
class Linux:
    """A guest at its prompt, and the host's ports that lead to it."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    ports: dict[int, int] = field(default_factory=dict)

    def wait_for(self, text: str) -> None:
        """Reads the console up to a line that has `text` in it, for two minutes at most."""
        assert self.process.stdout
        guard = threading.Timer(120, self.process.kill)
        guard.start()
        try:
            for line in self.process.stdout:
                self.said.append(line.rstrip())
                if text in line and "echo" not in line:
                    return
        finally:
            guard.cancel()
        raise AssertionError("\n".join(self.said))

    def type(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def connect(self, port: int) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.ports[port]))
        sock.settimeout(60)
        return sock


@pytest.fixture(scope="module")
def linux(initrd: Path) -> Iterator[Linux]:
    host = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            sock, _ = host.accept()
            with sock:
                data = b""
                while part := sock.recv(65536):
                    data += part
                if data == b"end":
                    return
                sock.sendall(data[::-1])

    server = threading.Thread(target=answer)
    server.start()
    command = [PYVMM, "boot", str(KERNEL), "--initrd", str(initrd), "--append", ARGUMENTS, "--mem", "512M"]
    command += ["--cpus", "2", "--vsock", "5", "-p", "0:1234", "-p", "0:1235", "-p", "0:1236"]
    command += ["--allow", f"9000=127.0.0.1:{host.getsockname()[1]}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, errors="replace", **pipes) as process:  # type: ignore[call-overload]
        guest = Linux(process)
        for port in (1234, 1235, 1236):
            found = re.search(r"port (\d+) of 127.0.0.1", process.stderr.readline())
            assert found
            guest.ports[port] = int(found[1])
        try:
            guest.wait_for("ready for you")
            yield guest
        finally:
            process.kill()
            with socket.create_connection(host.getsockname()) as last:
                last.sendall(b"end")
            server.join()
            host.close()


def exchange(sock: socket.socket, data: bytes) -> bytes:
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


def test_it_sees_its_machine(linux: Linux) -> None:
    assert "cpus 2" in linux.said
    assert "devices 1" in linux.said


def test_the_console_takes_input(linux: Linux) -> None:
    linux.type("echo $((6 * 7)) is the answer")
    linux.wait_for("42 is the answer")


@pytest.mark.parametrize("size", [1, 5000, 300_000])
def test_streams_come_back(linux: Linux, size: int) -> None:
    data = bytes(i * 7 % 256 for i in range(size))
    with linux.connect(1234) as sock:
        assert exchange(sock, data) == data


def test_it_connects_to_the_host(linux: Linux) -> None:
    with linux.connect(1235) as sock:
        assert exchange(sock, b"there and back") == b"kcab dna ereht"


def test_a_port_that_nobody_listens_on_resets(linux: Linux) -> None:
    with linux.connect(1236) as sock, pytest.raises(ConnectionResetError):
        sock.recv(1)


def test_interrupts_are_those_of_the_devices(linux: Linux) -> None:
    linux.type("grep -c -e '5-edge *virtio0' -e '4-edge *ttyS0' /proc/interrupts; echo counted")
    linux.wait_for("counted")
    assert "2" in [line.strip() for line in linux.said[-3:]]


def test_it_powers_off(linux: Linux) -> None:
    linux.type("poweroff -f")
    assert linux.process.wait(60) == 0
