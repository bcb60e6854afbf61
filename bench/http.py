"""How fast a guest's web server is, compared with nginx on the host, and in a container.

All serve the same directory: `examples/StaticWebServer` in a guest with virtio-fs, and nginx with
one worker, on the host and, where podman is there, in a container behind its usual network (with
podman's configuration as it is on this machine: CONTAINERS_CONF). wrk asks with one thread, over
loopback. Rounds are interleaved. CPU time is that of all the server's processes: of pyvmm and
virtiofsd, or of nginx.
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
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from measure import BENCH, BenchError, arguments_for, image_of, machine_line, parse_runs, ratio, run_script
from vsock import free_port, start

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB_SERVER = BENCH.parent / "examples/StaticWebServer/StaticWebServer.pas"
#: What is asked for: its name, a file's size in bytes, and wrk's connections.
CASES = [
    ("107 bytes, 16 connections", 107, 16),
    ("107 bytes, 256 connections", 107, 256),
    ("100 KB, 16 connections", 100_000, 16),
    ("10 MB, 4 connections", 10_000_000, 4),
]
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}
TIMEOUT = 60  # seconds
#: What else is asked.
NGINX_HOST, NGINX_CONTAINER = "nginx", "nginx in podman"
IMAGE = "nginx-bench"
NGINX = """
daemon off; worker_processes 1; pid {work}/nginx.pid; error_log {work}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000;
    client_body_temp_path {work}/b; proxy_temp_path {work}/p; fastcgi_temp_path {work}/f;
    uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
    server {{ listen {address}:{port}; root {folder}; }}
}}
"""


@dataclass
class Server:
    """A server: its port, its process that ends with it, and its own first process."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    pid: int


@dataclass
class Samples:
    """Of one server and case: requests a second, the 99th percentile in us, and CPU time in us for each."""

    rate: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def start_guest(pyvmm: Path, folder: Path, stack: ExitStack) -> Server:
    """StaticWebServer, in a guest with one CPU."""
    command = [str(pyvmm), "boot", str(image_of(pyvmm, WEB_SERVER)), "--mem", "512M", "--vsock", "5", "-p", "0:80"]
    command += ["--share", f"{folder}:FS:ro", "--append", "virtiovsocket,virtiofs,FS,noconsole"]
    process = start(command, stack)
    assert process.stderr
    port = int(re.findall(rb"port (\d+) of", process.stderr.readline())[0])
    return Server("pyvmm", port, process, process.pid)


