"""Toro's files on shared directories, through the real virtiofsd."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from guests import PYVMM, Result, wait_until
from programs import Programs

from pyvmm._kvm import lib
from pyvmm.config import MachineConfig
from pyvmm.host.virtiofsd import PROGRAMS, Share, Virtiofsd
from pyvmm.machine import Machine
from pyvmm.virtio.fs import VirtioFs


@pytest.fixture(scope="module", autouse=True)
def _needs_virtiofsd() -> None:
    if not any(os.access(program, os.X_OK) for program, _ in PROGRAMS):
        pytest.skip("needs virtiofsd (Debian 12: qemu-system-common)")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory for the guest, beside which there is another file."""
    (tmp_path / "secret").write_text("secret")
    made = tmp_path / "shared"
    made.mkdir()
    return made


def all_ok(result: Result) -> int:
    """How many checks there were, all of which held."""
    assert result.stderr == ""
    lines = result.stdout.decode().splitlines()
    assert [line for line in lines if not line.startswith("ok ")] == []
    assert result.status == 0
    return len(lines)


@pytest.mark.parametrize(
    ("cpus", "cache", "protocol"),
    [(1, "auto", "direct"), (4, "auto", "direct"), (2, "none", "direct"), (2, "always", "pvh")],
)
def test_files(toro: Callable[..., Result], shared: Path, cpus: int, cache: str, protocol: str) -> None:
    (shared / "given").mkdir()
    (shared / "given/hello").write_text("Hello, world\n")
    (shared / "given/a name with spaces and ünïcödé").touch()
    options = ["--boot", protocol, "--cpus", str(cpus), "--share", f"{shared}:FS:cache={cache}"]
    assert all_ok(toro("Files", *options)) == 41
    assert sorted(path.name for path in shared.iterdir()) == ["given"]


def test_several_shares(toro: Callable[..., Result], shared: Path, tmp_path: Path) -> None:
    """The guest finds its own by the tag."""
    (shared / "file").touch()
    options = ["--share", f"{tmp_path}:OTHER", "--share", f"{shared}:FS:ro", "--share", f"{tmp_path}:{36 * 'x'}"]
    assert all_ok(toro("Shares", "--append", "readonly", *options)) == 10


def test_read_only(toro: Callable[..., Result], shared: Path) -> None:
    (shared / "file").write_text("as it was")
    assert all_ok(toro("Shares", "--append", "readonly", "--share", f"{shared}:FS:ro")) == 10
    assert [(path.name, path.read_text()) for path in shared.iterdir()] == [("file", "as it was")]


@pytest.mark.parametrize("read_only", ["", ":ro"])
@pytest.mark.parametrize("path", ["link", "link/", "link/../link/."])
def test_a_share_by_a_symbolic_link(
    toro: Callable[..., Result], shared: Path, tmp_path: Path, path: str, read_only: str
) -> None:
    (shared / "file").touch()
    (tmp_path / "link").symlink_to("shared")
    assert all_ok(toro("Shares", "--append", "stat,file", "--share", f"{tmp_path}/{path}:FS{read_only}")) == 2


@pytest.mark.parametrize("read_only", ["", ":ro"])
def test_the_root_directory_as_a_share(toro: Callable[..., Result], shared: Path, read_only: str) -> None:
    (shared / "file").touch()
    assert all_ok(toro("Shares", "--append", f"stat,{shared}/file", "--share", f"/:FS{read_only}")) == 2


def make_links(shared: Path) -> None:
    """What Links.pas expects."""
    (shared / "inside/sub").mkdir(parents=True)
    (shared / "inside/file").write_text("hello")
    (shared / "inside/sub/other").write_text("other")
    targets = {
        "relative": "inside/file",
        "directory": "inside",
        "inside/up": "../inside/file",
        "inside/sub/again": ".././../relative",
        "rooted": "//inside/file",
        "dots": 2030 * "./" + "directory/file",
        "above": "../inside/file",
        "inside/sub/far": "../../../shared/inside/file",
        "outside": "..",
        "absolute": str(shared / "inside/file"),
        "loop": "loop",
        "dangling": "inside/new",
    }
    targets |= {"chain1": "inside/file"} | {f"chain{i}": f"chain{i - 1}" for i in range(2, 42)}
    for name, target in targets.items():
        (shared / name).symlink_to(target)


@pytest.mark.parametrize("cache", ["auto", "none", "always"])
def test_symbolic_links_within_a_share_are_followed(toro: Callable[..., Result], shared: Path, cache: str) -> None:
    make_links(shared)
    assert all_ok(toro("Links", "--share", f"{shared}:FS:cache={cache}")) == 35


def test_what_is_outside_is_out_of_reach(toro: Callable[..., Result], shared: Path, tmp_path: Path) -> None:
    (shared / "inside").mkdir()
    (shared / "absolute").symlink_to(tmp_path / "secret")
    (shared / "relative").symlink_to("../secret")
    (shared / "outside").symlink_to(tmp_path)
    assert all_ok(toro("Shares", "--append", "escape", "--share", f"{shared}:FS")) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "shared"]


