"""A host of the tests' own: a network namespace, in which nothing is but what they make."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from guests import PYVMM


def _can_make_networks() -> bool:
    code = "from pyroute2 import IPRoute\nwith IPRoute() as r: r.link('add', ifname='x', kind='bridge')"
    words = ["unshare", "--net", sys.executable, "-c", code]
    return bool(shutil.which("unshare")) and subprocess.run(words, capture_output=True).returncode == 0


needs_networks = pytest.mark.skipif(not _can_make_networks(), reason="needs root, bridges and veth")


#: Namespaces with names are its own as well.
_SET_UP = "mkdir -p /run/netns; mount -t tmpfs -o mode=755 tmpfs /run/netns; ip link set lo up; echo up; exec cat"


class Host:
    """A network namespace that stands for a host's; programs run in it."""

    def __init__(self, process: subprocess.Popen[bytes], user: bool) -> None:
        self._enter = ["nsenter", "--preserve-credentials", f"--target={process.pid}", "--net", "--mount"]
        self._enter += ["--user"] if user else []

    def start(self, *words: str, **how: object) -> subprocess.Popen[bytes]:
        """Starts a program there."""
        return subprocess.Popen([*self._enter, *words], **how)  # type: ignore[call-overload,no-any-return]

    def run(self, *words: str) -> str:
        """What a program prints that must succeed."""
        done = subprocess.run([*self._enter, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pyvmm(self, *words: str) -> str:
        return self.run(PYVMM, *words)

    def links(self) -> set[str]:
        """The names of all interfaces."""
        return {link["ifname"] for link in json.loads(self.run("ip", "--json", "link"))}


@contextmanager
def network_host(*options: str) -> Iterator[Host]:
    """Makes one; `options` are unshare's, for another user namespace."""
    with subprocess.Popen(
        ["unshare", "--net", "--mount", *options, "sh", "-c", _SET_UP],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"up\n"
        yield Host(process, bool(options))
        process.stdin.close()
