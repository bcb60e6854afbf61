"""`pyvmm-oci`, with a program in the place of the real runtime, and `pyvmm oci` behind it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from bundles import TORO, write_bundle
from guests import PYVMM

RUNTIME = f"{PYVMM}-oci"
pytestmark = [
    pytest.mark.skipif(not os.path.exists(RUNTIME), reason="pyvmm-oci is not installed: Python is there as no library"),
    pytest.mark.skipif(not os.path.exists("/dev/kvm"), reason="needs /dev/kvm"),
]


def run(*words: str, folder: Path | None = None, runtime: str = "/bin/echo") -> subprocess.CompletedProcess[str]:
    """What the runtime says that `pyvmm-oci` becomes."""
    environment = os.environ | {"PYVMM_OCI_RUNTIME": runtime}
    return subprocess.run([RUNTIME, *words], capture_output=True, text=True, timeout=60, env=environment, cwd=folder)


def config(folder: Path) -> dict[str, dict[str, list[str]]]:
    value: dict[str, dict[str, list[str]]] = json.loads((folder / "config.json").read_text())
    return value


@pytest.mark.parametrize(
    "words",
    [
        "--version",
        "features",
        "--root /r --log l --log-format json --systemd-cgroup state x",
        "--root=/create start x",
        "--root create kill x 15",
        "exec --process p.json x create",
        "delete --force x",
        "",
    ],
)
def test_all_but_create_and_run_are_the_runtime_s(tmp_path: Path, words: str) -> None:
    write_bundle(tmp_path)
    before = config(tmp_path)
    done = run(*words.split(), folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout == f"{words}\n" or words.startswith("--version")
    assert config(tmp_path) == before


@pytest.mark.parametrize(
    "words",
    [
        "create --bundle {} --pid-file p x",
        "--root /r --log-format json run -b {} x",
        "--systemd-cgroup create x --bundle={}",
        "create -b={} x",
    ],
)
def test_a_guest_s_bundle_is_rewritten_before_the_runtime_sees_it(tmp_path: Path, words: str) -> None:
    write_bundle(tmp_path)
    words = words.format(tmp_path)
    done = run(*words.split())
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{words}\n", "")
    assert config(tmp_path)["process"]["args"] == ["/opt/pyvmm/bin/pyvmm", "boot", "/opt/pyvmm/guest"]
    again = config(tmp_path)
    assert run(*words.split()).returncode == 0
    assert config(tmp_path) == again


def test_the_bundle_is_the_working_directory_by_default(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    assert run("create", "x", folder=tmp_path).returncode == 0
    assert config(tmp_path)["process"]["args"][0] == "/opt/pyvmm/bin/pyvmm"


def test_an_ordinary_container_is_left_alone(tmp_path: Path) -> None:
    (write_bundle(tmp_path) / "guest").write_bytes(b"#!/bin/sh\n")
    before = (tmp_path / "config.json").read_bytes()
    assert run("create", "--bundle", str(tmp_path), "x").returncode == 0
    assert (tmp_path / "config.json").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["config.json", "rootfs"]


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"run.pyvmm.mem": "1K"}, "memory 1024: not a multiple of 4K from 16M to 512G"),
        ({"run.pyvmm.foo": "1"}, "annotation run.pyvmm.foo: no such setting: foo"),
        ({"run.pyvmm.cpus": "x"}, "--cpus x: not a number"),
    ],
)
def test_an_error_is_a_line_and_in_the_log_and_there_is_no_container(
    tmp_path: Path, annotation: dict[str, str], message: str
) -> None:
    write_bundle(tmp_path, annotations=annotation)
    log = tmp_path / "log.json"
    done = run("--log", str(log), "--log-format", "json", "create", "--bundle", str(tmp_path), "x")
    assert (done.returncode, done.stdout) == (125, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    entry = json.loads(log.read_text())
    assert entry["level"] == "error"
    assert message in entry["msg"]


def test_a_damaged_image_is_named_as_in_the_container(tmp_path: Path) -> None:
    root = write_bundle(tmp_path)
    (root / "guest").write_bytes(TORO[:-8] + b"\0" * 8)  # the note's end
    done = run("create", "--bundle", str(tmp_path), "x")
    assert done.returncode in (0, 125)
    assert "/proc/self/fd" not in done.stderr


def test_a_runtime_that_is_not_there_is_a_line(tmp_path: Path) -> None:
    done = run("state", "x", runtime="/no/runc")
    assert done.returncode == 125
    assert done.stderr == "pyvmm-oci: /no/runc: No such file or directory; name another runtime by PYVMM_OCI_RUNTIME\n"


def test_a_link_s_name_names_the_runtime(tmp_path: Path) -> None:
    link = tmp_path / "pyvmm-oci-echo"
    link.symlink_to(RUNTIME)
    write_bundle(tmp_path)
    done = subprocess.run([link, "create", "--bundle", tmp_path, "x"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"create --bundle {tmp_path} x\n")
    assert config(tmp_path)["process"]["args"][0] == "/opt/pyvmm/bin/pyvmm"


@pytest.mark.skipif(
    subprocess.run(["unshare", "--user", "--map-root-user", "true"], capture_output=True).returncode != 0,
    reason="needs user namespaces",
)
@pytest.mark.parametrize(
    ("words", "passed"),
    [("create --bundle . x", True), ("create --preserve-fds 2 x", False), ("run --preserve-fds=1 x", False)],
)
def test_without_root_the_container_gets_an_open_kvm(tmp_path: Path, words: str, passed: bool) -> None:
    """The runtime takes from it the group by which the user may open that."""
    write_bundle(tmp_path)
    runtime = tmp_path / "runtime"
    runtime.write_text('#!/bin/sh\nreadlink "/proc/$$/fd/3"; echo "$@"\n')
    runtime.chmod(0o755)
    environment = os.environ | {"PYVMM_OCI_RUNTIME": str(runtime)}
    command = ["unshare", "--user", "--map-root-user", RUNTIME, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, cwd=tmp_path)
    first, *rest = words.split()
    said = f"/dev/kvm\n{' '.join([first, '--preserve-fds=1', *rest])}\n" if passed else f"{words}\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert ("PYVMM_KVM_FD=3" in config(tmp_path)["process"]["env"]) == passed
