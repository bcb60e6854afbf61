"""pyvmm.testing.fuzzer: finds what is wrong, makes it short, and finds nothing where nothing is wrong."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import broken
import pytest
from guests import needs_virtiofsd
from virtiodev import Echo

from pyvmm.errors import HostError, UsageError
from pyvmm.host.virtiofsd import Share, SocketBackend
from pyvmm.testing import Finding, Notify, Offer, Start, fuzz, run, target
from pyvmm.testing.payloads import FUSE_INIT, fuse_request
from pyvmm.testing.profile import profile_of
from pyvmm.testing.steps import Wait
from pyvmm.testing.targets import Backend
from pyvmm.virtio.device import Device


@pytest.mark.parametrize("device", [broken.WritesMore, broken.Keeps])
def test_a_mistake_is_found_once_and_made_short(device: type[Device]) -> None:
    found: list[Finding] = []
    report = fuzz(device, 2, found=found.append)
    assert report.findings[:1] == found[:1]
    kinds = [finding.kind for finding in report.findings]
    assert len(kinds) == len({*kinds})
    finding = report.findings[0]
    assert len(finding.steps) <= 5
    assert run(finding.steps, device, finding.honest).kind == finding.kind
    assert finding.problem in str(report)


def test_a_mistake_in_certain_data_is_found() -> None:
    class Digit(broken.Wrong):
        """Fails for a chain that begins with a byte above 127 and has two buffers to write to."""

        def serve(self, chain: object) -> int:
            views = chain.readable  # type: ignore[attr-defined]
            assert not views or views[0][0] < 128 or len(chain.writable) != 2  # type: ignore[attr-defined]
            return 0

    (finding,) = fuzz(Digit, 10).findings
    assert [step.readable for step in finding.steps if isinstance(step, Offer)] == [(b"\x80",)]


@pytest.mark.parametrize("name", ["console", "vsock"])
def test_nothing_is_found_in_our_devices(name: str) -> None:
    report = fuzz(target(name).make, 4)
    assert not report.findings, report
    assert report.steps >= report.cases > 0
    assert report.states


def test_nothing_is_found_in_a_device_of_two_queues() -> None:
    report = fuzz(Echo, 4)
    assert not report.findings, report


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "no such target; there are console, vsock, fs="),
        ("fs=", "no such target"),
        ("json:JSONDecoder", "not a subclass of pyvmm.Device"),
        ("nowhere:X", "ModuleNotFoundError"),
        ("/nowhere.py:X", "No such file or directory"),
    ],
)
def test_what_is_no_target_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        target(text)


@needs_virtiofsd
@pytest.mark.parametrize("kind", ["fs", "virtiofsd"])
def test_a_directory_is_served(kind: str, tmp_path: Path) -> None:
    made = target(f"{kind}={tmp_path}")
    profile = profile_of(made.make())
    assert (profile.device_id, len(profile.sizes), profile.config[:3]) == (26, 2, b"fs\0")
    session = [Start((8, 8)), Offer(1, (FUSE_INIT,), (4096,)), Notify(1), Wait((1,))]
    steps = [*session, Offer(1, (fuse_request(3, bytes(16)),), (4096,)), Notify(1), Wait((1,))]
    assert not run(steps, made.make, honest=True).problem


@needs_virtiofsd
def test_a_backend_that_dies_is_a_finding_and_no_finding_of_ours(tmp_path: Path) -> None:
    steps = [Start((8, 8)), Offer(1, (b"x",), (16,)), Notify(1), Wait()]
    assert "the backend has failed: virtiofsd" in run(steps, target(f"virtiofsd={tmp_path}").make).problem
    assert not run(steps, target(f"fs={tmp_path}").make).problem


def listens(path: Path) -> bool:
    """Whether one can connect; a socket has its name a little earlier."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A vhost-user backend that listens, and its target."""
    path = tmp_path / "backend"
    program = Path(__file__).parents[3] / "examples/VhostUser/motdfs.py"
    with subprocess.Popen([sys.executable, program, path], stdout=subprocess.PIPE) as process:
        while not listens(path):
            assert process.poll() is None
        yield f"vhost-user={path}", process
        process.kill()


def test_nothing_is_found_in_our_example_of_a_backend(backend: tuple[str, subprocess.Popen[bytes]]) -> None:
    report = fuzz(target(backend[0]).make, 2)
    assert not report.findings, report
    assert report.cases


def test_a_backend_that_is_gone_is_an_error(backend: tuple[str, subprocess.Popen[bytes]]) -> None:
    backend[1].kill()
    backend[1].wait()
    with pytest.raises(HostError, match="Connection refused"):
        fuzz(target(backend[0]).make, 2)


def test_a_backend_that_goes_while_it_is_looked_at_is_a_finding(backend: tuple[str, subprocess.Popen[bytes]]) -> None:
    class Dies(Backend):
        """Is killed as soon as it is started."""

        def activate(self, *how: Any) -> None:
            super().activate(*how)
            process = os.pidfd_open(backend[1].pid)
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [])

    path = backend[0].removeprefix("vhost-user=")
    report = fuzz(lambda: Dies("test", b"", SocketBackend(Share(f"socket={path}:any")), []), 5)
    assert [finding.problem for finding in report.findings] == ["the backend has failed: its backend has gone"]
