"""A guest moves to another node when its own dies: python failover.py [SECONDS]

Two mounts of one CephFS stand for two nodes. The image and the data of a key-value store lie
there. A client writes to the store on the first node, which is killed after some seconds; the
store is started on the second. Every pair whose write was answered must be there.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ceph import Ceph

from pyvmm import build

HERE = Path(__file__).resolve().parent
PYVMM = str(Path(sys.executable).parent / "pyvmm")
ADDRESSES = ("127.0.0.2", "127.0.0.3")


@dataclass
class Outcome:
    """What has become of the store.

    Attributes:
        acknowledged: writes that were answered before the node was killed.
        lost: keys of those that are not there any more.
        seconds: from the kill to the first answer on the other node.
    """

    acknowledged: int
    lost: list[str]
    seconds: float


def ask(address: str, port: int, query: str) -> tuple[int, str]:
    """Status and body of one request; 0 if there is no answer."""
    connection = http.client.HTTPConnection(address, port, timeout=30)
    try:
        connection.request("GET", f"/{query}")
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def boot(node: Path, address: str, port: int) -> subprocess.Popen[bytes]:
    """Starts the store on a node: its image and its data come from the cluster."""
    command = [PYVMM, "boot", f"{node}/Journal.elf", "--vsock", "5", "-p", f"{address}:{port}:80"]
    return subprocess.Popen([*command, "--share", f"{node}/data:FS"], stdin=subprocess.DEVNULL)


def wait_for_answer(address: str, port: int) -> None:
    while ask(address, port, "")[0] != 200:
        time.sleep(0.01)


class Writer:
    """A client that writes one pair after the other, until the store does not answer."""

    def __init__(self, address: str, port: int) -> None:
        self.acknowledged: list[str] = []
        self._thread = threading.Thread(target=self._write, args=(address, port))
        self._thread.start()

    def _write(self, address: str, port: int) -> None:
        number = 0
        while ask(address, port, f"key{number}={number}")[0] == 200:
            self.acknowledged.append(f"key{number}")
            number += 1

    def join(self) -> None:
        self._thread.join()


def fail_over(cluster: Ceph, nodes: list[Path], port: int, seconds: float) -> Outcome:
    """Runs the story on a cluster that has two mounts.

    Args:
        cluster: it.
        nodes: its mounts; the store's image, `Journal.elf`, and the folder `data` are there.
        port: the store's, on each node's address.
        seconds: for which the client writes before the first node is killed.
    """
    first, second = nodes
    store = boot(first, ADDRESSES[0], port)
    try:
        wait_for_answer(ADDRESSES[0], port)
        writer = Writer(ADDRESSES[0], port)
        time.sleep(seconds)
        killed = time.monotonic()
        cluster.kill(first)
    finally:
        store.kill()
        store.wait()
    writer.join()
    cluster.fence(first)
    store = boot(second, ADDRESSES[1], port)
    try:
        wait_for_answer(ADDRESSES[1], port)
        needed = time.monotonic() - killed
        lost = [key for key in writer.acknowledged if ask(ADDRESSES[1], port, key) != (200, key.removeprefix("key"))]
    finally:
        store.kill()
        store.wait()
        cluster.unmount(first)
    return Outcome(len(writer.acknowledged), lost, needed)


def main(seconds: str = "3") -> None:
    with TemporaryDirectory() as folder, Ceph(Path(folder)) as cluster:
        nodes = [Path(folder, f"node{number}") for number in (1, 2)]
        for node in nodes:
            cluster.mount(node)
        build(str(HERE / "Journal.pas"), f"{folder}/Journal.elf")
        subprocess.run(["cp", f"{folder}/Journal.elf", str(nodes[0])], check=True)
        os.mkdir(nodes[0] / "data")
        outcome = fail_over(cluster, nodes, 8080, float(seconds))
        print(f"{outcome.acknowledged} writes were answered; {len(outcome.lost)} of them are lost")
        print(f"{outcome.seconds:.1f} s from the kill to the first answer on the other node")


if __name__ == "__main__":
    main(*sys.argv[1:])
