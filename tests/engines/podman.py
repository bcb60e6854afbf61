"""podman, with a store of its own."""

from __future__ import annotations

import os
from pathlib import Path
from pwd import getpwnam

from containers import RUNTIME, Done, run

CONFIG = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""


class Podman:
    """podman with a store in a folder.

    Args:
        folder: it.
        user: who runs it; by default who runs the tests.
    """

    def __init__(self, folder: Path, user: str = "") -> None:
        self._folder = folder
        (folder / "containers.conf").write_text(CONFIG)
        self._env = os.environ | {"CONTAINERS_CONF": str(folder / "containers.conf")}
        self._store = ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run"]
        if user:
            self._store = ["runuser", "-u", user, "--", *self._store]
            self._env |= {"XDG_RUNTIME_DIR": str(folder), "HOME": getpwnam(user).pw_dir}

    def __call__(self, *words: str, runtime: str = RUNTIME) -> Done:
        return run([*self._store, "--runtime", runtime, *words], env=self._env, cwd="/")

    def ok(self, *words: str) -> str:
        """The output of what must succeed."""
        done = self(*words)
        assert done.status == 0, done
        return done.out.strip()

    def close(self) -> None:
        """Ends and removes all containers, and the mount of the store itself, which podman leaves."""
        self("pod", "rm", "-f", "-a", "-t", "1")
        self("rm", "-f", "-a", "-t", "1")
        run(["umount", "--lazy", f"{self._folder}/root/overlay"])

    def start(self, *words: str) -> str:
        """A container in the background; returns its ID."""
        return self.ok("run", "-d", *words).splitlines()[-1]