def find_nginx() -> Path:
    """Its path."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if not nginx:
        raise BenchError("nginx is not installed")
    return Path(nginx)


def start_nginx(folder: Path, work: Path, stack: ExitStack) -> Server:
    """nginx, with one worker."""
    port = free_port()
    (work / "nginx.conf").write_text(NGINX.format(work=work, address="127.0.0.1", port=port, folder=folder))
    process = stack.enter_context(subprocess.Popen([find_nginx(), "-c", work / "nginx.conf"]))
    stack.callback(process.terminate)
    return Server(NGINX_HOST, port, process, process.pid)


def make_root(root: Path) -> None:
    """The files of a container with this machine's nginx, its libraries and two users."""
    nginx = find_nginx()
    libraries = subprocess.run(["ldd", nginx], capture_output=True, text=True, check=True).stdout
    for path in [str(nginx), *re.findall(r"(/\S+) \(", libraries)]:
        target = root / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    for name in ("etc", "tmp", "www", "var/log/nginx"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0::/:/\nnobody:x:65534:65534::/:/\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (root / "etc/nginx.conf").write_text(NGINX.format(work="/tmp", address="0.0.0.0", port=80, folder="/www"))


def start_container(folder: Path, work: Path, stack: ExitStack) -> Server:
    """nginx in a container, behind `-p`; podman has a store of its own."""
    podman = ["podman", "--root", f"{work}/store", "--runroot", f"{work}/run"]
    make_root(work / "root")
    subprocess.run(["tar", "-C", work / "root", "-cf", work / "root.tar", "."], check=True)
    stack.callback(subprocess.run, ["umount", "--lazy", work / "store/overlay"], capture_output=True, check=False)
    subprocess.run([*podman, "import", "-q", work / "root.tar", IMAGE], capture_output=True, check=True)
    port = free_port()
    command = [*podman, "run", "--rm", "--name", IMAGE, "-p", f"127.0.0.1:{port}:80", "-v", f"{folder}:/www:ro", IMAGE]
    process = stack.enter_context(subprocess.Popen([*command, find_nginx(), "-c", "/etc/nginx.conf"]))
    stack.callback(subprocess.run, [*podman, "rm", "-f", "-t", "1", IMAGE], capture_output=True, check=False)
    server = Server(NGINX_CONTAINER, port, process, 0)
    wait_for(server)
    inspect = [*podman, "inspect", "-f", "{{.State.Pid}}", IMAGE]
    server.pid = int(subprocess.run(inspect, capture_output=True, check=True).stdout)
    return server


def cpu_us(pid: int) -> float:
    """CPU time that a process and those below it have used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return 0
    own = (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_us(int(child)) for child in children)


def ask(server: Server, name: str, connections: int, seconds: int, samples: Samples) -> None:
    """One run of wrk."""
    url = f"http://127.0.0.1:{server.port}/{name}"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{TIMEOUT}s", "--latency", url]
    before = cpu_us(server.pid)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    used = cpu_us(server.pid) - before
    if "Socket errors" in done.stdout or "Non-2xx" in done.stdout:
        raise BenchError(f"{server.name}: {done.stdout}")
    count = int(re.findall(r"(\d+) requests in", done.stdout)[0])
    ((number, unit),) = re.findall(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    samples.rate.append(float(re.findall(r"Requests/sec:\s+([\d.]+)", done.stdout)[0]))
    samples.p99.append(float(number) * UNITS[unit])
    samples.cpu.append(used / count)


def wait_for(server: Server) -> None:
    """Waits until it answers."""
    deadline = time.monotonic() + TIMEOUT
    url = f"http://127.0.0.1:{server.port}/107"
    while subprocess.run(["wrk", "-t1", "-c1", "-d1s", url], capture_output=True, check=False).returncode:
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{server.name} does not answer")


def report(samples: dict[str, dict[str, Samples]], other: str) -> Iterator[str]:
    """The table, in Markdown."""
    yield f"| | requests/s | {other} | ratio | p99, ms | {other} | CPU us a request | {other} |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, by_server in samples.items():
        ours, theirs = by_server["pyvmm"], by_server[other]
        cells = [f"{statistics.median(each.rate):.0f}" for each in (ours, theirs)]
        cells += [ratio(ours.rate, theirs.rate)]
        cells += [f"{statistics.median(each.p99) / 1e3:.2f}" for each in (ours, theirs)]
        cells += [f"{statistics.median(each.cpu):.0f}" for each in (ours, theirs)]
        yield f"| {name} | {' | '.join(cells)} |"


def main() -> int:
    """Measures and reports; returns the exit status."""
    parser = arguments_for("http", __doc__)
    parser.add_argument("--runs", type=parse_runs, default=10, metavar="N", help="rounds (10)")
    parser.add_argument("--seconds", type=int, default=2, metavar="N", help="of each case in a round (2)")
    arguments = parser.parse_args()
    if not shutil.which("wrk"):
        raise BenchError("wrk is not installed")
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = work / "www"
        folder.mkdir()
        for _, size, _ in CASES:
            (folder / str(size)).write_bytes(random.randbytes(size))
        work.chmod(0o755)  # nginx's worker is another user
        servers = [start_guest(arguments.pyvmm, folder, stack), start_nginx(folder, work, stack)]
        if shutil.which("podman"):
            servers.append(start_container(folder, work, stack))
        for server in servers:
            wait_for(server)
        samples = {name: {server.name: Samples() for server in servers} for name, _, _ in CASES}
        for _ in range(arguments.runs):
            for name, size, connections in CASES:
                for server in servers:
                    ask(server, str(size), connections, arguments.seconds, samples[name][server.name])
    if arguments.json:
        print(json.dumps(samples, default=vars, indent=1))
    else:
        print(machine_line(Path(sys.executable)))
        print(f"{arguments.runs} interleaved rounds; [ ] is the 95 % confidence interval of the ratio of medians.\n")
        for server in servers[1:]:
            print("\n".join(report(samples, server.name)), end="\n\n")
    return 0


if __name__ == "__main__":
    run_script("http", main)
