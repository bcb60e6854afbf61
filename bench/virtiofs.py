"""How fast a guest reads files of the host, compared with QEMU and with the host itself.

The guest, `FileSpeed.pas`, measures from inside. The same image runs on pyvmm and on
QEMU's microvm machine, both with KVM, one vCPU and the same virtiofsd with the same
options; the host reads the same files from Python, in one thread. All files are in
the host's page cache.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import BENCH, BenchError, arguments_for, machine_line, parse_runs, ratio_interval, run_script

SIZE = 256 << 20
HOT_SIZE = 16 << 20
NAMES, LISTS = 100, 20
KIB = 1 << 10
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"
QEMU = (
    "qemu-system-x86_64 -accel kvm -cpu qemu64 -nodefaults -no-user-config -display none -no-reboot -serial stdio "
    "-M microvm,acpi=off,memory-backend=ram -m 512 -object memory-backend-memfd,id=ram,size=512M,share=on "
    "-global virtio-mmio.force-legacy=false -device isa-debug-exit,iobase=0xf4,iosize=4"
).split()
TIMEOUT = 120  # seconds

#: Operations per second, by quantity.
Samples = dict[str, list[float]]


def make_files(folder: Path) -> None:
    """Makes the files that the guest reads."""
    (folder / "hot").write_bytes(random.randbytes(HOT_SIZE))
    with (folder / "data").open("wb") as file:
        for _ in range(SIZE >> 20):
            file.write(random.randbytes(1 << 20))
    for directory in ("names", *(f"lists/{number}" for number in range(LISTS))):
        (folder / directory).mkdir(parents=True)
        for name in range(NAMES):
            (folder / f"{directory}/{name}").touch()


def parse(said: str, samples: Samples) -> None:
    """The lines of a guest; output of firmware may precede them."""
    for name, value in re.findall(r"((?:sequential|random|hot)-\S+|stat|open\+close|list) (\d+)", said):
        samples.setdefault(name, []).append(float(value))


def run_pyvmm(pyvmm: str, image: str, folder: Path, samples: Samples) -> None:
    """One run."""
    command = [pyvmm, "boot", image, "--mem", "512M", "--share", f"{folder}:FS"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    if done.returncode:
        raise BenchError(f"pyvmm: exit status {done.returncode}: {done.stderr}")
    parse(done.stdout, samples)


def run_qemu(image: str, folder: Path, work: Path, samples: Samples) -> None:
    """One run."""
    path = work / "virtiofsd.sock"
    options = [f"--socket-path={path}", "-f", "-o", "cache=auto,log_level=err", "-o", f"source={folder}"]
    with subprocess.Popen([VIRTIOFSD, *options], stderr=subprocess.DEVNULL) as server:
        while not path.exists():
            time.sleep(0.01)
        device = ["-chardev", f"socket,id=fs,path={path}", "-device", "vhost-user-fs-device,chardev=fs,tag=FS"]
        command = [*QEMU, "-kernel", image, *device]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, encoding="latin-1", timeout=TIMEOUT, check=False
        )
        server.wait(TIMEOUT)
    path.unlink(missing_ok=True)
    if done.returncode != 1:  # isa-debug-exit: twice 0, plus one
        raise BenchError(f"QEMU: exit status {done.returncode}: {done.stderr}")
    parse(done.stdout, samples)


def read_host(folder: Path, name: str) -> float:
    """The same quantity on the host, in operations per second."""
    kind, *rest = name.split("-")
    start = time.perf_counter()
    if kind == "stat":
        for i in range(2000):
            os.stat(f"{folder}/names/{i % NAMES}")
        return 2000 / (time.perf_counter() - start)
    if kind == "open+close":
        for i in range(2000):
            os.close(os.open(f"{folder}/names/{i % NAMES}", os.O_RDONLY))
        return 2000 / (time.perf_counter() - start)
    if kind == "list":
        for i in range(LISTS):
            for entry in os.scandir(f"{folder}/lists/{i}"):
                entry.stat()
        return LISTS * NAMES / (time.perf_counter() - start)
    block = int(rest[0][:-1]) * KIB
    path, size = (folder / "hot", HOT_SIZE) if kind == "hot" else (folder / "data", SIZE)
    count, blocks = max(256, min(4000, SIZE // block)), size // block
    buffer = bytearray(block)
    fd = os.open(path, os.O_RDONLY)
    for i in range(count):
        os.preadv(fd, [buffer], (random.randrange(blocks) if kind == "random" else i % blocks) * block)
    os.close(fd)
    return count / (time.perf_counter() - start)


def cell(name: str, values: list[float]) -> str:
    """The median: MiB/s of reads, otherwise operations per second."""
    median = statistics.median(values)
    if "K-" in name:
        return f"{median * int(name.split('-')[1][:-1]) / 1024:.0f} MiB/s"
    return f"{median:.0f}/s"


def report(ours: Samples, qemu: Samples, host: Samples) -> str:
    """The table, in Markdown."""
    lines = ["| | pyvmm | QEMU | ratio | host | ratio |", "| --- | --- | --- | --- | --- | --- |"]
    for name, values in ours.items():
        cells = [cell(name, each[name]) for each in (ours, qemu, host)]
        ratios = []
        for other in (qemu[name], host[name]):
            low, high = ratio_interval(values, other)
            ratios.append(f"{statistics.median(values) / statistics.median(other):.2f} [{low:.2f}, {high:.2f}]")
        title = name
        if "K-" in name:
            kind, size, flight = name.split("-")
            title = f"{kind}, {size[:-1]} KiB, {flight} at once"
        lines.append(f"| {title} | {cells[0]} | {cells[1]} | {ratios[0]} | {cells[2]} | {ratios[1]} |")
    return "\n".join(lines)


def main() -> int:
    """Measures and reports; returns the exit status."""
    parser = arguments_for("fs", __doc__)
    parser.add_argument("--runs", type=parse_runs, default=15, metavar="N", help="of each (15)")
    arguments = parser.parse_args()
    pyvmm = str(arguments.pyvmm)
    ours: Samples = {}
    qemu: Samples = {}
    host: Samples = {}
    if not shutil.which(QEMU[0]) or not os.access(VIRTIOFSD, os.X_OK):
        raise BenchError("needs qemu-system-x86 and its virtiofsd")
    with tempfile.TemporaryDirectory() as work:
        image, folder = f"{work}/FileSpeed.elf", Path(work, "shared")
        command = [pyvmm, "build", str(BENCH / "FileSpeed.pas"), "-o", image]
        subprocess.run(command, check=True, capture_output=True)
        folder.mkdir()
        make_files(folder)
        for _ in range(arguments.runs):
            run_pyvmm(pyvmm, image, folder, ours)
            run_qemu(image, folder, Path(work), qemu)
            for name in ours:
                host.setdefault(name, []).append(read_host(folder, name))
    if arguments.json:
        print(json.dumps({"pyvmm": ours, "QEMU": qemu, "host": host}, indent=1))
        return 0
    print(machine_line(Path(sys.executable)))
    print(f"{arguments.runs} interleaved runs; [ ] is the 95 % confidence interval of the ratio of medians.\n")
    print(report(ours, qemu, host))
    return 0


if __name__ == "__main__":
    run_script("fs", main)
