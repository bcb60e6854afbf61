"""The VMMs whose boots are compared, and how each reports its first KVM_RUN."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

from measure import BENCH, BUILD, PYVMM_SOURCES, BenchError, compile_c, run

from pyvmm.boot.compose import compose
from pyvmm.config import MachineConfig

FIRST_RUN = "first KVM_RUN"
EXIT = "exit"

QEMU = (
    "qemu-system-x86_64 -accel kvm -cpu {cpu} -nodefaults -no-user-config -display none -no-reboot -serial {serial} "
    "-M microvm,acpi=off,pit=off,pic=off,rtc=off,isa-serial={uart},x-option-roms=off -m {mib}M "
    "-device isa-debug-exit,iobase=0xf4,iosize=4 -kernel {image}"
)

#: VMMs with guests of their own, with a hint how to compare with them anyway.
FOREIGN = {"solo5": "solo5-hvt", "kvmtool": "lkvm"}


class Vmm:
    """A VMM.

    Args:
        name: its name in tables.
        command: boots one image and ends.
        status: the exit status to expect.
        preload: it does not report times itself, so `firstrun.c` is preloaded.
    """

    def __init__(self, name: str, command: list[str], status: int = 0, preload: Path | None = None) -> None:
        self.name = name
        self._command = command
        self._status = status
        self._preload = preload

    def wall(self) -> float:
        """The time of one run as a user sees it, in ms: from spawn until it has been waited for."""
        before, after = run(self._command, status=self._status)
        return (after - before) / 1e6

    def first_run(self, file: Path) -> float | None:
        """The time of one run from spawn to the first KVM_RUN, in ms; None if unknown."""
        file.unlink(missing_ok=True)
        if self._preload:
            environment = {"LD_PRELOAD": str(self._preload), "FIRST_RUN": str(file)}
            before, _ = run(self._command, environment, self._status)
            return (int(file.read_text()) - before) / 1e6 if file.exists() else None
        before, _ = run([*self._command, *self.marks(file)], status=self._status)
        marks = json.loads(file.read_text())
        if "origin_ns" in marks:
            steps = {step["name"]: step["ns"] for step in marks["steps"]}
            return (marks["origin_ns"] + steps[FIRST_RUN] - before) / 1e6
        return (marks[FIRST_RUN] - before) / 1e6

    def marks(self, file: Path) -> list[str]:
        """Arguments and variables that make it write its marks to `file`."""
        return [f"--timing={file}"] if "boot" in self._command else [str(file)]


def find(names: list[str], pyvmm: Path, image: Path, memory: int) -> tuple[list[Vmm], list[str]]:
    """The VMMs to compare pyvmm with.

    Args:
        names: `qemu`, `c-floor`, `no-sandbox`, `python`, or `NAME=COMMAND` for any other.
        pyvmm: the pyvmm command.
        image: the image to boot.
        memory: bytes of RAM.

    Returns:
        The VMMs, and a line about each that is missing.
    """
    preload = compile_c("firstrun.so", [BENCH / "firstrun.c"], "-shared", "-fPIC")
    found, skipped = [], []
    for text in names:
        name, equals, command = text.partition("=")
        if equals:
            found.append(Vmm(name, _absolute(shlex.split(command)), 0, preload))
        elif name == "c-floor":
            sources = [BENCH / "floor.c", PYVMM_SOURCES / "_kvm.c", *sorted(PYVMM_SOURCES.glob("native/**/*.c"))]
            floor = compile_c("floor", sources, "-static")
            found.append(Vmm(name, [str(floor), str(_state_of(image, memory))]))
        elif name == "no-sandbox":
            command = [str(pyvmm), "boot", str(image), "--mem", str(memory), "--sandbox=off"]
            found += [Vmm(f"pyvmm{text} --sandbox=off", command + text.split()) for text in ("", " --no-cache")]
        elif name == "python":
            python = pyvmm.parent / "python3"
            found.append(Vmm("python -ISc pass", [str(python.absolute()), "-ISc", "pass"], 0, preload))
        elif name == "qemu" and shutil.which("qemu-system-x86_64"):
            found.append(Vmm(name, _qemu(image, memory), 1, preload))  # isa-debug-exit: twice 0, plus one
        elif name in ("qemu", *FOREIGN):
            program = FOREIGN.get(name)
            hint = f"; its guests are its own: --against {name}='{program} GUEST'" if program else ""
            skipped.append(f"{name}: skipped, as it is not installed{hint}")
        else:
            raise BenchError(f"--against {name}: not qemu, c-floor, no-sandbox, python, solo5, kvmtool or NAME=COMMAND")
    return found, skipped


def _state_of(image: Path, memory: int) -> Path:
    """A file with the State in which a machine of the image starts."""
    state = compose(MachineConfig(str(image), memory), [], shared=False)
    path = BUILD / f"{image.stem}.state"
    path.write_bytes(b"".join(state.parts() or ()))
    state.memory.close()
    return path


def _absolute(command: list[str]) -> list[str]:
    program = shutil.which(command[0])
    if not program:
        raise BenchError(f"{command[0]}: no such command")
    return [program, *command[1:]]


def _qemu(image: Path, memory: int) -> list[str]:
    # A KVM without hardware virtualization refuses MSRs of `host`.
    cpu = "qemu64" if Path("/sys/module/kvm_pvm").exists() else "host"
    tiny = image.stat().st_size < 4096
    words = {"cpu": cpu, "serial": "none" if tiny else "stdio", "uart": "off" if tiny else "on"}
    return _absolute(QEMU.format(mib=memory >> 20, image=image, **words).split())
