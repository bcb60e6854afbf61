"""pyvmm.command.cli: every mistake is one line and status 125; nothing here reaches /dev/kvm."""

from __future__ import annotations

import os
import posix
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from guests import EHDR_SIZE, PHDR_SIZE, PYVMM, Load, descriptors_left, elf_image, good_image, patch, pyvmm, toro_note
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyvmm as package
from pyvmm.command import cli
from pyvmm.command.boot import limited
from pyvmm.command.help import help_of, overview
from pyvmm.errors import not_imported
from vhost_user.listener import Listener

Mistake = Callable[..., str]


@pytest.fixture
def mistake(capfd: pytest.CaptureFixture[str]) -> Mistake:
    """Runs a command line that must fail with status 125; returns its one line."""

    def run(*words: str) -> str:
        first = ["boot", "--sandbox=off"] if words[:1] == ("boot",) else list(words[:1])  # this process goes on
        assert cli.main([*first, *words[1:]], {}) == 125
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("pyvmm: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        return err[len("pyvmm: ") : -1]

    return run


# ---- what is no mistake -------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help_goes_to_stdout(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words, {}) == 0
    assert capfd.readouterr() == (overview(), "")


@pytest.mark.parametrize("words", [["boot", "--help"], ["boot", "x", "-h"], ["cache", "--help"], ["bench", "--help"]])
def test_help_of_a_command_goes_to_stdout(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words, {}) == 0
    assert capfd.readouterr() == (help_of(words[0]), "")


def test_version_is_the_package_s(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"], {}) == 0
    assert capfd.readouterr().out == f"pyvmm {package.__version__}\n"


# ---- commands and options -----------------------------------------------------------


def test_no_command(mistake: Mistake) -> None:
    assert mistake() == "which command? try `pyvmm --help`"


@pytest.mark.parametrize(
    ("word", "hint"),
    [("bot", "did you mean boot?"), ("biuld", "did you mean build?"), ("xyzzy", "try `pyvmm --help`"), ("", "try")],
)
def test_unknown_command_suggests_a_known_one(mistake: Mistake, word: str, hint: str) -> None:
    message = mistake(word)
    assert message.startswith(f"{word}: no such command; ")
    assert hint in message


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("--memory", "did you mean --mem?"),
        ("--cpu=2", "did you mean --cpus?"),
        ("--xyzzy", "try `pyvmm boot --help`"),
        ("-m", "did you mean --mem?"),
        ("-", "one IMAGE at a time"),
    ],
)
def test_unknown_option_suggests_a_known_one(mistake: Mistake, word: str, hint: str) -> None:
    message = mistake("boot", "x.elf", word)
    assert message.startswith(f"{word.partition('=')[0]}: ")
    assert hint in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["build", "x.pas", "-dFOO"], "-dFOO: write -d FOO"),
        (["boot", "x.elf", "-p80:80"], "-p80:80: write -p 80:80"),
        (
            ["boot", "x", "--vsock=5", "-p", "80:80:80"],
            "-p 80:80:80: 80 is no address; write [ADDR:]HOSTPORT:GUESTPORT",
        ),
        (
            ["boot", "x", "--share", ".:FS:rw"],
            "--share .:FS:rw: there is no option rw; what is not `ro` may be written to",
        ),
    ],
)
def test_what_is_meant_can_be_told(mistake: Mistake, words: list[str], message: str) -> None:
    assert mistake(*words) == message


def test_a_server_that_nobody_can_reach_gets_a_hint_at_a_terminal() -> None:
    master, slave = os.openpty()
    command = [PYVMM, "boot", "/absent.elf", "--vsock", "5"]
    assert subprocess.run(command, stderr=slave, timeout=60).returncode == 125
    said = b""
    while said.count(b"\n") < 2:  # each write may come to the other side of a terminal by itself
        said += os.read(master, 1000)
    hint, error = said.decode().splitlines()
    assert hint == "pyvmm: no port of the guest is published; -p HOSTPORT:GUESTPORT lets clients connect"
    assert error == "pyvmm: /absent.elf: No such file or directory"
    assert subprocess.run(command, capture_output=True, timeout=60).stderr.count(b"\n") == 1
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize("option", ["--mem", "--cpus", "--pin", "--append"])
def test_option_at_the_end_lacks_its_value(mistake: Mistake, option: str) -> None:
    assert mistake("boot", "x.elf", option) == f"{option}: needs a value"


