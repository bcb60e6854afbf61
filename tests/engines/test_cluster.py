"""Guests on a real CephFS: fail-over, a mount that dies, one that stalls."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from containers import EXAMPLES, needs, until
from guests import PYVMM, toro_image

sys.path.append(str(EXAMPLES / "cluster"))
from ceph import Ceph, Node
from failover import ask, fail_over

WEB = 8080  # the web server's port; the store has its own


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the store's and the web server's images."""
    needs("ppcx64")
    folder = tmp_path_factory.mktemp("images")
    for source in ("cluster/Journal.pas", "StaticWebServer/StaticWebServer.pas"):
        toro_image(EXAMPLES / source, folder)
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    needs("ceph", "ceph-mon", "ceph-osd", "ceph-mds", "ceph-fuse", "monmaptool")
    if os.geteuid() or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs root and /dev/fuse")
    with Ceph(tmp_path_factory.mktemp("ceph"), f"ceph{os.getpid()}", "10.211.77.0/24") as made:
        yield made


@pytest.fixture
def nodes(cluster: Ceph, images: Path) -> Iterator[tuple[Node, Node]]:
    """Two nodes; in what they have mounted are the images and an empty folder `data`."""
    made = cluster.add_node("node1"), cluster.add_node("node2")
    folder = made[0].folder
    for image in images.glob("*.elf"):
        shutil.copy(image, folder)
    shutil.rmtree(folder / "data", ignore_errors=True)
    (folder / "data").mkdir()
    yield made
    for node in made:
        cluster.remove_node(node)


@contextmanager
def web_server(node: Node) -> Iterator[subprocess.Popen[str]]:
    """StaticWebServer of a node's `data`, its image from the node as well."""
    command = [PYVMM, "boot", f"{node.folder}/StaticWebServer.elf", "--netns", node.netns, "--vsock", "6"]
    command += ["-p", f"{WEB}:80", "--share", f"{node.folder}/data:FS"]
    command += ["--append", "virtiovsocket,virtiofs,FS,noconsole"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "listening\n"
            yield process
        finally:
            process.kill()


def test_a_guest_moves_to_the_other_node_and_no_answered_write_is_lost(
    cluster: Ceph, nodes: tuple[Node, Node], record_property: pytest.RecordProperty
) -> None:
    with web_server(nodes[1]):
        outcome = fail_over(cluster, *nodes, seconds=2)
        status, journal = ask(nodes[1].address, "journal", WEB)
    record_property("seconds", outcome.seconds)
    print(f"{outcome.acknowledged} writes, {outcome.seconds:.1f} s from the kill to the first answer")
    assert outcome.acknowledged > 10
    assert outcome.lost == []
    assert status == 200
    assert len(journal.splitlines()) >= outcome.acknowledged  # what one node writes, the other node's guest serves


def test_a_mount_that_died_and_came_back_is_served_again(cluster: Ceph, nodes: tuple[Node, Node]) -> None:
    node = nodes[0]
    (node.folder / "data/page").write_text("a page")
    os.sync()
    with web_server(node) as server:
        assert ask(node.address, "page", WEB) == (200, "a page")
        cluster.kill(node)
        until(lambda: ask(node.address, "page", WEB)[0] == 503, "the guest says that the share fails")
        cluster.fence(node)
        cluster.unmount(node)
        cluster.mount(node)
        until(lambda: ask(node.address, "page", WEB) == (200, "a page"), "the new mount is served")
        server.terminate()
        _, said = server.communicate(timeout=30)
    assert "its file system was mounted anew" in said


def test_a_request_that_stalls_holds_up_nothing_else(cluster: Ceph, nodes: tuple[Node, Node]) -> None:
    """The data of a file that only the other node has read cannot be had while the OSD is stopped."""
    node, other = nodes
    (node.folder / "data/page").write_text("a page")
    (other.folder / "data/large").write_bytes(os.urandom(8 << 20))
    os.sync()
    with web_server(node) as server, stalled(cluster):
        stall = threading.Thread(target=ask, args=(node.address, "large", WEB))
        stall.start()
        assert [ask(node.address, "page", WEB) for _ in range(5)] == [(200, "a page")] * 5
        server.terminate()
        assert server.wait(20) == 143
        stall.join()
        assert not children_of(server.pid)


def test_a_boot_from_a_mount_that_stalls_is_interrupted(cluster: Ceph, nodes: tuple[Node, Node]) -> None:
    """Nothing interrupts opening the image (docs/limits.md), so the node has it open before, but has not read it."""
    node, other = nodes
    shutil.copy(other.folder / "Journal.elf", other.folder / "other.elf")
    cluster.leave(other)
    with (node.folder / "other.elf").open("rb"), stalled(cluster):
        boot = subprocess.Popen([PYVMM, "boot", "--no-cache", f"{node.folder}/other.elf"])
        until(lambda: sleeps(boot.pid), "it waits for the image")
        boot.send_signal(signal.SIGINT)
        status = boot.wait(20)
    assert status in (-signal.SIGINT, 130)


@contextmanager
def stalled(cluster: Ceph) -> Iterator[None]:
    """While it is open, no data can be had that is not in a node's cache."""
    osd = cluster.osd
    osd.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        osd.send_signal(signal.SIGCONT)


def sleeps(pid: int) -> bool:
    """Whether a process waits for an answer of FUSE, or for a page of a file."""
    place = Path(f"/proc/{pid}/wchan").read_text()
    return any(name in place for name in ("request_wait_answer", "folio_wait", "fuse"))


def children_of(pid: int) -> list[int]:
    """Processes of a group that still run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(entry.parent.name))
    return found
