"""One guest and everything it runs on: the file that knows how the others fit together."""

from __future__ import annotations

import posix as os  # `import os` alone costs more than a millisecond

from pyvmm._kvm import ffi, lib
from pyvmm.boot.file import is_frozen
from pyvmm.bus import Bus
from pyvmm.devices.console import Console
from pyvmm.devices.debug_exit import DebugExit
from pyvmm.devices.i8042 import I8042
from pyvmm.errors import (
    STATUS_TERMINATED,
    HostError,
    KvmError,
    PyvmmError,
    not_imported,
)
from pyvmm.kvm.thread import VcpuThread, failure
from pyvmm.kvm.vcpu import Vcpu
from pyvmm.kvm.vm import Vm
from pyvmm.layout import VIRTIO_GSI, Ram, virtio_base
from pyvmm.made import Made
from pyvmm.memory import GuestMemory
from pyvmm.requests import Requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Thread
    from typing import Any, Protocol

    from pyvmm._kvm import Machine as NativeMachine
    from pyvmm.config import MachineConfig
    from pyvmm.consolepipe import ConsolePipe
    from pyvmm.eventloop import EventLoop
    from pyvmm.host.sandbox.confine import Sandbox
    from pyvmm.kvm.stats import Counters
    from pyvmm.measures import Measures
    from pyvmm.state.freeze import Freezer
    from pyvmm.state.request import Freezes
    from pyvmm.state.state import State
    from pyvmm.virtio.device import Device
    from pyvmm.virtio.mmio import VirtioMmio

_CLOCK_MONOTONIC = 1
_ESRCH, _EBUSY = 3, 16
_BRIEFLY = 0.1  # seconds
_SYSTEM_EVENT_RESET, _SYSTEM_EVENT_CRASH = 2, 3


if TYPE_CHECKING:

    class Debugger(Protocol):
        """What a debugger is told (see `gdb.server`)."""

        @property
        def is_connected(self) -> bool: ...
        def serves(self, thread: VcpuThread, reason: int) -> bool: ...
        def crashed(self, thread: VcpuThread, error: PyvmmError) -> None: ...
        def check(self) -> None: ...


