"""A guest moves to another node when its own dies: python failover.py [SECONDS]

Two nodes have mounted one CephFS; the image and the data of a key-value store lie there. A
client writes to the store on the first node, which is killed after some seconds; the store is
started on the second. Every pair whose write was answered must be there.
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

from ceph import PYVMM, Ceph, Node

from pyvmm import build

HERE = Path(__file__).resolve().parent
PORT = 80  # of the store, at each node's address


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


def ask(address: str, query: str, port: int = PORT) -> tuple[int, str]:
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


def boot(node: Node) -> subprocess.Popen[bytes]:
    """Starts the store on a node: its image and its data come from the cluster."""
    command = [PYVMM, "boot", f"{node.folder}/Journal.elf", "--netns", node.netns, "--vsock", "5", "-p", f"{PORT}:80"]
    return subprocess.Popen([*command, "--share", f"{node.folder}/data:FS"], stdin=subprocess.DEVNULL)


def wait_for_answer(address: str) -> None:
    while ask(address, "")[0] != 200:
        time.sleep(0.01)


class Writer:
    """A client that writes one pair after the other, until the store does not answer."""

    def __init__(self, address: str) -> None:
        self.acknowledged: list[str] = []
        self._thread = threading.Thread(target=self._write, args=(address,))
        self._thread.start()

    def _write(self, address: str) -> None:
        number = 0
        while ask(address, f"key{number}={number}")[0] == 200:
            self.acknowledged.append(f"key{number}")
            number += 1

    def join(self) -> None:
        self._thread.join()


def fail_over(cluster: Ceph, first: Node, second: Node, seconds: float) -> Outcome:
    """Runs the story.

    Args:
        cluster: that has the store's image, `Journal.elf`, and the folder `data`.
        first: the node that dies.
        second: the node on which the store goes on.
        seconds: for which the client writes before the first node is killed.
    """
    store = boot(first)
    try:
        wait_for_answer(first.address)
        writer = Writer(first.address)
        time.sleep(seconds)
        killed = time.monotonic()
        cluster.kill(first)
    finally:
        store.kill()
        store.wait()
    writer.join()
    cluster.fence(first)
    store = boot(second)
    try:
        wait_for_answer(second.address)
        needed = time.monotonic() - killed
        lost = [key for key in writer.acknowledged if ask(second.address, key) != (200, key.removeprefix("key"))]
    finally:
        store.kill()
        store.wait()
        cluster.unmount(first)
    return Outcome(len(writer.acknowledged), lost, needed)


def main(seconds: str = "3") -> None:
    with TemporaryDirectory() as folder, Ceph(Path(folder)) as cluster:
        first, second = cluster.add_node("node1"), cluster.add_node("node2")
        build(str(HERE / "Journal.pas"), f"{folder}/Journal.elf")
        subprocess.run(["cp", f"{folder}/Journal.elf", str(first.folder)], check=True)
        os.mkdir(first.folder / "data")
        outcome = fail_over(cluster, first, second, float(seconds))
        print(f"{outcome.acknowledged} writes were answered; {len(outcome.lost)} of them are lost")
        print(f"{outcome.seconds:.1f} s from the kill to the first answer on the other node")


if __name__ == "__main__":
    main(*sys.argv[1:])
