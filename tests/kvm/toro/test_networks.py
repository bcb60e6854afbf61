"""Guests with addresses of their own: reached from the host, from other namespaces and by each other."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from guests import PYVMM, wait_until
from nethost import Host, needs_networks, network_host
from programs import Programs

EXAMPLES = Path(__file__).parents[3] / "examples"
pytestmark = [needs_networks, pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")]


@pytest.fixture(params=["root", "user-namespace"])
def host(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    options = ["--user", "--map-root-user"] if request.param == "user-namespace" else []
    with network_host(*options) as made:
        made.pyvmm("net", "create", "lab", "--subnet", "10.77.0.0/24", "--subnet", "fd77::/64")
        yield made


@contextmanager
def serving(host: Host, image: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A guest that serves HTTP, once it listens."""
    command = [PYVMM, "boot", image, "--vsock", "5", "-p", "80:80", *options]
    with host.start(*command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        assert process.stdout.readline() == b"listening\n"
        try:
            yield process
        finally:
            process.kill()


def fetch(host: Host, url: str, *before: str) -> str:
    return host.run(*before, "curl", "--silent", "--show-error", "--globoff", "--max-time", "30", url)


def test_three_guests_have_addresses_of_their_own(host: Host, programs: Programs) -> None:
    image = programs.image(EXAMPLES / "HashTableServer/HashTableServer.pas")
    before = host.links()
    client = f"client-{os.getpid()}"
    inside, *_ = host.pyvmm("net", "add", "lab", client, "10.77.0.100").split()
    with ExitStack() as guests:
        started = [
            guests.enter_context(serving(host, image, "--name", f"guest{i}", "--net", f"lab:10.77.0.{10 + i}"))
            for i in range(3)
        ]
        for i in range(3):  # each has a table of its own, and one port 80
            assert fetch(host, f"http://10.77.0.{10 + i}/name=guest{i}") == f"guest{i}\n"
        for i in range(3):
            assert fetch(host, f"http://10.77.0.{10 + i}/name") == f"guest{i}\n"
            assert fetch(host, f"http://10.77.0.{10 + i}/name", "nsenter", f"--net={inside}") == f"guest{i}\n"
        (network,) = json.loads(host.pyvmm("net", "ls", "--json"))
        assert {*network["guests"]} == {client, "guest0", "guest1", "guest2"}
        for i in range(3):
            address = next(each for each in network["guests"][f"guest{i}"] if ":" in each).partition("/")[0]
            assert fetch(host, f"http://[{address}]/name") == f"guest{i}\n"
        listed = {guest["name"]: guest for guest in json.loads(host.pyvmm("ps", "--json"))}
        assert listed["guest1"]["network"].split()[:2] == ["lab", "10.77.0.11"]
        assert listed["guest1"]["ports"] == [{"address": "::", "port": 80, "guest_port": 80}]
        started[0].send_signal(signal.SIGKILL)
        host.pyvmm("stop", "guest1")
        started[2].send_signal(signal.SIGTERM)
        for process in started:
            process.wait(60)
        wait_until(lambda: len(json.loads(host.pyvmm("net", "ls", "--json"))[0]["guests"]) == 1, "they are gone")
    host.pyvmm("net", "rm", "lab")
    wait_until(lambda: host.links() == before - {"lab"}, "nothing is left")
    assert not Path(inside).exists()
    assert host.pyvmm("ps", "--json") == "[]\n"


def test_a_guest_in_a_namespace_that_is_there_is_reached_in_it(host: Host, programs: Programs) -> None:
    image = programs.image(EXAMPLES / "HashTableServer/HashTableServer.pas")
    name = f"web-{os.getpid()}"
    path, address, _ = host.pyvmm("net", "add", "lab", name).split()
    for namespace in (name, path):
        with serving(host, image, "--netns", namespace):
            assert fetch(host, f"http://{address}/x=1") == "1\n"
    host.pyvmm("net", "rm", "lab")


def test_guests_of_a_network_reach_each_other(host: Host, programs: Programs) -> None:
    """The second guest's vsock port 80 of CID 2 leads to the first guest."""
    image = programs.image(EXAMPLES / "HashTableServer/HashTableServer.pas")
    with serving(host, image, "--name", "first", "--net", "lab:10.77.0.10"):
        command = [PYVMM, "boot", programs.image("HttpClient"), "--vsock", "6", "--allow", "80=10.77.0.10:80"]
        with host.start(*command, "--net", "lab", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as second:
            assert second.communicate(timeout=60)[0].startswith(b"HTTP/1.0 200 OK")
    host.pyvmm("net", "rm", "lab")
