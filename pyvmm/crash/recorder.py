"""Notices that a guest has crashed, and keeps a report, and with `--crash` a core file."""

from __future__ import annotations

import posix as os

from pyvmm._kvm import ffi, lib
from pyvmm.boot.file import File
from pyvmm.crash.names import Names
from pyvmm.crash.panic import Panic, crash_of
from pyvmm.crash.report import CORE, NOTE, NOTE_REPORT, REPORT, TEXT, Crash, document
from pyvmm.crash.text import details, full, headline
from pyvmm.crash.watchdog import Watchdog
from pyvmm.errors import STATUS_PANIC, GuestError, HostError, KvmError, PyvmmError
from pyvmm.host.newfile import NewFile, write
from pyvmm.layout import DEBUG_EXIT_PORT, PANIC_PORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyvmm.eventloop import Loop
    from pyvmm.machine import Machine

_CLOCK_MONOTONIC = 1


class Recorder:
    """Of one guest.

    Args:
        machine: the guest's.
        image: its path, as the user has named it.
        directory: for the report and the core file, made if it is not there; empty: no files are kept.
        seconds: that a vCPU may run without a pause before the guest is taken for hung; 0: any number.
        say: writes a line to stderr.
        open_image: opens the image; None if it cannot be. By default it is opened by its path.

    Raises:
        HostError: there can be no such directory, or no files in it.
    """

    def __init__(
        self, machine: Machine, image: str, directory: str, seconds: int, say: Callable[[str], None],
        open_image: Callable[[], File | None] | None = None,
    ) -> None:  # fmt: skip
        self._machine, self._image, self._say = machine, image, say
        self._open_image = open_image or (lambda: File(image))
        self._path, self._directory = directory, -1
        self._files: dict[str, NewFile] = {}
        self._is_told = self._is_done = False
        self._watchdog = Watchdog(machine, seconds) if seconds else None
        if directory:
            try:
                try:
                    os.mkdir(directory, 0o700)
                except FileExistsError:
                    pass
                self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                # A confined process could neither make files later nor load modules.
                for name in (REPORT, TEXT, CORE):
                    self._files[name] = NewFile(self._directory, name)
                for name in ("mappings", "core", "storage"):
                    __import__(f"pyvmm.crash.{name}")
            except OSError as error:
                self.close()
                raise HostError(f"--crash {directory}", error.errno or 0) from None
            machine.bus.add(Panic.base, Panic.ports, Panic(self._panicked))

    def attach(self, loop: Loop) -> None:
        """Watches the guest from `loop`, once it runs."""
        if self._watchdog:
            self._watchdog.attach(loop)

    def _panicked(self, _: int) -> None:
        """The vCPU that tells comes to rest behind its instruction, once this exit is served."""
        if not self._is_told:
            self._is_told = True
            self._machine.hold(self._record_panic)

    def _record_panic(self) -> None:
        if self._machine.status is not None:
            return
        try:
            with self._machine.freezer():
                self._tell(self._document(crash_of(self._machine, self._vcpu_at(PANIC_PORT))))
        except PyvmmError as error:
            self._say(f"no crash report: {error}")

    def _vcpu_at(self, port: int) -> int:
        """The vCPU whose last exit was an access to a port; 0 if there is none."""
        at = (thread.vcpu.index for thread in self._machine.threads if thread.vcpu.native.address == port)
        return next(at, 0)

    def failed(self, error: GuestError) -> None:
        """Tells of a guest that cannot go on; its vCPUs do not run any more."""
        self._say(str(error))
        if self._is_done:
            return
        try:
            report = self._document(Crash(error.kind, str(error), error.vcpu))
        except PyvmmError as why:
            self._say(f"no crash report: {why}")
            return
        for line in details(report):
            self._say(line)
        self._say(f"{report['next']}; {self._keep(report)}")

    def ended(self, status: int) -> None:
        """The guest has ended by itself: a report, if our kernel has panicked and could not tell before."""
        if self._directory < 0 or self._is_done or status != STATUS_PANIC or not self._machine.is_toro:
            return
        vcpu = self._vcpu_at(DEBUG_EXIT_PORT)
        try:
            self._tell(self._document(Crash("panic", f"vCPU {vcpu}: the guest's kernel has panicked", vcpu)))
        except PyvmmError as error:
            self._say(f"no crash report: {error}")

    def _tell(self, report: dict[str, Any]) -> None:
        """In one line: the guest reports the rest itself."""
        self._say(f"{headline(report)}; {self._keep(report)}")

    def _document(self, crash: Crash) -> dict[str, Any]:
        """The report about a guest whose vCPUs do not run.

        Raises:
            KvmError: KVM does not tell a vCPU's registers.
        """
        self._is_done = True
        measures = self._machine.measures
        uptime = (lib.clock_ns(_CLOCK_MONOTONIC) - measures.first_run_ns()) / 1e9
        return document(self._machine, self._image, crash, uptime, self._names())

    def _names(self) -> Names:
        try:
            file = self._open_image()
        except PyvmmError:
            file = None
        try:
            return Names(file)
        finally:
            if file:
                file.close()

    def _keep(self, report: dict[str, Any]) -> str:
        """Writes the files; returns what to say about them."""
        if self._directory < 0:
            return "`--crash DIR` keeps a report and a core file"
        from pyvmm.crash.storage import encoded

        try:
            self._write(REPORT, lambda fd: write(fd, [encoded(report)]))
            self._write(TEXT, lambda fd: write(fd, ["".join(f"{line}\n" for line in full(report)).encode()]))
            self._write_core(report)
        except OSError as error:
            return f"not all of it is kept: --crash {self._path}: {os.strerror(error.errno or 0)}"
        except HostError as error:
            return f"there is no core file: {error}"
        return f"the report and a core file are kept: `gdb {self._image} {self._path}/{CORE}`"

    def _write_core(self, report: dict[str, Any]) -> None:
        from pyvmm.crash.core import (
            NT_FPREGSET,
            NT_PRSTATUS,
            NT_X86_XSTATE,
            SIGNAL,
            Core,
            fpregset,
            note,
            prstatus,
            xstate,
        )  # fmt: skip
        from pyvmm.crash.mappings import mappings
        from pyvmm.crash.storage import encoded

        machine, crashed = self._machine, report["vcpu"]
        notes = []
        for vcpu in sorted(report["vcpus"], key=lambda vcpu: (vcpu["index"] != crashed, vcpu["index"])):
            index = vcpu["index"]
            native = machine.threads[index].vcpu
            registers = {name: int(value, 16) for name, value in vcpu["registers"].items()}
            notes.append(note(b"CORE", NT_PRSTATUS, prstatus(registers, index + 1, SIGNAL * (index == crashed))))
            notes.append(note(b"CORE", NT_FPREGSET, fpregset(native.fpu())))
            try:
                extended = xstate(bytes(ffi.buffer(native.xsave())), native.xcrs().xcrs[0].value)
            except KvmError:  # the host has no XSAVE
                extended = b""
            if extended:
                notes.append(note(b"LINUX", NT_X86_XSTATE, extended))
        notes.append(note(NOTE, NOTE_REPORT, encoded(report)))
        core = Core(machine.memory, mappings(machine.memory, machine.threads[crashed].vcpu.sregs()), notes)
        self._write(CORE, core.write)

    def _write(self, name: str, contents: Callable[[int], object]) -> None:
        """A file in place of one that is there."""
        file = self._files.pop(name)
        try:
            contents(file.fd)
            file.keep()
        finally:
            file.close()

    def close(self) -> None:
        """Closes everything. A second call does nothing."""
        if self._watchdog:
            self._watchdog.close()
        while self._files:
            self._files.popitem()[1].close()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1
