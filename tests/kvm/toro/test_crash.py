"""What the VMM keeps of a Toro program that crashes, and that GDB opens it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from guests import Result, needs_compiler, pyvmm
from programs import Programs

from pyvmm.toolchain.build import build

HERE = Path(__file__).parent
SOURCE = HERE / "Faults.pas"
PANICS = "program Panics;\nuses Process;\nbegin\n  Panic(True, 'number %d', [5]);\nend.\n"


@pytest.fixture(scope="module")
def debugged(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Faults.pas, with debug information."""
    return str(build(str(SOURCE), str(tmp_path_factory.mktemp("faults") / "Faults.elf"), debug=True))


def line_of(text: str) -> int:
    """The number of the only line of Faults.pas that has this text."""
    (number,) = (number for number, line in enumerate(SOURCE.read_text().splitlines(), 1) if text in line)
    return number


def report_in(directory: Path) -> Any:
    return json.loads((directory / "report.json").read_text())


def test_an_exception_is_kept_with_its_registers(programs: Programs, tmp_path: Path) -> None:
    image = programs.image("Faults")
    result = pyvmm("boot", image, "--append", "nil", "--crash", str(tmp_path))
    dump = dict(re.findall(r"(\w+) +([0-9A-F]{16})", result.stdout.decode()))
    report = report_in(tmp_path)
    (vcpu,) = report["vcpus"]
    assert (report["kind"], result.status) == ("exception", 217)
    for name in ("RAX", "RBX", "RSP", "RBP", "R15", "RIP", "CR2"):
        assert int(vcpu["registers"][name.lower()], 16) == int(dump[name], 16)
    assert [frame["function"].partition("+")[0] for frame in vcpu["backtrace"][:2]] == [
        "Faults.WriteToNil", "PASCALMAIN",
    ]  # fmt: skip
    line = rf" at Faults\.pas:{line_of('procedure WriteToNil;') + 2}"
    assert re.fullmatch(
        rf"pyvmm: vCPU 0 at 0x[0-9a-f]+: exception 14, page fault at the address 0x8, in Faults\.WriteToNil\+9{line}; "
        rf"the report and a core file are kept: `gdb {re.escape(image)} {tmp_path}/core`\n",
        result.stderr,
    )


@needs_compiler
def test_file_and_line_are_named(debugged: str, tmp_path: Path) -> None:
    result = pyvmm("boot", debugged, "--append", "nil", "--crash", str(tmp_path))
    assert f"Faults.WriteToNil+11 at Faults.pas:{line_of('procedure WriteToNil;') + 2}; " in result.stderr


@needs_compiler
@pytest.mark.skipif(not shutil.which("gdb"), reason="needs gdb")
def test_gdb_shows_the_crash(debugged: str, tmp_path: Path) -> None:
    pyvmm("boot", debugged, "--append", "nil", "--crash", str(tmp_path), "--cpus", "4")
    commands = ("bt", "info threads", "x/i $pc")
    words = [word for command in commands for word in ("-ex", command)]
    said = subprocess.run(
        ["gdb", "-batch", "-nx", *words, debugged, tmp_path / "core"], capture_output=True, text=True, timeout=60
    ).stdout
    line = line_of("procedure WriteToNil;") + 2
    assert re.search(rf"#0 .* in WriteToNil \(\) at .*Faults\.pas:{line}\n", said)
    assert re.search(r"#1 .* in \$main \(\) at .*Faults\.pas:\d+", said)
    assert len(re.findall(r"LWP \d +0x|LWP \d .* in ", said)) >= 4
    assert re.search(r"=> 0x\w+ <WriteToNil\+11>:\s+movl +\$0x5,\(%rax\)", said)


def test_a_panic_is_kept(tmp_path: Path, programs: Programs) -> None:
    source = tmp_path / "Panics.pas"
    source.write_text(PANICS)
    result = pyvmm("boot", programs.image(source), "--crash", str(tmp_path))
    assert result.status == 120
    assert result.stdout.startswith(b"Panic: number 5\n")
    assert re.search(r"the guest's kernel has panicked, in PASCALMAIN\+\d+( at Panics\.pas:4)?; ", result.stderr)
    assert report_in(tmp_path)["kind"] == "panic"


def test_a_panic_that_could_not_be_told_of_is_kept(programs: Programs, tmp_path: Path) -> None:
    result = pyvmm("boot", programs.image("Faults"), "--append", "exception-in-handler", "--crash", str(tmp_path))
    assert result.status == 120
    assert report_in(tmp_path)["kind"] in ("exception", "panic")
    assert result.stderr.count("pyvmm: ") == 1


@pytest.mark.parametrize("word", ["halt", "runtime-error", "exception"])
def test_what_the_program_itself_ends_is_no_crash(word: str, programs: Programs, tmp_path: Path) -> None:
    result = pyvmm("boot", programs.image("Faults"), "--append", word, "--crash", str(tmp_path))
    assert result.stderr == ""
    assert not list(tmp_path.iterdir())


def test_nothing_is_told_without_the_option(programs: Programs) -> None:
    assert pyvmm("boot", programs.image("Faults"), "--append", "nil").stderr == ""


def test_an_idle_program_does_not_hang(programs: Programs) -> None:
    result = pyvmm("boot", programs.image("Threads"), "--watchdog", "1", "--cpus", "2")
    assert "hang" not in result.stderr


def test_a_record_of_an_exception_that_is_not_there(boot: Any, tmp_path: Path) -> None:
    """A guest may say anything: RDI leads nowhere."""
    for address in ("-1", "0x123456789abc", "0xfffffffffffffff8", "0x8000000"):
        source = f"mov rdi, {address}\n mov edx, 0x505\n mov al, 2\n out dx, al\n exit 7"
        result: Result = boot(source, "--crash", str(tmp_path))
        assert result.status == 7
        assert "the guest's kernel has panicked" in result.stderr
