"""A cluster of Ceph on one machine, with its data in memory: monitor, OSD, metadata server, and nodes.

Each node has a mount of the file system, and a network namespace of its own in a network of
`pyvmm net`, at whose first address the daemons listen. For trying things out: there is no
authentication.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from uuid import uuid4

PYVMM = str(Path(sys.executable).parent / "pyvmm")

CONFIG = """
[global]
fsid = {fsid}
mon host = {monitor}
public network = {subnet}
auth cluster required = none
auth service required = none
auth client required = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail crit = 1
run dir = {folder}
admin socket = {folder}/$cluster-$name-$pid.asok
log file = {folder}/$name.log
mon data = {folder}/mon
osd data = {folder}/osd
mds data = {folder}/mds
osd objectstore = memstore
memstore device bytes = 1073741824
keyring = {folder}/keyring
"""


@dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    Attributes:
        folder: where it has mounted the file system.
        netns: its network namespace, a path.
        address: its own in the cluster's network.
    """

    name: str
    folder: Path
    netns: str
    address: str


class Ceph:
    """The cluster.

    Args:
        folder: for its configuration, sockets, logs and mounts.
        network: the name of its network.
        subnet: the network's.

    Attributes:
        mounts: the process of each, by its node.
        osd: the process that has the data.
    """

    def __init__(self, folder: Path, network: str = "cluster", subnet: str = "10.78.0.0/24") -> None:
        self._folder, self._network = folder, network
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._nodes: list[Node] = []
        self.mounts: dict[Node, subprocess.Popen[bytes]] = {}
        self._fsid = str(uuid4())
        address = next(ip_network(subnet).hosts())
        self._monitor = f"[v2:{address}:3300,v1:{address}:6789]"
        self._config = folder / "ceph.conf"
        self._config.write_text(CONFIG.format(fsid=self._fsid, folder=folder, monitor=self._monitor, subnet=subnet))
        _pyvmm("net", "create", network, "--subnet", subnet)
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Ceph:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, program: str, *words: str) -> str:
        command = [program, "-c", str(self._config), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def ceph(self, *words: str) -> str:
        """Output of the command `ceph`."""
        return self._run("ceph", *words)

    def _spawn(self, program: str, *words: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        with (self._folder / f"{program}.out").open("ab") as out:
            command = [*prefix, program, "-c", str(self._config), *words]
            return subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)

    def _start(self) -> None:
        for name in ("mon", "osd", "mds"):
            (self._folder / name).mkdir()
        monitors = str(self._folder / "monmap")
        command = ["monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", self._monitor, monitors]
        subprocess.run(command, check=True, capture_output=True)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monitors)
        self._daemons.append(self._spawn("ceph-mon", "-i", "a", "-f"))
        osd = str(uuid4())
        number = self.ceph("osd", "new", osd)
        self._run("ceph-osd", "-i", number, "--mkfs", "--osd-uuid", osd)
        self.osd = self._spawn("ceph-osd", "-i", number, "-f")
        self._daemons.append(self.osd)
        self._daemons.append(self._spawn("ceph-mds", "-i", "a", "-f"))
        for pool in ("data", "meta"):
            self.ceph("osd", "pool", "create", pool, "8")
        self.ceph("fs", "new", "cephfs", "meta", "data")
        while "up:active" not in self.ceph("mds", "stat"):
            time.sleep(0.1)

    def add_node(self, name: str) -> Node:
        """A new node, which has mounted the file system."""
        netns, address = _pyvmm("net", "add", self._network, name).split()
        node = Node(name, self._folder / name, netns, address)
        self._nodes.append(node)
        self.mount(node)
        return node

    def mount(self, node: Node) -> None:
        """Mounts the file system at a node."""
        node.folder.mkdir(exist_ok=True)
        inside = ("nsenter", f"--net={node.netns}")  # which executes the program: there is no process of its own
        process = self._spawn("ceph-fuse", "-n", "client.admin", "-f", str(node.folder), prefix=inside)
        self.mounts[node] = process
        while not os.path.ismount(node.folder):
            if process.poll() is not None:
                raise OSError(f"ceph-fuse ended: {(self._folder / 'ceph-fuse.out').read_text()[-300:]}")
            time.sleep(0.02)

    def kill(self, node: Node) -> None:
        """Ends a node's mount as a crash would: without a word to the cluster."""
        process = self.mounts.pop(node)
        process.kill()
        process.wait()

    def leave(self, node: Node) -> None:
        """Unmounts a node as it should be: all that it has written is in the cluster then."""
        process = self.mounts.pop(node)
        process.terminate()
        process.wait()
        self.unmount(node)

    def unmount(self, node: Node) -> None:
        """Takes away what is left of a mount that was killed."""
        subprocess.run(["umount", "-l", str(node.folder)], check=False, capture_output=True)

    def fence(self, node: Node) -> None:
        """Has the cluster take no more writes of a node, so that others need not wait for it to time out."""
        text = self.ceph("tell", "mds.a", "client", "ls")
        for client in json.loads(text[text.index("[") :]):  # there may be lines of a log before
            if f"{node.address}:" in client["inst"]:
                self.ceph("tell", "mds.a", "client", "evict", f"id={client['id']}")

    def remove_node(self, node: Node) -> None:
        """Takes a node away, whatever it has mounted."""
        if node in self.mounts:
            self.kill(node)
        self.unmount(node)
        self._nodes.remove(node)
        _pyvmm("net", "rm", self._network, node.name)

    def close(self) -> None:
        """Ends all of it. The monitor is the last, because the others want to tell it that they end."""
        for node in list(self._nodes):
            self.remove_node(node)
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()
        self._daemons.clear()
        _pyvmm("net", "rm", self._network)


def _pyvmm(*words: str) -> str:
    """Output of the command `pyvmm`."""
    return subprocess.run([PYVMM, *words], check=True, capture_output=True, text=True, timeout=60).stdout