class Machine:
    """A guest and the machine that it runs on.

    Args:
        config: what it is to be.
        devices: virtio devices, in the order in which the guest finds them;
            they are closed with the machine (see `pyvmm.api`).
        log: called with a line about a guest that misbehaves.
        console: descriptors of the guest's console (a UART), to read its input from and to write
            its output to; they stay the caller's. By default `console` is the other end of both.
        thawed: a machine that C has made, and may run already (`struct machine *`), with
            `console` as its console; or None.
        composed: called with the State before the guest runs, unless it has been thawed.

    Attributes:
        console: what the guest prints, and what it is to read; None where `console` was given.
        ports: where each published port of the guest is reached: (address, port) by its number.
        marks: CLOCK_MONOTONIC in ns of each step of the start, by name.
        memory: the guest's RAM.
        status: the guest's exit status, once it has ended.
        ending: how it has ended: `exit`, `shutdown`, `reset` or `kill`; empty if it runs, or has crashed.
        was_stopped: `stop` has ended it, or asked it to end.
        is_thawed: it was made of a State that was there, frozen or in the boot cache.
        is_toro: its kernel is ours, which pyvmm boots directly.
        threads: of its vCPUs.
        transports: of its virtio devices.
        debugger: what exits are shown to first, while GDB is connected.

    Raises:
        PyvmmError: it cannot be; nothing is left open.

    A machine belongs to its process alone: no signal handler is installed, nothing is printed,
    and any number of them may run, each in a thread::

        with Machine(MachineConfig("hello.elf", memory=64 << 20)) as machine:
            machine.start()
            machine.console.read_until(b"TORO!")
            assert machine.wait(timeout=10) == 0
    """

    def __init__(
        self,
        config: MachineConfig,
        devices: Sequence[Device] = (),
        log: Callable[[str], None] = lambda _: None,
        console: tuple[int, int] | None = None,
        thawed: NativeMachine | None = None,
        composed: Callable[[State], object] = lambda _: None,
    ) -> None:
        self.config = config
        self.status: int | None = None
        self.ending = ""
        self.marks: dict[str, int] = {}
        self.console: ConsolePipe | None = None
        self._devices = devices
        self._log = log
        self.transports: list[VirtioMmio] = []
        self.threads: list[VcpuThread] = []
        self._loop: EventLoop | None = None
        self._kept = 0  # closers that the end of the process does as well
        self._asked = False  # the guest was asked to end
        self.was_stopped = False
        self._counters: Counters | None = None
        self._measures: Measures | None = None
        self._is_paused = False
        self._holds = 0  # actions that `hold` will call
        self._grace_fd = -1  # timer until which it may
        self._freezes: Freezes | None = None
        self.debugger: Debugger | None = None
        self._requests = Requests(lambda: self.status is not None)
        self._error: BaseException | None = None
        self._thread: Thread | None = None  # of `start`
        self._closers: list[Callable[[], None]] = [device.close for device in devices]
        try:
            self._build(console or self._console_pipe(), thawed, composed)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the guest and frees all that it had. A second call does nothing."""
        if self._thread:
            self.stop(grace=0)
            self._thread.join()
            self._thread = None
        while self._closers:
            self._closers.pop()()

    def release(self) -> None:
        """Ends the guest, and releases everything visible outside this process.

        What `close` still has to free then, the VM and its memory, goes with the process as well.
        """
        while len(self._closers) > self._kept:
            self._closers.pop()()

    def _console_pipe(self) -> tuple[int, int]:
        from pyvmm.consolepipe import ConsolePipe

        try:
            self.console = pipe = ConsolePipe()
        except OSError as error:
            raise HostError("pipes for the console", error.errno or 0) from None
        self._closers.append(pipe.close)
        return pipe.guest_input, pipe.guest_output

    @property
    def ports(self) -> dict[int, tuple[str, int]]:
        """Where each published port of the guest is reached."""
        published = (port for device in self._devices for port in device.ports)
        return {guest_port: (address, port) for address, port, guest_port in published}

    def _build(
        self, streams: tuple[int, int], thawed: NativeMachine | None, composed: Callable[[State], object]
    ) -> None:
        self._made = made = self._make(streams[1], thawed, composed)
        self._closers.append(made.close)
        native = self._native = made.native
        self.memory, self.is_thawed = made.memory, made.is_thawed
        self._is_pc, self.is_toro = bool(native.flags & lib.STATE_PC), bool(native.boot_info)
        self.vm = Vm(native.vm_fd)
        self._kept = len(self._closers)

        self.bus = Bus(self.memory, ffi.addressof(native, "bus"))
        for index in range(native.cpus):
            vcpu = Vcpu(ffi.addressof(native.vcpus, index), self.bus)
            self.threads.append(VcpuThread(vcpu, started=native.running))
            self._closers.append(self.threads[-1].stop)
        serves = any(device.serves for device in self._devices)
        self._console = Console(ffi.addressof(native, "serial"), streams[0], self._log, serves)
        self._closers.append(self._console.close)
        for slot, device in enumerate(self._devices):
            self._add_device(slot, device)
        self.bus.serve_with(DebugExit.base, DebugExit.ports, DebugExit(self.end))
        self.bus.serve_with(I8042.base, I8042.ports, I8042(lambda: self.end(0, "reset")))
        for device in self._devices:
            if device.told_of_ports:
                from pyvmm.devices.listen import Listen

                self.bus.add(Listen.base, Listen.ports, Listen(device.listens))
        if self._is_pc:
            from pyvmm.devices.acpi_sleep import AcpiSleep

            self.bus.serve_with(AcpiSleep.base, AcpiSleep.ports, AcpiSleep(lambda: self.end(0, "shutdown")))
        # They end before what they use is closed, also when they run already and a device cannot be.
        self._closers += [thread.stop for thread in self.threads]
        for step, ns in (("state ready", native.state_ns), ("vm created", native.vm_ns),
                         ("memory ready", native.memory_ns), ("vCPUs ready", native.vcpus_ns)):  # fmt: skip
            self.marks[step] = ns

    def _make(self, console: int, thawed: NativeMachine | None, composed: Callable[[State], object]) -> Made:
        if thawed:
            return Made(thawed, GuestMemory(Ram(thawed.memory), made=thawed), is_thawed=True)
        shared = any(device.shares_memory for device in self._devices)
        kinds = [device.device_id for device in self._devices]
        if is_frozen(self.config.image):
            return Made.of_file(self.config.image, kinds, shared, console)
        return Made.of_image(self.config, kinds, shared, console, composed)

    def _add_device(self, slot: int, device: Device) -> None:
        from pyvmm.virtio.mmio import VirtioMmio

        native = self._native
        virtio = VirtioMmio(device, virtio_base(slot), self.bus, self.memory, self._log, native.cpus)
        self._closers.append(virtio.close)
        self.transports.append(virtio)
        if self._is_pc:
            virtio.use_line(self.vm.fd, VIRTIO_GSI + slot)
        else:
            self.vm.irqfd(virtio.irq_fd, VIRTIO_GSI + slot)
        size = ffi.new("uint64_t *")
        frozen = lib.state_section(native.state, lib.STATE_DEVICE, slot, size)
        if frozen:
            virtio.restore(bytes(ffi.buffer(frozen, size[0])))

    def start(self) -> None:
        """Runs the guest in a thread of its own; `wait` tells how it ended."""
        from threading import Thread

        self._thread = Thread(target=self._run_in_thread, name="pyvmm")
        self._thread.start()

    def _run_in_thread(self) -> None:
        try:
            self.run()
        except BaseException as error:
            self._error = error
        finally:
            if self.console:
                self.console.guest_has_ended()

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end of a guest that `start` has started.

        What it still prints is kept for `console`.

        Args:
            timeout: seconds, or None for ever.

        Returns:
            Its exit status.

        Raises:
            TimeoutError: it still runs.
            PyvmmError: as for `run`.
        """
        assert self._thread, "the machine was not started"
        if self.console:
            self.console.drain(timeout)
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"the guest still runs after {timeout} s")
        if self._error:
            raise self._error
        assert self.status is not None
        return self.status

    def run(self, running: Callable[[EventLoop], None] = lambda _: None, sandbox: Sandbox | None = None) -> int:
        """Runs the guest to its end, with its devices served in this thread.

        Args:
            running: called once its vCPUs run, with the loop that will serve it.
            sandbox: confines this process, for good, before anything of the guest is looked at.

        Returns:
            Its exit status, or that of the `stop` which ended it.

        Raises:
            GuestError: a vCPU cannot go on.
            HostError: the host has no thread or descriptor left.
        """
        event_fd: int = self._native.event_fd
        if sandbox:
            sandbox.know(self.vm.fd, self._is_pc)
            if not self._native.running:
                self.bus.close()
        else:
            self.bus.open()  # from now on a guest that runs already is seen
        if not self._native.running:
            pins = self.config.pins(len(self.threads)) or [None] * len(self.threads)
            for thread, cpu in zip(self.threads, pins, strict=True):
                thread.start(event_fd, cpu, len(self.threads))
        # The guest runs, also where it shares the only free core with this thread;
        # what only this thread needs is loaded meanwhile.
        os.sched_yield()
        if sandbox:
            self._console.prepare()
            sandbox.enter(self.transports)
            self.bus.open()
        try:
            from pyvmm.eventloop import EventLoop

            self._loop = loop = EventLoop()
        except OSError as error:
            raise HostError("event loop", error.errno or 0) from None
        except ImportError as error:  # `select` may be in a file of its own
            raise not_imported(error) from None
        self._closers.append(loop.close)
        self._console.attach(loop)
        for virtio in self.transports:
            virtio.attach(loop)
            self._closers.append(virtio.device.close)
        loop.add(event_fd, self._serve_exits)
        self._closers.append(self._requests.close)
        self._requests.attach(loop)
        if self._freezes:
            self._freezes.attach(loop)
            self._closers.append(self._freezes.close)
        running(loop)
        if sandbox and not sandbox.stays:
            sandbox.settle()
        try:
            loop.run()
        finally:
            for thread in self.threads:
                thread.stop()
            self._requests.end()
        if self._grace_fd >= 0:
            loop.remove(self._grace_fd)
        for virtio in self.transports:
            virtio.device.finish(loop)
        if self._error:
            raise self._error
        assert self.status is not None
        return self.status

    def stop(self, status: int = STATUS_TERMINATED, grace: float = 1.0) -> None:
        """Ends the guest. May be called from any thread, and before `run`.

        Args:
            status: what `run` returns unless the guest ends by itself.
            grace: seconds that a guest gets which can be asked to end; 0 ends it at once, and so
                does a second call.
        """
        self.request(lambda: self._stop(status, grace))

    def request(self, action: Callable[[], None]) -> None:
        """Has `action` called in the thread of `run`. May be called from any thread, and before `run`."""
        self._requests.add(action)

    def freeze(self, path: str, end: bool = False) -> None:
        """Writes the guest, as it is now, to a file, by which any number of machines may go on.

        May be called from any thread but that of `run`, while the guest runs.

        Args:
            path: the file; one that is there is replaced.
            end: the guest ends then, with status 0.

        Raises:
            HostError: it cannot be written, or not be frozen now; the guest goes on.
        """
        from pyvmm.state.request import FreezeRequest, open_file

        directory, file = open_file(path)
        try:
            FreezeRequest(self, file.fd, path, end).wait()
            file.keep(sync=True)
        except OSError as error:
            raise HostError(path, error.errno or 0) from None
        finally:
            file.close()
            os.close(directory)

    def freeze_when_idle(self, path: str, end: bool, done: Callable[[], None] = lambda: None) -> None:
        """Freezes the guest once: when it has nothing to do, or asks for it. To be called before `run`.

        Args:
            path, end: see `freeze`.
            done: called then.
        """
        from pyvmm.state.request import Freezes

        self._freezes = Freezes(self, path, end, done)
        self._freezes.add_port(self.bus)

    @property
    def was_frozen(self) -> bool:
        """Whether what `freeze_when_idle` asked for was done."""
        return bool(self._freezes and self._freezes.is_done)

    @classmethod
    def thaw(cls, path: str, devices: Sequence[Device] = (), **options: Any) -> Machine:
        """A machine by which the guest in a frozen file goes on; nothing of the file is changed.

        Args:
            path: the file.
            devices: of the same kinds, in the same order, as it had.
            options: `log` and `console`.

        Raises:
            PyvmmError: the file is damaged, or this host cannot run it.
        """
        from pyvmm.config import MachineConfig

        return cls(MachineConfig(path), devices, **options)

    def freezer(self, patience: float | None = None) -> Freezer:
        """Pauses the guest while it is open. For the thread of `run`.

        Args:
            patience: seconds for it to pause, by default 5.

        Raises:
            HostError: GDB is connected.
        """
        from pyvmm.state.freeze import PATIENCE, Freezer

        self._refuse_while_debugged()
        vcpus = [thread.vcpu for thread in self.threads]
        return Freezer(
            self._native, self.vm, vcpus, self.memory, self.transports, self._serve_while_pausing, self._stays_paused,
            PATIENCE if patience is None else patience,
        )  # fmt: skip

    def hold(self, action: Callable[[], None]) -> None:
        """Pauses each vCPU where it is, or behind the exit that is being served, until `action` is done.

        For the thread of `run`, which calls `action` soon. What GDB has stopped or lets run stays so.
        """

        def act() -> None:
            self._holds -= 1
            action()
            if not self._stays_paused() and not self._is_debugged():
                self._unpause_vcpus()

        self._holds += 1
        if not self._is_debugged():
            self.pause_vcpus()
        self.request(act)

    def pause_vcpus(self) -> None:
        """Pauses each vCPU, also before it runs. For the thread of `run`, or before that."""
        for thread in self.threads:
            lib.vcpu_pause(thread.vcpu.native)

    def _unpause_vcpus(self) -> None:
        for thread in self.threads:
            lib.vcpu_unpause(thread.vcpu.native)

    def _stays_paused(self) -> bool:
        return self._is_paused or self._holds > 0

    @property
    def cpus(self) -> int:
        """Number of vCPUs."""
        return int(self._native.cpus)

    @property
    def is_paused(self) -> bool:
        """Whether `pause` has paused it."""
        return self._is_paused

    def _is_debugged(self) -> bool:
        """Whether GDB alone says which vCPU runs."""
        return bool(self.debugger and self.debugger.is_connected)

    def _refuse_while_debugged(self) -> None:
        if self._is_debugged():
            raise HostError("pausing the guest", _EBUSY, "GDB is connected or awaited")

    def pause(self) -> None:
        """Pauses the guest until `resume`. Time goes on for it. For the thread of `run`.

        Raises:
            HostError: GDB is connected.
        """
        self._refuse_while_debugged()
        self._is_paused = True
        self.pause_vcpus()

    def resume(self) -> None:
        """Lets the guest go on. For the thread of `run`."""
        self._is_paused = False
        if not self._holds:
            self._unpause_vcpus()

    def _serve_while_pausing(self) -> None:
        self._serve_exits()
        if self.status is not None or self._error:
            raise HostError("freezing", _ESRCH, "the guest has ended")

    def has_input(self) -> bool:
        """Whether there is input on the console that the guest wants and has not taken yet."""
        return self._console.has_input()

    def use_terminal(self) -> None:
        """Sets the console's terminal up again, after the process was stopped."""
        self._console.use_terminal()

    def release_terminal(self) -> None:
        """Restores the console's terminal; to be called before the process is stopped."""
        self._console.release_terminal()

    def fail(self, error: PyvmmError) -> None:
        """Ends the guest because of an error, which `run` raises; it may have ended already, or failed."""
        if self.status is None:
            self._error = self._error or error
        if self._loop:
            self._loop.stop()

    def end(self, status: int, ending: str = "exit") -> None:
        """Ends the guest at once, unless it has ended. For the thread of `run`."""
        if self.status is None:
            self.marks["exit"] = self._native.exit_ns or now_ns()
            self.status, self.ending = status, ending
        if self._loop:
            self._loop.stop()

    def _stop(self, status: int, grace: float) -> None:
        if self._requests.is_over:
            return
        self.was_stopped = True
        if not (grace and self._ask_for_end(status, grace)):
            self.end(status, "kill")

    def _ask_for_end(self, status: int, grace: float) -> bool:
        """Asks the guest, once; False: that is not to be waited for."""
        assert self._loop
        timer = lib.timer_fd(int(grace * 1e9)) if self._grace_fd < 0 else -1
        if timer < 0:
            return False
        self._grace_fd = timer
        self._closers.append(lambda: os.close(timer))
        self._loop.add(timer, lambda: self.end(status, "kill"), urgent=True)
        if self._is_paused:
            self.resume()
        return self._asked or self.ask_for_end()

    def ask_for_end(self) -> bool:
        """Asks the guest to end, which takes as long as it likes. For the thread of `run`.

        Returns:
            False if it cannot be asked.
        """
        message: int = self._native.shutdown_message
        try:
            if message:
                self.vm.signal_msi(0, message)
        except KvmError:  # its local APIC is disabled
            return False
        self._asked = bool(message)
        return self._asked

    def _serve_exits(self) -> None:
        try:
            os.read(self._native.event_fd, 8)
        except BlockingIOError:
            pass
        for thread in self.threads:
            try:
                reason = thread.exit_reason()
                if reason is not None:
                    self._serve_exit(thread, reason)
            except PyvmmError as error:
                if not self.debugger:
                    self.fail(error)
                    return
                self.debugger.crashed(thread, error)
            if self.status is not None:
                return
        if self.debugger:
            self.debugger.check()

    def _serve_exit(self, thread: VcpuThread, reason: int) -> None:
        if self.debugger and self.debugger.serves(thread, reason):
            return
        if reason in (lib.KVM_EXIT_IO, lib.KVM_EXIT_MMIO):
            self.bus.serve(thread.vcpu.native, mmio=reason == lib.KVM_EXIT_MMIO)
        elif ending := self._ending(thread.vcpu, reason):
            self.end(0, ending)
        elif self._asked:  # before it had a handler
            self.end(STATUS_TERMINATED, "kill")
        else:
            raise failure(thread.vcpu, reason)
        if self.status is None:
            thread.resume()

    def _ending(self, vcpu: Vcpu, reason: int) -> str:
        """How a guest ends itself by this exit; empty if it has crashed."""
        if reason == lib.KVM_EXIT_SYSTEM_EVENT:
            event = int(vcpu.native.detail[0])
            return "" if event == _SYSTEM_EVENT_CRASH else "reset" if event == _SYSTEM_EVENT_RESET else "shutdown"
        if reason != lib.KVM_EXIT_SHUTDOWN or not self._is_pc:
            return ""
        limits: int = self._native.reset_limits
        return "reset" if vcpu.sregs().idt.limit in (limits & 0xFFFF, limits >> 16) else ""

    def kvm_counters(self) -> Counters:
        """KVM's own statistics. For the thread of `run`.

        Raises:
            HostError: KVM has none, or they cannot be had now.
        """
        if not self._counters:
            from pyvmm.kvm.stats import Counters

            with self.freezer(_BRIEFLY):  # an ioctl of a vCPU waits until it does not run
                self._counters = Counters(self.vm.fd, [thread.vcpu.fd for thread in self.threads])
            self._closers.append(self._counters.close)
        return self._counters

    def counts(self) -> list[tuple[str, dict[str, int]]]:
        """What has been counted of each device, by the kind of device."""
        return [(device.name, device.counts()) for device in self._devices]

    @property
    def measures(self) -> Measures:
        """What has been counted and timed."""
        if not self._measures:
            from pyvmm.measures import Measures

            self._measures = Measures(self._native, self.memory)
            self._closers.append(self._measures.close)
        return self._measures


def now_ns() -> int:
    """CLOCK_MONOTONIC. (The module `time` reads the time zone when it is imported.)"""
    return int(lib.clock_ns(_CLOCK_MONOTONIC))
