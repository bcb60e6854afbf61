"""How fast TCP reaches a guest through pyvmm's vsock, compared with other ways.

All ways lead to the same three services: one echoes, one discards, one sends for
ever. In a guest they are `SocketServer.pas`. The other way is

    socat   relays from one TCP port to another; the services are threads of a Python
            process of the host
    haproxy does the same, for all connections in one thread
    qemu    microvm with vhost-vsock and the same guest image, and socat from TCP to
            AF_VSOCK (needs /dev/vhost-vsock and QEMU's KVM: see tests/lab)
    pcap    pyvmm that writes all packets to a file in memory (`--pcap`)
    trace   pyvmm that records its exits (`--trace exits`)
    no-sandbox
            pyvmm that is not confined (`--sandbox=off`)

Each round measures all quantities of one way, then of the other, so that other load
on the machine affects both alike.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from measure import BENCH, BenchError, arguments_for, machine_line, parse_runs, ratio_interval, run_script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ECHO, SINK, SOURCE = range(3)
GUEST_PORTS = {ECHO: 80, SINK: 81, SOURCE: 82}

MIB = 1 << 20
BLOCK = 256 << 10  # bytes of the client's buffers
PIECE = 64 << 10  # bytes of an echo sent at a time
REQUESTS = 500
REQUEST_BYTES = 64
QEMU_CID = 77
CONNECTIONS = 100
TIMEOUT = 60  # seconds

#: Bytes of an echo that may be under way if socat writes to vsock: no more than the guest has
#: room for. socat's writes block until all is taken, and meanwhile it reads nothing; with
#: more bytes, socat and the guest would wait for each other.
AHEAD_OF_VSOCK = 192 << 10

#: Options with which pyvmm is another way; `folder` is in memory.
OPTIONS = {
    "no-sandbox": "--sandbox=off",
    "pcap": "--pcap={folder}/capture.pcapng",
    "trace": "--trace=exits={folder}/trace.json",
}

#: socat's default buffer, 8 KiB, would make its bulk figures worse.
SOCAT_BLOCK = 64 << 10


@dataclass
class Way:
    """TCP ports of 127.0.0.1 that lead to the services, and how many bytes of an echo may be under way."""

    name: str
    ports: list[int]
    ahead: int = 1 << 40

    def connect(self, service: int) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.ports[service]), timeout=TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


# ---- quantities


def receive(sock: socket.socket, size: int, buffer: bytearray) -> None:
    """Receives exactly so many bytes."""
    with memoryview(buffer) as view:
        while size:
            count = sock.recv_into(view[: min(size, len(buffer))])
            if not count:
                raise BenchError("a connection ended early")
            size -= count


def bulk_in(way: Way, size: int) -> float:
    """MiB/s from the client to the service that discards."""
    data = bytes(BLOCK)
    with way.connect(SINK) as sock:
        start = time.perf_counter()
        for _ in range(size // BLOCK):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        if sock.recv(1):
            raise BenchError("an answer of a service that has none")
        return size / MIB / (time.perf_counter() - start)


def bulk_out(way: Way, size: int) -> float:
    """MiB/s from the service that sends for ever."""
    buffer = bytearray(BLOCK)
    with way.connect(SOURCE) as sock:
        start = time.perf_counter()
        receive(sock, size, buffer)
        return size / MIB / (time.perf_counter() - start)


def echo_bulk(way: Way, size: int) -> float:
    """MiB/s in both directions at once."""
    buffer, data, count = bytearray(PIECE), bytes(PIECE), size // 4 // PIECE
    room = threading.Semaphore(way.ahead // PIECE)

    def send() -> None:
        for _ in range(count):
            room.acquire()
            sock.sendall(data)

    with way.connect(ECHO) as sock:
        start = time.perf_counter()
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        for _ in range(count):
            receive(sock, PIECE, buffer)
            room.release()
        elapsed = time.perf_counter() - start
        sender.join()
    return count * PIECE / MIB / elapsed


def round_trip(way: Way, _: int) -> float:
    """Round trip in microseconds, the median of REQUESTS."""
    request, buffer, samples = bytes(REQUEST_BYTES), bytearray(REQUEST_BYTES), []
    with way.connect(ECHO) as sock:
        for _ in range(REQUESTS):
            start = time.perf_counter()
            sock.sendall(request)
            receive(sock, REQUEST_BYTES, buffer)
            samples.append(time.perf_counter() - start)
    return statistics.median(samples) * 1e6


def connections(way: Way, _: int) -> float:
    """Connections per second, one after the other, with a request each."""
    request, buffer = bytes(REQUEST_BYTES), bytearray(REQUEST_BYTES)
    start = time.perf_counter()
    for _ in range(CONNECTIONS):
        with way.connect(ECHO) as sock:
            sock.sendall(request)
            receive(sock, REQUEST_BYTES, buffer)
    return CONNECTIONS / (time.perf_counter() - start)


QUANTITIES: dict[str, Callable[[Way, int], float]] = {
    "bulk to the guest, MiB/s": bulk_in,
    "bulk from the guest, MiB/s": bulk_out,
    "bulk echo, MiB/s": echo_bulk,
    "round trip, 64 bytes, us": round_trip,
    "connections a second": connections,
}

# ---- the two ways


def build_guest(pyvmm: Path, stack: ExitStack) -> str:
    """The image of the services."""
    image = f"{stack.enter_context(tempfile.TemporaryDirectory())}/SocketServer.elf"
    subprocess.run([pyvmm, "build", BENCH / "SocketServer.pas", "-o", image], check=True, stderr=subprocess.DEVNULL)
    return image


def boot_guest(pyvmm: Path, image: str, stack: ExitStack, name: str = "pyvmm", *options: str) -> Way:
    """The services in a guest of pyvmm."""
    published = [word for port in GUEST_PORTS.values() for word in ("-p", f"0:{port}")]
    process = start([str(pyvmm), "boot", image, "--vsock", "5", *published, *options], stack)
    assert process.stdout
    assert process.stderr
    told = [process.stderr.readline() for _ in GUEST_PORTS]
    if process.stdout.readline() != b"ready\n":
        raise BenchError(f"the guest did not start: {told[0].decode().strip()}")
    return Way(name, [int(re.findall(rb"port (\d+) of", line)[0]) for line in told])


def start(command: list[str], stack: ExitStack) -> subprocess.Popen[bytes]:
    """Runs a program that ends with the benchmark."""
    process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    stack.callback(process.kill)
    return process


def serve(listener: socket.socket, service: int) -> None:
    """One service on the host, with a thread per connection."""
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve_client, args=(sock, service), daemon=True).start()


def serve_client(sock: socket.socket, service: int) -> None:
    """Serves one connection."""
    buffer = bytearray(BLOCK)
    try:
        with sock, memoryview(buffer) as view:
            while service == SOURCE:
                sock.sendall(view)
            while count := sock.recv_into(view):
                if service == ECHO:
                    sock.sendall(view[:count])
    except OSError:
        pass


def serve_host(listeners: list[socket.socket]) -> None:
    """All services on the host."""
    threads = [threading.Thread(target=serve, args=(sock, i)) for i, sock in enumerate(listeners)]
    for thread in threads:
        thread.start()


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def start_services(stack: ExitStack) -> list[int]:
    """The services on the host, in a process of their own; returns their ports."""
    listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in GUEST_PORTS]
    process = multiprocessing.Process(target=serve_host, args=(listeners,))
    process.start()
    stack.callback(process.kill)
    return [int(listener.getsockname()[1]) for listener in listeners]


def start_socat(stack: ExitStack) -> Way:
    """The same services behind socat."""
    if not shutil.which("socat"):
        raise BenchError("socat is not installed")
    services = start_services(stack)
    ports = [free_port() for _ in services]
    for port, service in zip(ports, services, strict=True):
        listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,nodelay,backlog=128"
        start(["socat", "-b", str(SOCAT_BLOCK), listen, f"TCP:127.0.0.1:{service},nodelay"], stack)
    return listening(Way("socat", ports))


def start_haproxy(stack: ExitStack) -> Way:
    """The same services behind haproxy."""
    haproxy = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if not haproxy:
        raise BenchError("haproxy is not installed")
    services = start_services(stack)
    ports = [free_port() for _ in services]
    text = "global\n nbthread 1\ndefaults\n mode tcp\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n"
    for port, service in zip(ports, services, strict=True):
        text += f"listen port{port}\n bind 127.0.0.1:{port}\n server service 127.0.0.1:{service}\n"
    config = Path(stack.enter_context(tempfile.TemporaryDirectory()), "haproxy.cfg")
    config.write_text(text)
    start([haproxy, "-f", str(config)], stack)
    return listening(Way("haproxy", ports))


def start_qemu(image: str, stack: ExitStack) -> Way:
    """The services in a guest of QEMU, behind socat."""
    for tool in ("qemu-system-x86_64", "socat"):
        if not shutil.which(tool):
            raise BenchError(f"{tool} is not installed")
    machine = "-accel kvm -cpu host -M microvm,acpi=off -m 128 -nodefaults -no-user-config -display none -no-reboot"
    # By default QEMU offers the legacy transport, not version 2.
    devices = "-global virtio-mmio.force-legacy=false -serial stdio"
    devices += f" -device vhost-vsock-device,guest-cid={QEMU_CID}"
    process = start(["qemu-system-x86_64", *machine.split(), *devices.split(), "-kernel", image], stack)
    assert process.stdout
    assert process.stderr
    while (line := process.stdout.readline()) and not line.endswith(b"ready\n"):
        pass
    if not line:
        raise BenchError(f"QEMU: {process.stderr.read().decode().strip()}")
    ports = [free_port() for _ in GUEST_PORTS]
    for port, guest_port in zip(ports, GUEST_PORTS.values(), strict=True):
        listen = f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,nodelay,backlog=128"
        start(["socat", "-b", str(SOCAT_BLOCK), listen, f"VSOCK-CONNECT:{QEMU_CID}:{guest_port}"], stack)
    return listening(Way("qemu", ports))


def listening(way: Way) -> Way:
    """Waits until something listens at its ports."""
    deadline = time.monotonic() + TIMEOUT
    for service in GUEST_PORTS:
        while True:
            try:
                way.connect(service).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise BenchError(f"{way.name} does not listen") from None
                time.sleep(0.01)
    return way


# ---- report


def measure(ways: list[Way], runs: int, bulk: int) -> dict[str, dict[str, list[float]]]:
    """Samples by quantity and way, with so many bytes of bulk; the first round is discarded."""
    samples: dict[str, dict[str, list[float]]] = {name: {way.name: [] for way in ways} for name in QUANTITIES}
    for count in range(runs + 1):
        for way in ways:
            for name, quantity in QUANTITIES.items():
                value = quantity(way, bulk)
                if count:
                    samples[name][way.name].append(value)
    return samples


def report(samples: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    """The table, in Markdown."""
    other = next(name for name in samples[next(iter(samples))] if name != "pyvmm")
    yield f"| | pyvmm (p5, p95) | {other} (p5, p95) | ratio |"
    yield "| --- | --- | --- | --- |"
    for name, by_way in samples.items():
        cells = []
        for values in by_way.values():
            twentieths = statistics.quantiles(values, n=20, method="inclusive")
            cells.append(f"{statistics.median(values):.0f} ({twentieths[0]:.0f}, {twentieths[-1]:.0f})")
        ours, theirs = by_way["pyvmm"], by_way[other]
        ratio = statistics.median(ours) / statistics.median(theirs)
        low, high = ratio_interval(ours, theirs)
        yield f"| {name} | {cells[0]} | {cells[1]} | {ratio:.2f} [{low:.2f}, {high:.2f}] |"


def main() -> int:
    """Measures and reports; returns the exit status."""
    parser = arguments_for("vsock", __doc__)
    parser.add_argument("--runs", type=parse_runs, default=20, metavar="N", help="rounds (20)")
    parser.add_argument(
        "--against",
        choices=("socat", "haproxy", "qemu", *OPTIONS),
        default="socat",
        help="the other way (socat)",
    )
    parser.add_argument("--bulk", type=int, default=64, metavar="MIB", help="how much is sent in bulk (64)")
    parser.add_argument("--image", metavar="FILE", help="SocketServer.elf, where there is no compiler")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        pyvmm = arguments.pyvmm
        image = arguments.image or build_guest(pyvmm, stack)
        ways = [boot_guest(pyvmm, image, stack)]
        if arguments.against in OPTIONS:
            folder = stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))
            option = OPTIONS[arguments.against].format(folder=folder)
            ways.append(boot_guest(pyvmm, image, stack, arguments.against, option))
        elif arguments.against == "qemu":
            ways.append(start_qemu(image, stack))
            for way in ways:
                way.ahead = AHEAD_OF_VSOCK
        elif arguments.against == "haproxy":
            ways.append(start_haproxy(stack))
        else:
            ways.append(start_socat(stack))
        samples = measure(ways, arguments.runs, arguments.bulk * MIB)
    if arguments.json:
        print(json.dumps(samples, indent=1))
    else:
        print(machine_line(Path(sys.executable)))
        print(f"{arguments.runs} interleaved rounds; [ ] is the 95 % confidence interval of the ratio of medians.\n")
        print("\n".join(report(samples)))
    return 0


if __name__ == "__main__":
    run_script("vsock", main)
