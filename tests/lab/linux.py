"""Debian's cloud kernel as a guest: its image, an initial RAM disk for it, and its console."""

from __future__ import annotations

import platform
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from struct import unpack_from

from guests import PYVMM

KERNEL = Path(f"/boot/vmlinuz-{platform.release()}")
MODULES = Path(f"/lib/modules/{platform.release()}/kernel")
ARGUMENTS = "console=ttyS0 quiet panic=-1 mitigations=off nokaslr"
DRIVERS = [
    *("drivers/virtio/virtio_ring", "drivers/virtio/virtio", "drivers/virtio/virtio_mmio"),
    *("net/vmw_vsock/vsock", "net/vmw_vsock/vmw_vsock_virtio_transport_common"),
    *("net/vmw_vsock/vmw_vsock_virtio_transport", "drivers/char/virtio_console"),
    *("fs/fuse/fuse", "fs/fuse/virtiofs"),
    *("drivers/misc/pvpanic/pvpanic", "drivers/misc/pvpanic/pvpanic-mmio"),
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
if [ -e /dev/vsock ]; then
    socat -d -d VSOCK-LISTEN:1234,fork EXEC:cat 2> /cat &
    socat -d -d VSOCK-LISTEN:1235,fork VSOCK-CONNECT:2:9000 2> /connect &
    until grep -q listening /cat && grep -q listening /connect; do usleep 10000; done
fi
echo "ready for you"
exec sh -i
"""

#: How a bzImage may be compressed, by its first bytes, and what decompresses it.
DECOMPRESSORS = {b"\x1f\x8b": "gzip", b"\xfd7zXZ": "xz", b"\x02!L\x18": "lz4", b"\x28\xb5\x2f\xfd": "zstd"}
_SETUP_SECTS, _PAYLOAD_OFFSET = 0x1F1, 0x248
_SECTOR = 512
_TEXT = 0xFFFF_FFFF_8100_0000


def vmlinux(bzimage: bytes) -> bytes:
    """The ELF image in a bzImage (Documentation/arch/x86/boot.rst, payload_offset)."""
    start = (bzimage[_SETUP_SECTS] + 1) * _SECTOR
    offset, length = unpack_from("<II", bzimage, _PAYLOAD_OFFSET)
    payload = bzimage[start + offset : start + offset + length]
    program = next(program for magic, program in DECOMPRESSORS.items() if payload.startswith(magic))
    if program != "gzip":  # whose own format ends with the size; to others it was added
        payload = payload[:-4]
    return subprocess.run([program, "-dc"], input=payload, stdout=subprocess.PIPE, check=True).stdout


def addresses(*names: str) -> list[int]:
    """Where a guest with `nokaslr` has symbols: this machine's kernel is the same, but somewhere else."""
    lines = Path("/proc/kallsyms").read_text().splitlines()
    known = {name: int(address, 16) for address, _, name, *_ in map(str.split, lines)}
    return [known[name] - known["_text"] + _TEXT for name in names]


def make_initrd(folder: Path) -> Path:
    """busybox, socat and the drivers, in an archive."""
    root = folder / "root"
    for place in ("bin", "modules", "proc", "sys", "dev", "mnt"):
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
    """A guest, and the host's ports that lead to it."""

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

    def run(self, command: str) -> None:
        """Runs a command to its end, which must be a good one."""
        self.type(f"{command} && echo do''ne")
        self.wait_for("done")

    def connect(self, port: int) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.ports[port]))
        sock.settimeout(60)
        return sock

    def power_off(self) -> int:
        """The status of pyvmm."""
        self.type("poweroff -f")
        return self.process.wait(60)


@contextmanager
def booted(kernel: Path, initrd: Path, *options: str, ports: tuple[int, ...] = ()) -> Iterator[Linux]:
    """A guest at its prompt. `ports` are its own that are published."""
    machine = ["--initrd", str(initrd), "--append", ARGUMENTS, "--mem", "512M"]
    with started(kernel, *machine, *options, ports=ports) as guest:
        guest.wait_for("ready for you")
        yield guest


@contextmanager
def started(image: Path, *options: str, ports: tuple[int, ...] = ()) -> Iterator[Linux]:
    """A guest that `pyvmm boot` has started."""
    command = [PYVMM, "boot", str(image), *options]
    for port in ports:
        command += ["-p", f"0:{port}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, errors="replace", **pipes) as process:  # type: ignore[call-overload]
        try:
            guest = Linux(process)
            for port in ports:
                found = re.search(r"port (\d+) of 127.0.0.1", process.stderr.readline())
                assert found
                guest.ports[port] = int(found[1])
            yield guest
        finally:
            process.kill()
