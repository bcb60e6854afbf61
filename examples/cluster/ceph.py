"""A cluster of Ceph on one machine, with its data in memory: monitor, OSD, metadata server, and mounts.

For trying things out. All daemons listen on 127.0.0.1, without authentication.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from uuid import uuid4

CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{port},v1:127.0.0.1:{port1}]
public network = 127.0.0.0/8
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


class Ceph:
    """The cluster.

    Args:
        folder: for its configuration, sockets and logs.
        port: at which the monitor listens, and at the next one as well.

    Attributes:
        mounts: the process of each, by its directory.
        osd: the process that has the data.
    """

    def __init__(self, folder: Path, port: int = 3300) -> None:
        self._folder, self._address = folder, f"127.0.0.1:{port}"
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.mounts: dict[Path, subprocess.Popen[bytes]] = {}
        self._fsid = str(uuid4())
        self._config = folder / "ceph.conf"
        self._config.write_text(CONFIG.format(fsid=self._fsid, folder=folder, port=port, port1=port + 1))
        try:
            self._start(port)
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

    def _spawn(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{program}.out").open("ab") as out:
            command = [program, "-c", str(self._config), *words]
            return subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)

    def _start(self, port: int) -> None:
        for name in ("mon", "osd", "mds"):
            (self._folder / name).mkdir()
        monitors = str(self._folder / "monmap")
        address = f"[v2:127.0.0.1:{port},v1:127.0.0.1:{port + 1}]"
        command = ["monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", address, monitors]
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

    def mount(self, node: Path) -> None:
        """Mounts the file system at a directory, which stands for a node."""
        node.mkdir(exist_ok=True)
        self.mounts[node] = process = self._spawn("ceph-fuse", "-n", "client.admin", "-f", str(node))
        while not os.path.ismount(node):
            if process.poll() is not None:
                raise OSError(f"ceph-fuse ended: {(self._folder / 'ceph-fuse.out').read_text()[-300:]}")
            time.sleep(0.02)

    def kill(self, node: Path) -> None:
        """Ends a node's mount as a crash would: without a word to the cluster."""
        process = self.mounts.pop(node)
        process.kill()
        process.wait()

    def leave(self, node: Path) -> None:
        """Unmounts a node as it should be: all that it has written is in the cluster then."""
        process = self.mounts.pop(node)
        process.terminate()
        process.wait()
        self.unmount(node)

    def unmount(self, node: Path) -> None:
        """Takes away what is left of a mount that was killed."""
        subprocess.run(["umount", "-l", str(node)], check=False, capture_output=True)

    def fence(self, node: Path) -> None:
        """Has the cluster take no more writes of a mount, so that others need not wait for it to time out.

        A real cluster knows its nodes by their addresses; here the mount's directory tells which it is.
        """
        for client in json_list(self.ceph("tell", "mds.a", "client", "ls")):
            if client["client_metadata"].get("mount_point") == str(node):
                self.ceph("tell", "mds.a", "client", "evict", f"id={client['id']}")

    def close(self) -> None:
        """Ends all of it. The monitor is the last, because the others want to tell it that they end."""
        for node in list(self.mounts):
            self.kill(node)
            self.unmount(node)
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()
        self._daemons.clear()


def json_list(text: str) -> list[dict]:  # type: ignore[type-arg]
    """A list of JSON that may have lines of a log in front of it."""
    import json

    value: list[dict] = json.loads(text[text.index("[") :])  # type: ignore[type-arg]
    return value
