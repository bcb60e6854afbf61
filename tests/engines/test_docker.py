"""Guests by Docker, in a daemon of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import RUNTIME, Done, fetch, free_port, needs, run, until

FILES = "virtiovsocket,virtiofs,FS"
_BRIDGE = "pyvmm-test0"


def ip(*words: str) -> None:
    run(["ip", *words])


class Docker:
    """dockerd with a store in a folder, and a bridge of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._host = folder, f"unix://{folder}/docker.sock"
        words = ["dockerd", "--host", self._host, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
        words += ["--pidfile", f"{folder}/pid", "--storage-driver", "vfs", "--add-runtime", f"pyvmm={RUNTIME}"]
        # Without iptables, the daemon's proxy carries published ports.
        words += ["--bridge", _BRIDGE, "--iptables=false", "--ip6tables=false", "--ip-masq=false"]
        ip("link", "add", _BRIDGE, "type", "bridge")
        ip("address", "add", "10.231.77.1/24", "dev", _BRIDGE)
        ip("link", "set", _BRIDGE, "up")
        self._log = folder / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)

    def has_started(self) -> bool:
        until(lambda: self("version").status == 0 or self._process.poll() is not None, "dockerd answers")
        return self._process.poll() is None

    def why(self) -> str:
        return self._log.read_text()[-300:]

    def __call__(self, *words: str) -> Done:
        return run(["docker", "-H", self._host, *words])

    def ok(self, *words: str) -> str:
        """The output of what must succeed."""
        done = self(*words)
        assert done.status == 0, done
        return done.out.strip()

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(60)
        ip("link", "delete", _BRIDGE)
        run(["umount", f"{self._folder}/exec/netns/default"])


@pytest.fixture(scope="module")
def docker(archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    needs("dockerd", "docker", "ip", "containerd", "runc")
    if os.geteuid():
        pytest.skip("needs root")
    made = Docker(tmp_path_factory.mktemp("docker"))
    try:
        if not made.has_started():
            pytest.skip(f"dockerd does not run here: {made.why()}")
        for archive in archives.values():
            made.ok("load", "-q", "-i", str(archive))
        tried = made("run", "--rm", "localhost/sidecar")
        if tried.status != 7:
            pytest.skip(f"Docker cannot run a container here: {tried.err[-300:]}")
        yield made
    finally:
        made.close()


def test_hello(docker: Docker) -> None:
    done = docker("run", "--rm", "--runtime", "pyvmm", "localhost/helloworld")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("Hello World, I am TORO!\n")


def test_an_ordinary_container_is_the_real_runtime_s(docker: Docker) -> None:
    assert docker("run", "--rm", "--runtime", "pyvmm", "localhost/sidecar") == Done(7, "Hello from Linux\n", "")


def test_a_server_with_a_volume_ends_and_is_started_again(docker: Docker, site: Path) -> None:
    port = free_port()
    options = ["-p", f"127.0.0.1:{port}:80", "-v", f"{site}:/FS"]
    name = docker.ok("run", "-d", "--runtime", "pyvmm", *options, "localhost/staticwebserver", FILES)
    assert fetch(port, "/") == "a page\n"
    assert docker.ok("logs", name).startswith("listening")
    docker.ok("kill", name)
    assert docker.ok("wait", name) == "137"
    docker.ok("start", name)
    assert fetch(port, "/") == "a page\n"
    docker.ok("stop", name)
    assert docker.ok("inspect", "--format", "{{.State.ExitCode}}", name) == "143"
    docker.ok("rm", name)


def test_settings_are_a_file_where_an_engine_passes_no_annotations(docker: Docker, tmp_path: Path) -> None:
    port = free_port()
    settings = tmp_path / "pyvmm.json"
    settings.write_text('{"ports": ["8080:80"], "mem": "32M"}')
    options = ["-p", f"127.0.0.1:{port}:8080", "-v", f"{settings}:/pyvmm.json:ro"]
    name = docker.ok("run", "-d", "--runtime", "pyvmm", *options, "localhost/hashtableserver")
    assert fetch(port, "/a=1") == "1\n"
    docker.ok("rm", "-f", name)