def test_timing_with_an_empty_file_lacks_its_value(mistake: Mistake) -> None:
    assert mistake("boot", "x.elf", "--timing=") == "--timing=: needs a value after the ="


@pytest.mark.parametrize(
    ("first", "second"), [("--mem=1G", "--mem=1G"), ("--timing", "--timing=x.svg"), ("--append=", "--append=x")]
)
def test_option_twice(mistake: Mistake, first: str, second: str) -> None:
    assert mistake("boot", "x.elf", first, second) == f"{first.partition('=')[0]}: given twice"


@pytest.mark.parametrize("word", ["", "lots", "1.5G", "-1G", "1GB", "--cpus", "9" * 30])
def test_mem_that_is_no_size(mistake: Mistake, word: str) -> None:
    assert mistake("boot", "x.elf", "--mem", word) == f"--mem {word}: not a size such as 512M or 2G"


@pytest.mark.parametrize("word", ["15M", "513G", "16385K", "0", "9" * 18])
def test_mem_out_of_range(mistake: Mistake, word: str) -> None:
    assert mistake("boot", "x.elf", f"--mem={word}") == f"--mem {word}: not a multiple of 4K from 16M to 512G"


@pytest.mark.parametrize("word", ["", "two", "-1", "1.0", "٢", "9" * 30])
def test_cpus_that_is_no_number(mistake: Mistake, word: str) -> None:
    assert mistake("boot", "x.elf", f"--cpus={word}") == f"--cpus {word}: not a number"


@pytest.mark.parametrize("word", ["0", "256", "99999"])
def test_cpus_out_of_range(mistake: Mistake, word: str) -> None:
    assert mistake("boot", "x.elf", "--cpus", word) == f"--cpus {word}: not 1 to 255"


@pytest.mark.parametrize("word", ["x", "0-", "0,,1", "12345"])
def test_pin_that_cannot_be(mistake: Mistake, word: str) -> None:
    assert mistake("boot", "x.elf", "--pin", word).startswith(f"--pin {word}: ")


def test_timing_file_of_another_kind(mistake: Mistake) -> None:
    assert mistake("boot", "x.elf", "--timing=out.txt") == (
        "--timing=out.txt: the file's name must end in .json or .svg"
    )


def test_empty_command_line_is_no_mistake(mistake: Mistake) -> None:
    for words in (["--append", ""], ["--append="]):
        assert mistake("boot", "/absent.elf", *words) == "/absent.elf: No such file or directory"


def test_command_line_that_is_too_long(mistake: Mistake, image_file: Callable[[bytes], str]) -> None:
    message = mistake("boot", image_file(good_image()), "--append", "x" * 4097)
    assert message == "--append: over 4096 bytes, or with a NUL in it"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("pty", "not virtio=file:PATH, virtio=unix:PATH or virtio=pty"),
        ("virtio", "not virtio=file:PATH, virtio=unix:PATH or virtio=pty"),
        ("virtio=", "not file:PATH, unix:PATH or pty"),
        ("virtio=tcp:1", "not file:PATH, unix:PATH or pty"),
        ("virtio=file:", "not file:PATH, unix:PATH or pty"),
    ],
)
def test_console_leads_to_what_there_is(mistake: Mistake, target: str, message: str) -> None:
    assert mistake("boot", "x", "--console", target) == f"--console {target}: {message}"


def test_a_console_is_closed_when_vsock_fails(mistake: Mistake, tmp_path: Path) -> None:
    path = tmp_path / "s"
    assert "--vsock 1:" in mistake("boot", "x", "--vsock=1", f"--console=virtio=unix:{path}")
    assert "-p 1:" in mistake("boot", "x", "--vsock=3", "-p", "1:", "--console", f"virtio=unix:{path}")
    assert not path.exists()


@pytest.mark.parametrize(("command", "surplus"), [("boot", "one "), ("build", "a is in Pascal")])
def test_missing_and_surplus_file(mistake: Mistake, command: str, surplus: str) -> None:
    assert mistake(command).endswith(f" is missing; try `pyvmm {command} --help`")
    assert mistake(command, "a", "b").startswith(f"b: {surplus}")


def test_two_dashes_end_the_options(mistake: Mistake) -> None:
    assert mistake("boot", "--mem=1G", "--", "--absent.elf") == "--absent.elf: No such file or directory"


