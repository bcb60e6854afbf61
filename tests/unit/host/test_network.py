"""Networks of guests, in namespaces of the tests' own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import ip_interface
from pathlib import Path

import pytest
from guests import PYVMM, pyvmm, wait_until
from nethost import Host, needs_networks, network_host

from pyvmm.errors import ConfigError, HostError
from pyvmm.host import netns
from pyvmm.host.network import Network

FREE = Network(
    "lab", 1, [ip_interface("10.7.0.1/29"), ip_interface("fd77::1/64")], {"a": [ip_interface("10.7.0.2/29")]}
)


# ---- addresses ---------------------------------------------------------------------------


def test_each_guest_gets_the_first_free_address_of_each_subnet() -> None:
    assert [*map(str, FREE.free())] == ["10.7.0.3/29", "fd77::2/64"]
    assert [*map(str, FREE.free("10.7.0.6"))] == ["10.7.0.6/29", "fd77::2/64"]
    assert [*map(str, FREE.free("fd77::77"))] == ["10.7.0.3/29", "fd77::77/64"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("10.7.0.1", "another guest, or the host, has this address"),
        ("10.7.0.2", "another guest, or the host, has this address"),
        ("10.8.0.2", "not an address of network lab"),
        ("here", "not an IP address"),
    ],
)
def test_an_address_that_cannot_be_had_is_told(wanted: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FREE.free(wanted)


def test_a_network_may_be_full() -> None:
    guests = {str(i): [ip_interface(f"10.7.0.{i}/29")] for i in range(2, 7)}
    with pytest.raises(ConfigError, match=r"no address of 10\.7\.0\.0/29 is left"):
        Network("lab", 1, FREE.addresses[:1], guests).free()


# ---- mistakes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "ACTION is missing; try `pyvmm net --help`"),
        ("lst", "lst: not create, ls, rm, add; did you mean ls?"),
        ("create", "net create takes NETWORK"),
        ("rm a b c", "net rm takes NETWORK [GUEST]"),
        ("ls --subnet 10.0.0.0/8", "--subnet: of `net create` only, not of `net ls`"),
        ("create lab", "--subnet: which? such as 10.77.0.0/24, and fd77::/64 for IPv6"),
        ("create lab --subnet 10.77.0.1/24", "--subnet 10.77.0.1/24: not a subnet such as 10.77.0.0/24"),
        (
            "create lab --subnet 10.77.0.1/32",
            "--subnet 10.77.0.1/32: has no address for a guest; write 10.77.0.0/24, for example",
        ),
        ("create lab --subnet x", "--subnet x: not a subnet such as 10.77.0.0/24"),
        (
            "create lab --subnet 10.1.0.0/16 --subnet 10.2.0.0/16",
            "--subnet 10.2.0.0/16: one of IPv4 and one of IPv6 at most",
        ),
        ("create a/b --subnet 10.77.0.0/24", "net a/b: not 1 to 15 letters, digits, - and _"),
    ],
)
def test_mistakes_are_one_line(words: str, message: str) -> None:
    done = pyvmm("net", *words.split())
    assert (done.status, done.stdout, done.stderr) == (125, b"", f"pyvmm: {message}\n")


@pytest.mark.parametrize("name", ["nothing", "/absent", "/etc/passwd"])
def test_a_namespace_that_is_none_is_one_line(name: str) -> None:
    with pytest.raises((ConfigError, HostError)):
        netns.enter(name)
    done = pyvmm("boot", "x", "--netns", name)
    assert done.status == 125
    assert done.stderr.startswith(("pyvmm: --netns ", "pyvmm: netns "))
    assert done.stderr.count("\n") == 1


def test_a_folder_that_others_may_change_has_no_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = tmp_path / "pyvmm-netns"
    assert str(folder) in netns.folders()
    folder.mkdir(0o755)
    assert str(folder) in netns.folders()
    folder.chmod(0o777)
    assert str(folder) not in netns.folders()
    folder.rmdir()
    folder.symlink_to("/tmp")
    assert str(folder) not in netns.folders()


# ---- in the kernel -----------------------------------------------------------------------


@pytest.fixture(params=["root", "user-namespace"])
def host(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    options = ["--user", "--map-root-user"] if request.param == "user-namespace" else []
    with network_host(*options) as made:
        yield made


@needs_networks
def test_networks_come_and_go(host: Host) -> None:
    before = host.links()
    host.pyvmm("net", "create", "lab", "--subnet", "10.77.0.0/24", "--subnet", "fd77::/64")
    assert host.pyvmm("net", "ls") == "lab  10.77.0.1/24 fd77::1/64\n"
    path, *addresses = host.pyvmm("net", "add", "lab", f"web-{os.getpid()}", "10.77.0.9").split()
    assert addresses == ["10.77.0.9", "fd77::2"]
    (network,) = json.loads(host.pyvmm("net", "ls", "--json"))
    assert network["guests"] == {f"web-{os.getpid()}": ["10.77.0.9/24", "fd77::2/64"]}
    inside = host.run("nsenter", f"--net={path}", "ip", "--json", "-4", "route", "show", "default")
    assert json.loads(inside)[0]["gateway"] == "10.77.0.1"
    host.run("ping" if shutil.which("ping") else "true", "-c1", "10.77.0.9")
    host.pyvmm("net", "rm", "lab", f"web-{os.getpid()}")
    assert not Path(path).exists()
    host.pyvmm("net", "add", "lab", f"web-{os.getpid()}")
    host.pyvmm("net", "rm", "lab")
    assert not Path(path).exists()
    wait_until(lambda: host.links() == before, "nothing is left")
    assert host.pyvmm("net", "ls") == ""


@needs_networks
def test_what_is_there_already_is_told(host: Host) -> None:
    host.pyvmm("net", "create", "lab", "--subnet", "10.77.0.0/24")
    process = host.start(PYVMM, "net", "create", "lab", "--subnet", "10.78.0.0/24", stderr=subprocess.PIPE)
    assert (
        process.communicate(timeout=60)[1] == b"pyvmm: network lab: File exists; there is an interface of this name\n"
    )
    process = host.start(PYVMM, "net", "rm", "other", stderr=subprocess.PIPE)
    assert b"there is no such network" in process.communicate(timeout=60)[1]
    host.pyvmm("net", "rm", "lab")
