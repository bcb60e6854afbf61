"""What is advised when /dev/kvm cannot be opened."""

from __future__ import annotations

import os
import subprocess
import sys
from errno import EACCES, ENOENT
from pathlib import Path
from types import SimpleNamespace

import pytest

import pyvmm
from pyvmm.kvm import hints


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "_is_container", lambda: False)


def refused(monkeypatch: pytest.MonkeyPatch, mode: int, gid: int) -> str:
    status = os.stat_result((mode, 0, 0, 0, 0, gid, 0, 0, 0, 0))
    monkeypatch.setattr(hints, "os", SimpleNamespace(stat=lambda _: status))
    return hints.of_open("/dev/kvm", EACCES)


def test_a_group_that_may_is_to_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    hint = "it belongs to group 12345: run `sudo usermod -aG 12345 $USER` and log in again"
    assert refused(monkeypatch, 0o20660, 12345) == hint


@pytest.mark.parametrize(("mode", "gid"), [(0o20600, 12345), (0o20660, 0)])
@pytest.mark.parametrize("known", [True, False])
def test_group_kvm_is_made_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, mode: int, gid: int, known: bool
) -> None:
    monkeypatch.setattr(hints, "_has_group_kvm", lambda: known)
    make = "" if known else "sudo groupadd --system kvm; "
    give = f"{make}sudo chgrp kvm /dev/kvm; sudo chmod 660 /dev/kvm; sudo usermod -aG kvm $USER"
    assert refused(monkeypatch, mode, gid) == f"only root may use it here: run `{give}` and log in again"


@pytest.mark.parametrize("errno", [EACCES, ENOENT])
def test_a_container_must_be_given_the_device(monkeypatch: pytest.MonkeyPatch, errno: int) -> None:
    monkeypatch.setattr(hints, "_is_container", lambda: True)
    assert "`--device /dev/kvm`" in hints.of_open("/dev/kvm", errno)


def test_a_container_is_told_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(hints, "_CONTAINER_FILES", ("/absent",))
    monkeypatch.delenv("container", raising=False)
    assert not hints._is_container()
    monkeypatch.setenv("container", "podman")
    assert hints._is_container()


def test_as_a_script_it_tells_before_anything_is_built(tmp_path: Path) -> None:
    script = [sys.executable, "-S", str(Path(pyvmm.__file__).parent / "kvm/hints.py")]
    (tmp_path / "kvm").touch()
    assert subprocess.run([*script, str(tmp_path / "kvm")]).returncode == 0
    done = subprocess.run([*script, str(tmp_path / "absent")], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path}/absent: No such file or directory; ")
    assert done.stderr.count("\n") == 1