@pytest.mark.parametrize("word", ["two\nlines", "a\rb", "\x1b[2J", "\x85", "\udcff"])
def test_unprintable_words_stay_on_the_line_and_out_of_the_terminal(mistake: Mistake, word: str) -> None:
    for words in ([word], ["boot", f"--{word}"], ["boot", word], ["boot", "x", "--mem", word]):
        assert re.fullmatch(r"[\x20-\x7e]*", mistake(*words))


# ---- images -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/absent/image.elf", "No such file or directory"),
        ("/", "not a regular file"),
        ("/dev/null", "not a regular file"),
        ("/etc/passwd/x", "Not a directory"),
        ("x" * 5000, "File name too long"),
        ("/proc/self/mem", "Input/output error"),
        ("", "No such file or directory"),
    ],
)
def test_file_that_cannot_be_read(mistake: Mistake, path: str, message: str) -> None:
    assert mistake("boot", path) == f"{path}: {message}"


@pytest.mark.timeout(20)
def test_named_pipe_is_refused_without_waiting_for_a_writer(mistake: Mistake, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert mistake("boot", str(tmp_path / "pipe")) == f"{tmp_path}/pipe: not a regular file"


def test_file_without_permission(mistake: Mistake, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, *_: object) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(posix, "open", refuse)
    assert mistake("boot", "secret.elf") == "secret.elf: Permission denied"


_CUT = EHDR_SIZE + PHDR_SIZE


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "neither an ELF executable (`pyvmm build` makes them) nor a Linux bzImage"),
        (b"#!/bin/sh\n", "neither an ELF executable (`pyvmm build` makes them) nor a Linux bzImage"),
        (good_image()[:20], "truncated in the ELF header (20 bytes)"),
        (good_image()[:_CUT], f"e_phoff 0x40: program headers end past the file's {_CUT} bytes"),
        (good_image()[:-1], "program header 3: p_offset "),
        (patch(good_image(), "e_machine", 183), "e_machine is 183, not 62 (x86-64)"),
        (
            elf_image([Load(0x10_0000, b"x")], b""),
            "no known boot protocol: there is no ELF note `Toro` of type 1 (direct boot)",
        ),
        (elf_image([Load(0x10_0000, b"x")], toro_note(0)), "Toro note: entry 0x0 is in no executable segment"),
        (
            elf_image([Load(0x10_0000, b"x", memsz=1 << 30)], toro_note(0x10_0000)),
            "segment at p_paddr 0x100000: p_memsz 0x40000000 ends past the RAM at 0x8000000; it needs more memory",
        ),
    ],
)
def test_file_that_is_no_bootable_image(
    mistake: Mistake, image_file: Callable[[bytes], str], data: bytes, message: str
) -> None:
    path = image_file(data)
    assert mistake("boot", path).startswith(f"{path}: {message}")


# ---- the whole command ----------------------------------------------------------------

_WORDS = st.one_of(
    st.sampled_from(["--mem", "--cpus", "--pin", "--append", "--timing", "--mem=1G", "--cpus=2", "--pin=auto", "--"]),
    st.sampled_from(["--timing=x.json", "--timing=/x", "1G", "2", "auto", "0-1", "-", "", "--mem="]),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12),
    st.binary(max_size=12).map(lambda raw: raw.replace(b"\0", b"").decode(errors="surrogateescape")),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_WORDS, max_size=6), st.integers(0, 6))
def test_any_arguments_to_boot_an_absent_image_are_one_line(
    capfd: pytest.CaptureFixture[str], words: list[str], at: int
) -> None:
    words = [*words[:at], "/absent/image.elf", *words[at:]]
    if {"--help", "-h"} & set(words):
        return
    assert cli.main(["boot", "--sandbox=off", *words], {}) == 125
    out, err = capfd.readouterr()
    assert out == ""
    assert re.fullmatch(r"pyvmm: [^\n]+\n", err)


def test_command_ends_with_the_status_and_without_a_traceback() -> None:
    done = pyvmm("boot", b"\xff\n".decode(errors="surrogateescape"))
    assert (done.status, done.stdout, done.stderr.count("\n")) == (125, b"", 1)
    assert done.stderr.startswith("pyvmm: ")


