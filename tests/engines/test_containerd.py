"""Guests by containerd: `ctr`, and the CRI socket that a kubelet uses."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from containers import RUNTIME, Done, fetch, free_port, needs, run, until
from cri import Cri

FILES = "virtiovsocket,virtiofs,FS"
CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
[grpc]
  address = "{folder}/containerd.sock"
[ttrpc]
  address = "{folder}/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:latest"
  disable_tcp_service = true
  disable_cgroup = true
  disable_apparmor = true
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.pyvmm]
  runtime_type = "io.containerd.runc.v2"
  pod_annotations = ["run.pyvmm.*"]
  container_annotations = ["run.pyvmm.*"]
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.pyvmm.options]
  BinaryName = "{runtime}"
"""


class Containerd:
    """containerd with a store in a folder."""

    def __init__(self, folder: Path) -> None:
        self.socket = f"{folder}/containerd.sock"
        self._folder = folder

    def ctr(self, *words: str) -> Done:
        return run(["ctr", "-a", self.socket, "-n", "k8s.io", *words])

    def ok(self, *words: str) -> str:
        """The output of what must succeed."""
        done = self.ctr(*words)
        assert done.status == 0, done
        return done.out.strip()

    def run(self, name: str, image: str, *options: str, words: tuple[str, ...] = ()) -> Done:
        """`ctr run` by our runtime."""
        runtime = ["--runtime", "io.containerd.runc.v2", "--runc-binary", RUNTIME, "--snapshotter", "native"]
        return self.ctr("run", *runtime, *options, f"localhost/{image}:latest", name, *words)

    def is_running(self, name: str) -> bool:
        return any(line.split()[::2] == [name, "RUNNING"] for line in self.ok("task", "ls").splitlines())


@contextmanager
def serving(folder: Path) -> Iterator[Containerd]:
    (folder / "config.toml").write_text(CONFIG.format(folder=folder, runtime=RUNTIME))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(["containerd", "--config", f"{folder}/config.toml"], stdout=log, stderr=log)
    made = Containerd(folder)
    try:
        until(lambda: made.ctr("version").status == 0 or process.poll() is not None, "containerd answers")
        if process.poll() is not None:
            pytest.skip(f"containerd does not run here: {(folder / 'log').read_text()[-300:]}")
        yield made
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def containerd(archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    needs("containerd", "ctr", "runc")
    with serving(tmp_path_factory.mktemp("containerd")) as made:
        for archive in archives.values():
            made.ok("image", "import", "--snapshotter", "native", str(archive))
        words = ["run", "--rm", "--snapshotter", "native", "localhost/sidecar:latest", "tried"]
        tried = made.ctr(*words)
        if tried.status != 7:
            pytest.skip(f"containerd cannot run a container here: {tried.err[-300:]}")
        yield made


def test_hello(containerd: Containerd) -> None:
    done = containerd.run("hello", "helloworld", "--rm")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("Hello World, I am TORO!\n")


def test_a_server_with_a_volume_ends_and_is_started_again(containerd: Containerd, site: Path, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    options = ["-d", "--net-host", "--annotation", f"run.pyvmm.ports={port}:80", "--log-uri", f"file://{log}"]
    mount = ["--mount", f"type=bind,src={site},dst=/FS,options=rbind:rw"]
    done = containerd.run("web", "staticwebserver", *options, *mount, words=("/guest.elf", FILES))
    assert done.status == 0, done
    assert fetch(port, "/") == "a page\n"
    assert log.read_text().startswith("listening\n")
    containerd.ok("task", "kill", "-s", "KILL", "web")
    until(lambda: not containerd.is_running("web"), "it has ended")
    containerd.ok("task", "rm", "--force", "web")
    containerd.ok("task", "start", "-d", "web")
    assert fetch(port, "/") == "a page\n"
    containerd.ok("task", "kill", "-s", "TERM", "web")
    until(lambda: not containerd.is_running("web"), "it has ended")
    assert "task web exit with non-zero exit code 143" in containerd.ctr("task", "rm", "web").err
    containerd.ok("container", "rm", "web")


def test_an_error_is_told_by_the_engine(containerd: Containerd) -> None:
    done = containerd.run("wrong", "helloworld", "--annotation", "run.pyvmm.mem=1K")
    assert done.status != 0
    assert "memory 1024: not a multiple of 4K from 16M to 512G" in done.err
    containerd.ctr("container", "rm", "wrong")


# ---- CRI ---------------------------------------------------------------------------------


@pytest.fixture
def cri(containerd: Containerd) -> Iterator[Cri]:
    pytest.importorskip("grpc", reason="grpcio is not installed (pip install grpcio)")
    with Cri(containerd.socket) as made:
        yield made


def test_a_pod_with_two_guests_and_a_sidecar(cri: Cri, site: Path, tmp_path: Path) -> None:
    """As a kubelet does it, with the RuntimeClass's handler; the pod has the node's network."""
    logs = tmp_path / "logs"
    logs.mkdir()
    table_port, web_port = free_port(), free_port()
    pod = cri.run_pod("pod", str(logs), handler="pyvmm")
    table = cri.start(
        pod, "table", "localhost/hashtableserver:latest", annotations={"run.pyvmm.ports": f"{table_port}:80"}
    )
    web = cri.start(
        pod, "web", "localhost/staticwebserver:latest", words=["/guest.elf", FILES], mounts={"/FS": str(site)},
        annotations={"run.pyvmm.ports": f"{web_port}:80"},
    )  # fmt: skip
    sidecar = cri.start(pod, "sidecar", "localhost/sidecar:latest", words=["/guest.elf", "wait"])
    assert fetch(table_port, "/a=1") == "1\n"
    assert fetch(web_port, "/") == "a page\n"
    assert (logs / "table.log").read_text().rstrip().endswith("stdout F listening")
    assert (logs / "sidecar.log").read_text().rstrip().endswith("stdout F Hello from Linux")
    cri.stop(table, seconds=10)
    until(lambda: cri.exit_code(table) is not None, "the guest has ended")
    assert cri.exit_code(table) == 143
    assert cri.exit_code(web) is None
    cri.remove_pod(pod, [table, web, sidecar])


def test_hello_in_a_pod(cri: Cri, tmp_path: Path) -> None:
    pod = cri.run_pod("hello", str(tmp_path), handler="pyvmm")
    hello = cri.start(pod, "hello", "localhost/helloworld:latest")
    until(lambda: cri.exit_code(hello) is not None, "the guest has ended")
    assert cri.exit_code(hello) == 0
    assert "Hello World, I am TORO!" in (tmp_path / "hello.log").read_text()
    cri.remove_pod(pod, [hello])
