"""The boot cache: what a boot finds there, and that a guest cannot tell."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from guests import ECHO, PYVMM, Assembler, Result, pyvmm, wait_until

HELLO = 'print text, 6\n exit 7\n .data\n text: .ascii "hello\\n"'
SAID = Result(7, b"hello\n", "")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Cache:
    """A boot cache of a test's own."""

    def __init__(self, home: Path) -> None:
        self.home, self.directory = home, home / "pyvmm/boot"

    def boot(self, *words: str, **how: Any) -> Result:
        """Boots with it."""
        return pyvmm("boot", *words, env={**os.environ, "XDG_CACHE_HOME": str(self.home)}, **how)

    def files(self) -> dict[str, tuple[int, int]]:
        """What is in it; one that is written anew is another."""
        status = {path.name: path.stat(follow_symlinks=False) for path in self.directory.glob("*")}
        return {name: (each.st_ino, each.st_ctime_ns) for name, each in status.items()}

    def hits(self, *words: str, result: Result = SAID) -> bool:
        """Boots; whether the State was there. If not, it is from then on."""
        before = self.files()
        assert self.boot(*words) == result
        assert self.files()
        return self.files() == before

    @property
    def entry(self) -> Path:
        """The only one."""
        (entry,) = self.directory.iterdir()
        return entry


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty one, which is not even there."""
    return Cache(tmp_path / "home/cache")


@pytest.fixture
def image(assemble: Assembler, tmp_path: Path) -> str:
    """A guest that says hello; the test may change it."""
    shutil.copy(assemble(HELLO), tmp_path / "hello.elf")
    return str(tmp_path / "hello.elf")


@pytest.fixture
def primed(cache: Cache, image: str) -> Cache:
    """With that guest in it."""
    assert not cache.hits(image)
    assert cache.hits(image)
    return cache


# ---- both ways are the same ----------------------------------------------------------------


def test_a_cached_guest_runs_without_an_interpreter(primed: Cache, image: str, tmp_path: Path) -> None:
    times = tmp_path / "times.json"
    assert primed.boot(image, f"--timing={times}") == SAID
    assert json.loads(times.read_text())["interpreter"] is False
    assert "interpreter: not started\n" in primed.boot(image, "--timing").stderr
    assert primed.boot(image, f"--timing={times}", "--no-cache") == SAID
    assert json.loads(times.read_text())["interpreter"] is True


def test_nothing_is_read_or_written_with_no_cache(cache: Cache, image: str) -> None:
    assert cache.boot(image, "--no-cache") == SAID
    assert not cache.home.exists()


def test_directory_and_entry_are_its_user_s_alone(primed: Cache) -> None:
    assert stat.S_IMODE(primed.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(primed.entry.stat().st_mode) == 0o600


def test_a_guest_that_reads_goes_on_with_python(cache: Cache, assemble: Assembler) -> None:
    for _ in range(2):
        assert cache.boot(assemble(ECHO), stdin=b"some textq") == Result(9, b"some text", "")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_is_kept_until_python_takes_it(cache: Cache, assemble: Assembler, number: int, status: int) -> None:
    """A guest with devices runs before there is anybody else to take one."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache.home)}
    image = assemble('print ready, 6\n cli\n1: jmp 1b\n .data\n ready: .ascii "ready\\n"')
    for _ in range(2):
        words = [PYVMM, "boot", image, "--vsock", "5"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as guest:
            assert guest.stdout
            assert guest.stdout.read(6) == b"ready\n"
            guest.send_signal(number)
            assert (guest.communicate(timeout=60), guest.returncode) == ((b"", b""), status)


@pytest.mark.parametrize("source", ["mov al, 1\n out 0x80, al\n ud2", "mov eax, [0x7fffffff0000]\n exit 1"])
def test_a_guest_that_fails_fails_the_same_way(cache: Cache, assemble: Assembler, source: str) -> None:
    first, second, third = (cache.boot(assemble(source), *words) for words in ([], [], ["--no-cache"]))
    assert (first.status, first.stderr[:12]) == (124, "pyvmm: vCPU ")
    assert first == second == third


@pytest.mark.parametrize(
    "words",
    [
        ["--timing=times.txt"], ["--timing="], ["--timing", "--timing"], ["--pin", "x"], ["--pin", "0", "--pin", "0"],
        ["--cpus", "0"], ["--mem"], ["--no-cache=1"], ["--zzz"], ["other.elf"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_mistake_is_told_of_before_a_guest_runs(primed: Cache, image: str, words: list[str]) -> None:
    told = primed.boot(image, *words)
    assert (told.status, told.stdout, told.stderr.count("\n")) == (125, b"", 1)
    primed.entry.unlink()
    assert primed.boot(image, *words) == told


# ---- what it depends on --------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [["--timing"], ["--pin", "0"], ["--timing", "--pin=auto"]],
    ids=" ".join,
)
def test_what_does_not_matter_hits(primed: Cache, image: str, words: list[str]) -> None:
    before = primed.files()
    told = primed.boot(image, *words)
    assert (told.status, told.stdout) == (7, b"hello\n")
    assert primed.files() == before


@pytest.mark.parametrize(
    "words",
    [
        ["--mem", "64M"], ["--mem", "128M"], ["--append", "text"], ["--append", ""], ["--boot", "direct"],
        ["--vsock", "5"], ["--console", "virtio=file:/dev/null"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_matters_has_an_entry_of_its_own(primed: Cache, image: str, words: list[str]) -> None:
    assert not primed.hits(image, *words)
    assert primed.hits(image, *words)
    assert primed.hits(image)


def test_the_number_of_vcpus_matters(cache: Cache, assemble: Assembler) -> None:
    image = assemble("test esi, esi\n jz 2f\n1: hlt\n jmp 1b\n2: mov al, [rdi + 12]\n out 0xf4, al")
    for words, cpus in (([], 1), (["--cpus", "2"], 2), (["--cpus", "3"], 3)):
        assert not cache.hits(image, *words, result=Result(cpus, b"", ""))
        assert cache.hits(image, *words, result=Result(cpus, b"", ""))


def test_ports_do_not_matter(cache: Cache, image: str) -> None:
    assert cache.boot(image, "--vsock", "5", "-p", "0:80").status == 7
    before = cache.files()
    for words in (["7", "-p", "0:81"], ["5"], ["5", "-p", "127.0.0.1:0:80", "-p", "0:9", "--allow", "all"]):
        assert cache.boot(image, "--vsock", *words).status == 7
    assert cache.files() == before


def test_the_same_options_in_other_words_hit(cache: Cache, image: str) -> None:
    assert not cache.hits(image, "--mem", "64M", "--append=x")
    assert cache.hits("--append", "x", "--mem=64M", image)


def test_an_image_with_other_contents_is_another(primed: Cache, image: str) -> None:
    data = Path(image).read_bytes()
    before = os.stat(image)
    Path(image).write_bytes(data.replace(b"hello\n", b"Hullo\n"))
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))  # ctime tells
    assert not primed.hits(image, result=Result(7, b"Hullo\n", ""))


def test_an_image_that_is_replaced_or_touched_is_another(primed: Cache, image: str) -> None:
    shutil.copy(image, f"{image}.new")
    os.rename(f"{image}.new", image)
    assert not primed.hits(image)
    assert primed.hits(image)
    os.utime(image)
    assert not primed.hits(image)


def test_an_image_that_is_gone_is_one_line(primed: Cache, image: str) -> None:
    os.unlink(image)
    assert primed.boot(image) == Result(125, b"", f"pyvmm: {image}: No such file or directory\n")


def test_another_executable_has_entries_of_its_own(primed: Cache, image: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").symlink_to(Path(PYVMM).parents[1] / "lib")
    shutil.copy(PYVMM, tmp_path / "bin/pyvmm")
    environment = {**os.environ, "XDG_CACHE_HOME": str(primed.home)}
    for count in (2, 2):
        done = subprocess.run([tmp_path / "bin/pyvmm", "boot", image], capture_output=True, env=environment, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (7, b"hello\n", b"")
        assert len(primed.files()) == count


def test_linux_and_its_initial_ram_disk(cache: Cache, image: str, tmp_path: Path) -> None:
    disk = tmp_path / "initrd"
    disk.write_bytes(b"files")
    words = [image, "--boot", "linux", "--initrd", str(disk)]
    assert not cache.hits(*words)
    assert cache.hits(*words)
    assert not cache.hits(*words[:3])
    disk.write_bytes(b"other")
    assert not cache.hits(*words)
    disk.unlink()
    assert cache.boot(*words) == Result(125, b"", f"pyvmm: {disk}: No such file or directory\n")


# ---- entries that are not good -------------------------------------------------------------


def _cut(size: int) -> Any:
    return lambda entry: os.truncate(entry, size)


def _flip(at: int) -> Any:
    def change(entry: Path) -> None:
        data = bytearray(entry.read_bytes())
        data[at % len(data)] ^= 0x10
        entry.write_bytes(data)

    return change


def _link(entry: Path) -> None:
    os.rename(entry, entry.parents[2] / "elsewhere")
    entry.symlink_to(entry.parents[2] / "elsewhere")


def _directory(entry: Path) -> None:
    entry.unlink()
    entry.mkdir()


BAD = {
    "empty": _cut(0),
    "header": _cut(100),
    "head": _cut(4096),
    "pages": _cut(20000),
    "longer": _cut(1 << 20),
    "readable": lambda entry: entry.chmod(0o644),
    "unreadable": lambda entry: entry.chmod(0o000),
    "symlink": _link,
    "fifo": lambda entry: (entry.unlink(), os.mkfifo(entry, 0o600)),
    # Magic, version, sizes, sums, memory, flags, the table, key, registers, the first page and the last byte.
    **{f"byte {at}": _flip(at) for at in (0, 8, 16, 24, 32, 40, 48, 56, 60, 223, 224, 600, 900, 3000, 9000, -1)},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_a_bad_entry_is_as_if_absent(primed: Cache, image: str, change: Any) -> None:
    if change is BAD["unreadable"] and os.geteuid() == 0:
        pytest.skip("root reads it")
    change(primed.entry)
    assert not primed.hits(image)
    assert primed.hits(image)
    assert stat.S_IMODE(primed.entry.stat(follow_symlinks=False).st_mode) == 0o600


def test_a_directory_in_the_place_of_an_entry_stays(primed: Cache, image: str) -> None:
    _directory(primed.entry)
    for _ in range(2):
        assert primed.boot(image) == SAID
    assert primed.entry.is_dir()


@needs_root
def test_an_entry_of_another_user_is_as_if_absent(primed: Cache, image: str) -> None:
    os.chown(primed.entry, 12345, 12345)
    assert not primed.hits(image)
    assert primed.hits(image)


# ---- directories that are not good ---------------------------------------------------------


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_may_enter_is_not_used(primed: Cache, image: str, mode: int, tmp_path: Path) -> None:
    before = primed.files()
    primed.directory.chmod(mode)
    times = tmp_path / "times.json"
    assert primed.boot(image, f"--timing={times}") == SAID
    assert json.loads(times.read_text())["interpreter"] is True
    assert primed.files() == before


@needs_root
def test_a_directory_of_another_user_is_not_used(primed: Cache, image: str, tmp_path: Path) -> None:
    os.chown(primed.directory, 12345, 12345)
    assert primed.boot(image, f"--timing={tmp_path}/times.json") == SAID
    assert json.loads((tmp_path / "times.json").read_text())["interpreter"] is True


def test_a_link_to_a_directory_is_judged_by_what_it_leads_to(primed: Cache, image: str, tmp_path: Path) -> None:
    os.rename(primed.directory, tmp_path / "elsewhere")
    primed.directory.symlink_to(tmp_path / "elsewhere")
    assert primed.hits(image)
    (tmp_path / "elsewhere").chmod(0o755)
    before = primed.files()
    assert primed.boot(image) == SAID
    assert primed.files() == before


@pytest.mark.parametrize("base", [{}, {"HOME": ""}, {"HOME": "relative"}, {"XDG_CACHE_HOME": "x", "HOME": "y"}])
def test_without_a_home_there_is_no_cache(image: str, base: dict[str, str], tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")} | base
    for _ in range(2):
        assert pyvmm("boot", image, f"--timing={tmp_path}/times.json", env=environment, cwd=tmp_path) == SAID
        assert json.loads((tmp_path / "times.json").read_text())["interpreter"] is True
    assert {path.name for path in tmp_path.iterdir()} == {"hello.elf", "times.json"}


def test_home_is_used_without_xdg_cache_home(image: str, tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    environment = {**os.environ, "HOME": str(tmp_path / "user"), "XDG_CACHE_HOME": ""}
    assert pyvmm("boot", image, env=environment) == SAID
    assert len([*tmp_path.glob("user/.cache/pyvmm/boot/*")]) == 1


def test_a_place_that_cannot_be_made_is_no_error(image: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", Path("/proc/none")):
        cache = Cache(home)
        assert cache.boot(image) == SAID
        assert cache.boot(image) == SAID


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "tmpfs", str(place)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_no_error_and_nothing_is_left(image: str, small_disk: Path) -> None:
    cache = Cache(small_disk)
    for _ in range(2):
        assert cache.boot(image) == SAID
    assert [*cache.directory.iterdir()] == []


# ---- storing -------------------------------------------------------------------------------


def test_many_boots_at_once_leave_one_entry(cache: Cache, image: str) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache.home)}
    guests = [
        subprocess.Popen([PYVMM, "boot", image], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        for _ in range(8)
    ]
    for guest in guests:
        assert (*guest.communicate(timeout=60), guest.returncode) == (b"hello\n", b"", 7)
    assert cache.entry
    assert cache.hits(image)


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.parametrize("call", ["write:when=2", "write:when=3", "link,linkat", "rename,renameat,renameat2"])
def test_a_boot_that_is_killed_while_it_stores_leaves_the_old_entry_or_none(
    primed: Cache, image: str, call: str
) -> None:
    """Calls of the main thread: the guest's own are those of its vCPU."""
    _flip(-1)(primed.entry)
    bad = primed.entry.read_bytes()
    name = primed.entry.name
    names, _, when = call.partition(":")
    inject = f"inject={names}:signal=KILL" + (f":{when}" if when else "")
    environment = {**os.environ, "XDG_CACHE_HOME": str(primed.home)}
    words = ["strace", "-o", "/dev/null", "-e", inject, PYVMM, "boot", image]
    assert subprocess.run(words, capture_output=True, env=environment, timeout=60).returncode == -9
    assert (primed.directory / name).read_bytes() == bad
    # What it was writing has a name, between two calls, once it is whole; see test_cache.py.
    assert len(primed.files()) == (2 if call.startswith("rename") else 1)
    assert not primed.hits(image)


def test_a_guest_that_is_ended_at_once_is_stored_all_the_same(cache: Cache, assemble: Assembler) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache.home)}
    guest = subprocess.Popen([PYVMM, "boot", assemble("1: jmp 1b")], env=environment)
    try:
        wait_until(lambda: [*cache.directory.glob("[!.]*")], "an entry is there")
        guest.terminate()
        assert guest.wait(60) == 143
    finally:
        guest.kill()
        guest.wait()


# ---- pyvmm cache ---------------------------------------------------------------------------


def command(cache: Cache, action: str) -> Result:
    """`pyvmm cache`."""
    return pyvmm("cache", action, env={**os.environ, "XDG_CACHE_HOME": str(cache.home)})


def test_entries_are_listed_and_cleared(cache: Cache, image: str) -> None:
    assert command(cache, "ls") == command(cache, "clear") == Result(0, b"", "")
    cache.hits(image)
    cache.hits(image, "--mem", "64M")
    listed = command(cache, "ls")
    assert (listed.status, listed.stderr) == (0, "")
    lines = listed.stdout.decode().splitlines()
    assert len(lines) == 2
    assert all(line.endswith(f" KiB  {image}") for line in lines)
    assert command(cache, "clear") == Result(0, b"", "")
    assert [*cache.directory.iterdir()] == []
    assert not cache.hits(image)


@pytest.mark.parametrize("name", ["empty", "byte 0", "symlink", "fifo", "header"])
def test_a_bad_entry_is_listed_and_cleared_too(primed: Cache, name: str) -> None:
    BAD[name](primed.entry)
    listed = command(primed, "ls")
    assert (listed.status, listed.stderr) == (0, "")
    assert listed.stdout.decode().endswith(f"damaged: {primed.entry.name}\n")
    assert command(primed, "clear") == Result(0, b"", "")
    assert [*primed.directory.iterdir()] == []


def test_a_directory_of_others_is_not_cleared(primed: Cache) -> None:
    primed.directory.chmod(0o755)
    told = command(primed, "clear")
    assert (told.status, told.stderr) == (125, f"pyvmm: {primed.directory}: Operation not permitted\n")
    assert primed.entry