@pytest.mark.parametrize("redirection", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-", "</", "</ 1</ 2</", "2>/dev/full"])
def test_standard_streams_that_go_nowhere_change_no_status(redirection: str) -> None:
    for words, status in (("--version", 0), ("--help", 0), ("build /absent.pas", 125), ("boot /absent.elf", 125)):
        line = f'"$0" {words} {redirection}'
        done = subprocess.run(["sh", "-c", line, PYVMM], capture_output=True, timeout=60)
        assert done.returncode == status
        assert done.stderr.count(b"\n") == (status == 125 and "2" not in redirection)


def test_an_answer_that_nobody_reads_is_no_mistake() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([PYVMM, "--help"], stdout=write_end, stderr=subprocess.PIPE, timeout=60)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_answer_that_cannot_be_written_is_one_line() -> None:
    line = '"$0" --version >/dev/full'
    done = subprocess.run(["sh", "-c", line, PYVMM], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (125, "pyvmm: stdout: No space left on device\n")


#: Each kind of device, and what else needs descriptors or modules.
NEEDS_DESCRIPTORS = [
    "--vsock 5 -p 0:80 --allow 80=localhost:80",
    "--vsock 5 --vsock-uds {folder}/vsock.sock",
    "--console virtio=file:{folder}/console",
    "--console virtio=unix:{folder}/console.sock",
    "--console virtio=pty",
    "--share {folder}:FS",
]
#: The fewest with which a process starts are enough for these.
NEEDS_FEW = ["", "--share socket={folder}/none:FS", "--boot pvh --initrd {folder}", "--nonsense"]


@pytest.mark.parametrize("options", NEEDS_DESCRIPTORS + NEEDS_FEW)
def test_a_shortage_of_descriptors_is_one_line(tmp_path: Path, options: str) -> None:
    """Whatever it is that is not to be had: a file, a socket or a module of Python."""
    words = options.format(folder=tmp_path).split()
    shortages = 0
    for limit in range(4, 30):
        done = pyvmm(
            "boot",
            "/absent.elf",
            *words,
            preexec_fn=partial(resource.setrlimit, resource.RLIMIT_NOFILE, (limit, limit)),
        )
        lines = [line for line in done.stderr.splitlines() if not re.search(r" is (port|/dev/pts/)", line)]
        assert (done.status, len(lines)) == (125, 1)
        assert lines[0].startswith("pyvmm: ")
        shortages += "Too many open files" in lines[0]
    assert bool(shortages) == (options in NEEDS_DESCRIPTORS)


def test_a_module_that_is_missing_before_python_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys, "base_prefix")
    text = str(not_imported(ImportError("No module named 'select'", name="select")))
    assert text == "No module named 'select'; the Python is incomplete, or this user may not read it"


def test_a_module_that_cannot_be_loaded_is_not_called_a_shortage() -> None:
    text = str(not_imported(ImportError("No module named 'select'", name="select")))
    assert text.startswith("No module named 'select'; the Python in /")
    with descriptors_left(0):
        assert str(not_imported(ImportError("x", name="select"))).startswith("loading select: Too many open files")


def test_command_works_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "vmm").symlink_to(PYVMM)
    done = subprocess.run([tmp_path / "vmm", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"pyvmm {package.__version__}\n")


def test_a_guest_cannot_flood_the_log() -> None:
    lines: list[str] = []
    log = limited(lines.append, 3)
    for i in range(10):
        log(f"line {i}")
    assert lines == ["line 0", "line 1", "line 2", "those were 3 lines about this guest; there will be no more"]


@pytest.fixture
def backends(tmp_path: Path) -> Iterator[list[str]]:
    """`--share` of ten sockets that somebody listens on."""
    listeners = [Listener(f"{tmp_path}/{i}") for i in range(10)]
    yield [f"--share=socket={tmp_path}/{i}:T{i}" for i in range(10)]
    for listener in listeners:
        listener.close()


def test_shares_have_tags_of_their_own_and_are_not_many(mistake: Mistake, backends: list[str]) -> None:
    assert mistake("boot", "x", backends[0], backends[0]).endswith(":T0: another share has this tag")
    assert mistake("boot", "x", *backends).endswith(":T8: there can be at most 8 shares")


def test_a_share_that_cannot_be(mistake: Mistake) -> None:
    assert mistake("boot", "x", "--share", "/nowhere:FS") == "--share /nowhere:FS: No such file or directory"
    assert mistake("boot", "x", "--share", "socket=/nowhere:FS") == (
        "share socket=/nowhere:FS: No such file or directory"
    )
