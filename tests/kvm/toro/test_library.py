"""FPC's library on Toro: files, time, arguments, threads, stacks, errors, as on Linux."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from guests import PYVMM, Result, needs_simd_exceptions, pyvmm
from programs import Programs

from pyvmm.host.virtiofsd import PROGRAMS
from pyvmm.toolchain.build import build

needs_virtiofsd = pytest.mark.skipif(
    not any(os.access(program, os.X_OK) for program, _ in PROGRAMS), reason="needs virtiofsd"
)


def test_arguments_and_environment(toro: Callable[..., Result]) -> None:
    append = "arguments 'two words' NAME=\"a b\" x='y'z 7=8"
    said = "0 </program>\n1 <arguments>\n2 <two words>\n3 <NAME=a b>\n4 <x=yz>\n5 <7=8>\na b <>\n"
    assert toro("Library", "--append", append) == Result(0, said.encode(), "")


def test_time_is_right(toro: Callable[..., Result]) -> None:
    before = time.time()
    result = toro("Library", "--append", "time")
    now, *checks = result.stdout.decode().split()
    assert before - 2 <= int(now) <= time.time() + 2
    assert (result.status, checks) == (0, ["TRUE", "TRUE"])


@needs_virtiofsd
def test_the_zone_is_that_of_a_share(programs: Programs, toro: Callable[..., Result], tmp_path: Path) -> None:
    zone = Path("/usr/share/zoneinfo/Asia/Tokyo")
    if not zone.exists():
        pytest.skip("needs tzdata")
    (tmp_path / "Tokyo").write_bytes(zone.read_bytes())
    result = toro("Library", f"--share={tmp_path}:zones:ro", "--append", "time TZ=:Tokyo TZDIR=/zones")
    assert abs(int(result.stdout.split()[0]) - time.time()) < 5  # Now is 9 hours later, and taken for local time


@pytest.mark.parametrize("given", [b"", b"one\n", b"one\n\ntwo"])
def test_input_ends(toro: Callable[..., Result], given: bytes) -> None:
    lines = b"".join(b"<%b>\n" % line for line in given.splitlines())
    assert toro("Library", "--append", "lines", stdin=given) == Result(0, lines + b"end\n", "")


@needs_virtiofsd
def test_files_are_those_of_shares(toro: Callable[..., Result], tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    shares = [f"--share={tmp_path / name}:{name}" for name in ("first", "second")]
    result = toro("Library", *shares, "--append", "files")
    assert result.stderr == ""
    assert result.stdout.decode().splitlines() == [
        *("/first", "one", "one", "two", "501 1000 501", str(5 << 30)),
        *("TRUETRUEFALSETRUE", "TRUETRUEFALSETRUE", "2020-02-29T00:00:00.000Z", "/first/a /first/x"),
        *(". directory", ".. directory", "b directory", "list 8"),
    ]
    assert (tmp_path / "first/a/list").read_text() == "one\ntwo\n"
    assert (tmp_path / "second/numbers").stat().st_size == 4000


@pytest.mark.parametrize("share", [False, pytest.param(True, marks=needs_virtiofsd)])
def test_what_is_missing_is_an_error(toro: Callable[..., Result], tmp_path: Path, share: bool) -> None:
    shares = [f"--share={tmp_path}:first"] if share else []
    said = "Reset 2\nErase 2\nRename 2\nRewrite 2\nEFCreateError\nEFOpenError\nFALSE" + str(share).upper()
    assert toro("Library", *shares, "--append", "missing") == Result(0, f"{said}\n".encode(), "")


@pytest.mark.parametrize("cpus", [1, 3])
def test_threads(toro: Callable[..., Result], cpus: int) -> None:
    said = f"{cpus} TRUE\nsynchronized in the main thread: TRUE\n7777 2000 4 TRUE\n"
    assert toro("Library", f"--cpus={cpus}", "--append", "threads") == Result(0, said.encode(), "")


def test_the_program_states_its_stack(toro: Callable[..., Result]) -> None:
    assert toro("Library", "--append", "large") == Result(0, b"1 TRUE\n", "")


def test_a_frame_larger_than_the_stack_is_an_overflow(toro: Callable[..., Result]) -> None:
    result = toro("Library", "--append", "too-large")
    assert result.status == 202
    assert b"stack overflow" in result.stdout
    assert b"overwritten" not in result.stdout


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("divide", 200),
        pytest.param("float", 208, marks=needs_simd_exceptions),
        pytest.param("root", 207, marks=needs_simd_exceptions),
        ("nil", 216),
        ("halt", 5),
        ("own", 77),
    ],
)
def test_run_time_errors_are_the_status(toro: Callable[..., Result], error: str, status: int) -> None:
    assert toro("RunErrors", "--append", error).status == status


def test_units_and_programs_may_be_called_like_the_kernels(programs: Programs, tmp_path: Path) -> None:
    assert programs  # skips without a compiler
    (tmp_path / "memory.pas").write_text(
        "unit Memory; interface procedure Mine; implementation procedure Mine; begin WriteLn('mine') end; end."
    )
    program = tmp_path / "x.pas"
    program.write_text("program Console; uses Memory, SysUtils; begin Mine; WriteLn(IntToStr(5)) end.")
    image = build(str(program))
    assert pyvmm("boot", str(image)) == Result(0, b"mine\n5\n", "")


@pytest.mark.parametrize("name", ["a b", "a(b)", "it's", 'say "x"', "größe"])
def test_programs_may_have_any_file_name(programs: Programs, tmp_path: Path, name: str) -> None:
    assert programs
    program = tmp_path / f"{name}.pas"
    program.write_text("begin WriteLn('reached') end.")
    assert pyvmm("boot", str(build(str(program)))) == Result(0, b"reached\n", "")


def test_the_compilers_options_are_for_the_program(programs: Programs, tmp_path: Path) -> None:
    assert programs
    (tmp_path / "units").mkdir()
    (tmp_path / "units/other.pas").write_text("unit other; interface const Number = 3; implementation end.")
    program = tmp_path / "x.pas"
    program.write_text("uses other; var a: array of Byte; i: Integer = 9; begin SetLength(a, Number); a[i] := 1 end.")
    built = pyvmm("build", str(program), "-I", str(tmp_path / "units"), "--", "-Mdelphi", "-Cr")
    assert built.status == 0
    assert pyvmm("boot", str(program.with_suffix(".elf"))).status == 201


def test_the_compilers_output_may_have_any_encoding(programs: Programs, tmp_path: Path) -> None:
    assert programs
    program = tmp_path / "x.pas"
    program.write_bytes(b"{$message warn \xe4\xff} begin nothing end.")
    done = subprocess.run([PYVMM, "build", program], capture_output=True)
    assert done.returncode == 125
    assert b"\xe4" in done.stderr
    assert done.stderr.endswith(b"x.pas: not built, ppcx64 failed\n")


def test_packages_come_without_an_option(programs: Programs, tmp_path: Path) -> None:
    assert programs
    program = tmp_path / "x.pas"
    program.write_text(
        "{$mode objfpc} uses fpjson, jsonparser, sha1;"
        """begin WriteLn(GetJSON('{"a": [1, 2]}').FindPath('a[1]').AsInteger, SHA1Print(SHA1String('abc'))) end."""
    )
    said = b"2a9993e364706816aba3e25717850c26c9cd0d89d\n"
    assert pyvmm("boot", str(build(str(program)))) == Result(0, said, "")


def test_random_bytes_are_each_guests_own(toro: Callable[..., Result]) -> None:
    guests = [toro("Keys").stdout.decode().split() for _ in range(2)]
    drawn = [bytes.fromhex(said[3]) for said in guests]
    assert all(said[:3] == ["E4E7F110", "4E3C50A2", "TRUE"] for said in guests)
    assert drawn[0] != drawn[1]
    assert all(len({*data}) > 60 and len(data) == 100 for data in drawn)