def children(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    try:
        own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []
    return [each for child in map(int, own) for each in (child, *children(child))]


def virtiofsds(pid: int) -> list[int]:
    """Those among a guest's: a confined one has a helper, too."""
    return [child for child in children(pid) if "virtiofsd" in Path(f"/proc/{child}/comm").read_text()]


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def start(programs: Programs, *options: str) -> subprocess.Popen[bytes]:
    command = [PYVMM, "boot", programs.image("Shares"), *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_the_host_sees_at_once_what_is_written(programs: Programs, shared: Path) -> None:
    with start(programs, "--append", "write", "--share", f"{shared}:FS") as guest:
        assert guest.stdout
        assert [guest.stdout.readline() for _ in range(2)] == [b"ok mounted\n", b"written\n"]
        assert (shared / "closed").read_text() == "12345"
        assert (shared / "synchronized").read_text() == "67890"
        modes = {path.name: oct(path.stat().st_mode & 0o7777) for path in shared.iterdir()}
        assert modes == {"closed": "0o644", "synchronized": "0o644", "directory": "0o755"}
        assert guest.communicate(b"x", timeout=60) == (b"", b"")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_when_pyvmm_is_killed(programs: Programs, shared: Path, number: int) -> None:
    before = set(Path("/tmp").glob("*virtiofsd*")) | set(Path("/run").rglob("*virtiofsd*"))
    with start(programs, "--append", "write", "--share", f"{shared}:FS") as guest:
        assert guest.stdout
        assert [guest.stdout.readline() for _ in range(2)] == [b"ok mounted\n", b"written\n"]
        started = children(guest.pid)
        assert started
        guest.send_signal(number)
        guest.wait(60)
        wait_until(lambda: not any(map(is_running, started)), "the end of virtiofsd")
    assert set(Path("/tmp").glob("*virtiofsd*")) | set(Path("/run").rglob("*virtiofsd*")) == before


@pytest.mark.slow
def test_a_tree_is_the_same_on_both_sides(toro: Callable[..., Result], shared: Path) -> None:
    """Files of 0 bytes to 1 GiB, deep directories, names with spaces and UTF-8."""
    deep = shared.joinpath(*["a directory"] * 40)
    deep.mkdir(parents=True)
    (shared / "ünïcödé 目录").mkdir()
    random = Random(1)
    for size in (0, 1, 4095, 4096, 4097, (1 << 20) - 1, (1 << 20) + 1, 50 << 20):
        for folder in (shared, deep, shared / "ünïcödé 目录"):
            (folder / f"a file of {size} bytes — ß").write_bytes(
                random.randbytes(size) if size < 1 << 24 else bytes(size)
            )
    with (shared / "1 GiB").open("wb") as file:
        for _ in range(64):
            file.write(random.randbytes(16 << 20))
    (shared / ("x" * 255)).write_bytes(b"its name is as long as can be")
    result = toro("Trees", "--mem", "512M", "--share", f"{shared}:FS:ro", timeout=100)
    assert (result.status, result.stderr) == (0, "")
    there = dict(line.split(" ", 1)[::-1] for line in result.stdout.decode().splitlines())
    here = {f"/{path.relative_to(shared)}": digest(path) for path in shared.rglob("*") if path.is_file()}
    assert there == here
    assert len(here) == 26


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.mark.parametrize(("cpus", "protocol"), [(1, "direct"), (3, "direct"), (2, "pvh")])
def test_a_virtiofsd_that_is_killed_is_replaced_and_the_guest_goes_on(
    programs: Programs, shared: Path, cpus: int, protocol: str
) -> None:
    """With the right data, through the handles that it had."""
    (shared / "dir").mkdir()
    big = shared / "dir/big"
    big.write_bytes(Random(2).randbytes(10 << 20))
    command = [
        PYVMM,
        "boot",
        programs.image("Trees"),
        "--append",
        "loop",
        "--share",
        f"{shared}:FS",
        "--cpus",
        str(cpus),
    ]
    kills, lines, killed = 0, [], set()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as guest:
        assert guest.stdout
        assert guest.stderr
        for line in guest.stdout:
            lines.append(line.decode().split())
            if len(lines) % (2 * cpus) == 0 and lines[-1][1] != "10":
                server = min(virtiofsds(guest.pid))  # its child goes with it
                assert server not in killed
                killed.add(server)
                os.kill(server, signal.SIGKILL)
                kills += 1
        complaints = guest.stderr.read().decode().splitlines()
        assert guest.wait(60) == 0
    assert kills >= 3
    assert [line[2:] for line in lines] == [[digest(big), "1", str(10 << 20)]] * 10 * cpus
    assert complaints == ["pyvmm: fs at 0xfeb00000 stopped: virtiofsd was killed by signal 9"] * kills


def test_requests_pass_by_the_vmm(programs: Programs, shared: Path) -> None:
    """Once notifications are no exits any more, and interrupts never were our work."""
    (shared / "dir").mkdir()
    (shared / "dir/big").write_bytes(bytes(20 << 20))
    config = MachineConfig(programs.image("Trees"), command_line="loop")
    with Machine(config, [device_of(shared)], console=(0, 1)) as machine:
        assert machine.run() == 0
        exits = machine.measures.exits()
    # 200 reads of 1 MiB, of 8 requests each
    assert exits[lib.KVM_EXIT_MMIO] < 500


def device_of(shared: Path) -> VirtioFs:
    share = Share(f"{shared}:FS")
    return VirtioFs("share", b"FS", Virtiofsd(share, print), print)


def test_without_restart_the_guest_is_told_of_an_error(programs: Programs, shared: Path) -> None:
    (shared / "dir").mkdir()
    (shared / "dir/big").write_bytes(bytes(10 << 20))
    command = [PYVMM, "boot", programs.image("Trees"), "--append", "loop", "--share", f"{shared}:FS:restart=no"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as guest:
        assert guest.stdout
        assert guest.stdout.readline().startswith(b"round 1 ")
        server = min(virtiofsds(guest.pid))  # its child goes with it
        os.kill(server, signal.SIGKILL)
        rest = guest.stdout.read().decode().splitlines()
        assert guest.wait(60) == 0
    assert rest[-1] == "round 10 error 5 0 -5"
