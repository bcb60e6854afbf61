"""Guests by podman, as an ordinary user."""

from __future__ import annotations

import os
import shutil
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from pwd import getpwall, getpwnam, getpwuid

import pytest
from containers import RUNTIME, fetch, free_port, needs, run
from podman import Podman


def ordinary_user() -> str:
    """Who runs the tests; or, if that is root, somebody who has subordinate users (subuid(5))."""
    if os.geteuid():
        return getpwuid(os.geteuid()).pw_name
    known = {entry.pw_name for entry in getpwall()}
    file = Path("/etc/subuid")
    names = [line.partition(":")[0] for line in file.read_text().splitlines()] if file.exists() else []
    users = [name for name in names if name in known]
    if not users:
        pytest.skip("nobody has subordinate users in /etc/subuid")
    return users[0]


@pytest.fixture(scope="module")
def podman(archives: dict[str, Path]) -> Iterator[Podman]:
    needs("podman", "runc", "newuidmap", "slirp4netns", "runuser")
    user = ordinary_user()
    as_user = ["runuser", "-u", user, "--"] if not os.geteuid() else []
    for device in ("/dev/kvm", "/dev/net/tun"):
        if run([*as_user, "test", "-r", device, "-a", "-w", device], cwd="/").status:
            pytest.skip(f"{user} may not open {device}")
    tried = run([*as_user, RUNTIME.removesuffix("-oci"), "--help"], cwd="/")
    if tried.status or run([*as_user, "ls", sysconfig.get_path("stdlib")], cwd="/").status:
        pytest.skip(f"pyvmm, or its Python, is installed where {user} cannot read it")
    folder = Path(tempfile.mkdtemp(prefix="rootless"))
    made = Podman(folder, user if as_user else "")
    try:
        for archive in archives.values():
            shutil.copy(archive, folder / archive.name)
        os.chmod(folder, 0o700)
        if as_user:
            shutil.chown(folder, user)
            for file in folder.iterdir():
                shutil.chown(file, user)
        for archive in archives.values():
            made("load", "-q", "-i", str(folder / archive.name))
        tried = made("run", "--rm", "sidecar", runtime="runc")
        if tried.status != 7:
            pytest.skip(f"podman cannot run a container here as {user}: {tried.err[-300:]}")
        yield made
        made("rm", "-f", "-a", "-t", "1")
    finally:
        made("unshare", "rm", "-rf", f"{folder}/root")
        shutil.rmtree(folder, ignore_errors=True)


def test_hello(podman: Podman) -> None:
    done = podman("run", "--rm", "helloworld")
    assert done.status == 0, done
    assert done.out.startswith("Hello World, I am TORO!\n")


def test_a_server_with_a_volume(podman: Podman) -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as site:
        Path(site, "index.html").write_text("a page\n")
        os.chmod(site, 0o755)
        if not os.geteuid():
            os.chown(site, getpwnam(ordinary_user()).pw_uid, -1)
        words = ["-p", f"127.0.0.1:{port}:80", "-v", f"{site}:/FS", "staticwebserver", "virtiovsocket,virtiofs,FS"]
        name = podman.start(*words)
        assert fetch(port, "/") == "a page\n"
        podman.ok("stop", name)
        assert podman.ok("inspect", "--format", "{{.State.ExitCode}}", name) == "143"
