"""Guests by podman, as root."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError

import pytest
from containers import Done, fetch, free_port, needs, until
from podman import Podman

CAP_NET_BIND_SERVICE = 1 << 10  # to publish what a guest listens at
FILES = "virtiovsocket,virtiofs,FS"


@pytest.fixture(scope="module")
def podman(archives: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    needs("podman", "runc", "conmon")
    if os.geteuid():
        pytest.skip("needs root")
    made = Podman(tmp_path_factory.mktemp("podman"))
    try:
        loaded = [made("load", "-q", "-i", str(archive)) for archive in archives.values()]
        tried = made("run", "--rm", "sidecar", runtime="runc")
        if tried.status != 7:
            pytest.skip(f"podman cannot run a container here: {tried.err or loaded[0].err}")
        yield made
    finally:
        made.close()


def test_hello(podman: Podman) -> None:
    done = podman("run", "--rm", "helloworld")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("Hello World, I am TORO!\n")


def test_an_ordinary_container_is_the_real_runtime_s(podman: Podman) -> None:
    assert podman("run", "--rm", "sidecar") == Done(7, "Hello from Linux\n", "")


def test_a_server_s_port_logs_and_end(podman: Podman) -> None:
    port = free_port()
    name = podman.start("-p", f"127.0.0.1:{port}:80", "hashtableserver")
    assert fetch(port, "/color=red") == fetch(port, "/color") == "red\n"
    assert podman.ok("logs", name) == "listening"
    assert podman.ok("exec", name, "/opt/pyvmm/bin/pyvmm", "--version").startswith("pyvmm ")
    podman.ok("stop", "-t", "10", name)
    assert podman.ok("inspect", "--format", "{{.State.ExitCode}}", name) == "143"
    assert podman.ok("logs", name) == "listening"


def test_pyvmm_confines_itself_in_a_container(podman: Podman) -> None:
    name = podman.start("hashtableserver")
    pid = podman.ok("inspect", "--format", "{{.State.Pid}}", name)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {key: values.split() for key, _, values in (line.partition(":") for line in lines)}
    assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])
    assert int(status["CapEff"][0], 16) & ~CAP_NET_BIND_SERVICE == 0
    assert status["Uid"][:3] == ["65534"] * 3
    assert int(status["Seccomp_filters"][0]) >= 2, "the engine's, and pyvmm's own"
    podman.ok("stop", "-t", "10", name)


def test_a_health_check(podman: Podman) -> None:
    check = '["/opt/pyvmm/bin/pyvmm", "ping"]'
    name = podman.start("--health-cmd", check, "--health-interval", "disable", "hashtableserver")
    until(lambda: podman("healthcheck", "run", name).status == 0, "it is healthy")
    ping = ("exec", name, "/opt/pyvmm/bin/pyvmm", "ping")
    assert podman.ok(*ping) == ""
    (guest,) = json.loads(podman.ok("exec", name, "/opt/pyvmm/bin/pyvmm", "ps", "--json"))
    podman.ok("exec", name, "/opt/pyvmm/bin/pyvmm", "pause", guest["name"])
    assert podman(*ping).status == podman("healthcheck", "run", name).status == 1
    podman.ok("rm", "-f", "-t", "1", name)


def test_a_guest_that_was_killed_starts_again(podman: Podman) -> None:
    port = free_port()
    name = podman.start("-p", f"127.0.0.1:{port}:80", "hashtableserver")
    assert fetch(port, "/color=red") == "red\n"
    podman.ok("kill", name)
    assert podman.ok("wait", name) == "137"
    podman.ok("start", name)
    with pytest.raises(HTTPError, match="404"):
        fetch(port, "/color")
    assert fetch(port, "/color=blue") == "blue\n"
    podman.ok("rm", "-f", "-t", "1", name)


@pytest.mark.parametrize("how", [[], ["--read-only"], ["--cap-drop=all", "--cap-add=NET_BIND_SERVICE"]])
def test_a_volume_is_a_share(podman: Podman, site: Path, how: list[str]) -> None:
    port = free_port()
    volume = ["-p", f"127.0.0.1:{port}:80", "-v", f"{site}:/FS"]
    name = podman.start(*how, *volume, "staticwebserver", FILES)
    assert fetch(port, "/") == "a page\n"
    (site / "new.txt").write_text("since then\n")
    assert fetch(port, "/new.txt") == "since then\n"
    podman.ok("rm", "-f", "-t", "1", name)


def test_an_ordinary_user_in_the_container(podman: Podman, site: Path) -> None:
    port = free_port()
    user = ["--user", "1000:1000", "--security-opt=no-new-privileges", "--sysctl=net.ipv4.ip_unprivileged_port_start=0"]
    name = podman.start(*user, "-p", f"127.0.0.1:{port}:80", "-v", f"{site}:/FS:ro", "staticwebserver", FILES)
    assert fetch(port, "/") == "a page\n"
    podman.ok("rm", "-f", "-t", "1", name)


def test_limits_are_the_machine_s(podman: Podman) -> None:
    done = podman("run", "--rm", "-m", "96m", "--cpus", "2", "helloworld")
    assert done == Done(0, "Hello World, I am TORO!\n2 cores, 64 MiB of memory\n", "")


def test_twenty_guests(podman: Podman) -> None:
    ports = [free_port() for _ in range(20)]
    with ThreadPoolExecutor(2) as pool:
        names = list(pool.map(lambda port: podman.start("-p", f"127.0.0.1:{port}:80", "hashtableserver"), ports))
    for i, port in enumerate(ports):
        assert fetch(port, f"/key={i}") == f"{i}\n"
    assert [fetch(port, "/key") for port in ports] == [f"{i}\n" for i in range(20)]
    podman.ok("rm", "-f", "-t", "1", *names)


def test_two_guests_and_a_sidecar_in_a_pod(podman: Podman, site: Path) -> None:
    """They share a network: both programs listen at port 80, so one is published at another."""
    first, second = free_port(), free_port()
    published = ["-p", f"127.0.0.1:{first}:80", "-p", f"127.0.0.1:{second}:81"]
    pod = podman.ok("pod", "create", "--infra-image", "localhost/pause", "--infra-command", "/guest.elf", *published)
    table = podman.start("--pod", pod, "hashtableserver")
    web = podman.start(
        "--pod", pod, "--annotation", "run.pyvmm.ports=81:80", "-v", f"{site}:/FS", "staticwebserver", FILES
    )
    sidecar = podman.start("--pod", pod, "sidecar", "wait")
    assert fetch(first, "/a=1") == "1\n"
    assert fetch(second, "/") == "a page\n"
    assert podman.ok("logs", sidecar) == "Hello from Linux"
    states = json.loads(podman.ok("inspect", table, web, sidecar))
    assert [state["State"]["Running"] for state in states] == [True] * 3
    podman.ok("pod", "rm", "-f", "-t", "1", pod)


def test_a_wrong_setting_is_told_by_the_engine(podman: Podman) -> None:
    done = podman("run", "--rm", "--annotation", "run.pyvmm.cpus=many", "helloworld")
    assert done.status not in (0, 7)
    assert "--cpus many: not a number" in done.err
    assert "Traceback" not in done.err


def test_the_console_is_the_container_s_terminal(podman: Podman) -> None:
    done = podman("run", "--rm", "-t", "helloworld")
    assert (done.status, done.out.split("\n")[0].rstrip()) == (0, "Hello World, I am TORO!")


def test_a_guest_is_paused_and_goes_on(podman: Podman) -> None:
    port = free_port()
    name = podman.start("-p", f"127.0.0.1:{port}:80", "hashtableserver")
    assert fetch(port, "/a=1") == "1\n"
    podman.ok("pause", name)
    podman.ok("unpause", name)
    assert fetch(port, "/a") == "1\n"
    until(lambda: "hashtableserver" in podman.ok("ps"), "it is listed")
    podman.ok("rm", "-f", "-t", "1", name)
