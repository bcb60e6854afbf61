"""One guest and everything it runs on: the file that knows how the others fit together."""

from __future__ import annotations

import posix as os  # `import os` alone costs more than a millisecond
from _thread import allocate_lock

from pyvmm._kvm import lib
from pyvmm.boot.bootinfo import MARKS
from pyvmm.boot.choose import choose
from pyvmm.boot.file import File
from pyvmm.bus import Bus, eventfd
from pyvmm.devices.console import Console
from pyvmm.devices.debug_exit import DebugExit
from pyvmm.devices.i8042 import I8042
from pyvmm.errors import (
    STATUS_TERMINATED,
    HostError,
    KvmError,
    PyvmmError,
)
from pyvmm.kvm import Kvm, take_early
from pyvmm.kvm.thread import VcpuThread, failure
from pyvmm.layout import (
    IOAPIC_PINS,
    IRQ_BASE,
    KVM_TSS_ADDR,
    SERIAL_GSI,
    VIRTIO_GSI,
    VIRTIO_MMIO_BASE,
    VIRTIO_MMIO_STRIDE,
    Ram,
)
from pyvmm.memory import GuestMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Thread

    from pyvmm.config import MachineConfig
    from pyvmm.consolepipe import ConsolePipe
    from pyvmm.eventloop import EventLoop
    from pyvmm.kvm import Vcpu
    from pyvmm.virtio.device import Device
    from pyvmm.virtio.mmio import VirtioMmio

_CLOCK_REALTIME, _CLOCK_MONOTONIC = 0, 1
_EMFILE = 24
_SYSTEM_EVENT_CRASH = 3


class Machine:
    """A guest and the machine that it runs on.

    Args:
        config: what it is to be.
        devices: virtio devices, in the order in which the guest finds them;
            they are closed with the machine (see `pyvmm.api`).
        log: called with a line about a guest that misbehaves.
        console: descriptors of the guest's console (a UART), to read its input from and to write
            its output to; they stay the caller's. By default `console` is the other end of both.

    Attributes:
        console: what the guest prints, and what it is to read; None where `console` was given.
        ports: where each published port of the guest is reached: (address, port) by its number.
        marks: CLOCK_MONOTONIC in ns of each step of the start, by name.
        memory: the guest's RAM.
        status: the guest's exit status, once it has ended.

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
    ) -> None:
        self.config = config
        self.status: int | None = None
        self.marks: dict[str, int] = {}
        self.console: ConsolePipe | None = None
        self._devices = devices
        self._log = log
        self._virtio: list[VirtioMmio] = []
        self._threads: list[VcpuThread] = []
        self._loop: EventLoop | None = None
        self._kept = 0  # closers that the end of the process does as well
        self._clock = (0, 0)  # TSC and CLOCK_MONOTONIC in ns at the same moment
        self._tsc_offset: int | None = None
        self._asked = False  # the guest was asked to end
        self._requests: list[tuple[int, float]] = []  # of `stop`
        self._stop_fd = -1  # tells the loop of them
        self._stop_lock = allocate_lock()
        self._error: BaseException | None = None
        self._thread: Thread | None = None  # of `start`
        self._closers: list[Callable[[], None]] = [device.close for device in devices]
        try:
            self._build(console or self._console_pipe())
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
        with self._stop_lock:
            self._stop_fd = -1
        while self._closers:
            self._closers.pop()()

    def release(self) -> None:
        """Ends the guest, and releases everything visible outside this process.

        What `close` still has to free then, the VM and its memory, goes with the process as well.
        """
        while len(self._closers) > self._kept:
            self._closers.pop()()

    def _mark(self, name: str) -> None:
        self.marks[name] = now_ns()

    def _eventfd(self) -> int:
        fd = eventfd()
        self._closers.append(lambda: os.close(fd))
        return fd

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

    def _build(self, streams: tuple[int, int]) -> None:
        config = self.config
        file = self._open(config.image)
        initrd = self._open(config.initrd) if config.initrd else None
        ram = Ram(config.memory)
        self._boot = boot = choose(file, config.boot, ram, config.cpus, self._command_line(), initrd)

        early = take_early(not boot.is_pc and config.memory >= lib.EARLY_SLOT)
        if early:
            self._closers.append(lambda: lib.early_discard(early))
        kvm = Kvm(early=early)
        self._closers.append(kvm.close)
        kvm.require("KVM_CAP_IMMEDIATE_EXIT", "KVM_CAP_SPLIT_IRQCHIP", "KVM_CAP_SYNC_REGS")
        self.vm = kvm.create_vm(early)
        self._closers.append(self.vm.close)
        self._mark("vm created")

        self.memory = GuestMemory(ram, early)
        self._closers.append(self.memory.close)
        boot.load(file, self.memory)
        self._mark("image loaded")
        self._kept = len(self._closers)

        # A slot is cheap as long as there is no interrupt controller.
        self.bus = Bus(self.memory, self.vm.slots_on_demand(self.memory.native, boot.end))
        self._mark("memory ready")
        if boot.is_pc:
            self._add_pc_interrupts(streams)
        else:
            self._add_messages(streams, bool(early))
        boot.write_devices(
            self.memory,
            [(virtio.base, VIRTIO_GSI + index, virtio.device.device_id) for index, virtio in enumerate(self._virtio)],
        )
        if not early:
            self.vm.set_tss_addr(KVM_TSS_ADDR)
        for index in range(config.cpus):
            self._threads.append(VcpuThread(self.vm.create_vcpu(index, self.bus, None if index else early)))
            self._closers.append(self._threads[-1].close)
        vcpus = [thread.vcpu for thread in self._threads]
        boot.set_cpus(vcpus, kvm, have_cpuid=bool(early and early.cpus == len(vcpus)))
        self._tell_time()
        self._mark("vCPUs ready")

    def _open(self, name: str) -> File:
        file = File(name)
        self._closers.append(file.close)
        return file

    def _command_line(self) -> bytes:
        """The user's, and behind it the devices as Linux's virtio_mmio names them."""
        words = [self.config.command_line] if self.config.command_line else []
        for index in range(len(self._devices)):
            base, gsi = _virtio_base(index), VIRTIO_GSI + index
            words.append(b"virtio_mmio.device=%d@%#x:%d" % (VIRTIO_MMIO_STRIDE, base, gsi))
        return b" ".join(words)

    def _add_devices(self, streams: tuple[int, int]) -> dict[int, int]:
        """Puts the devices on the bus; returns the eventfd of each one's GSI."""
        self._console = Console(self.bus, *streams, self._log)
        self._closers.append(self._console.close)
        interrupts = {SERIAL_GSI: self._console.irq_fd}
        if self._devices:
            from pyvmm.virtio.mmio import VirtioMmio
        for index, device in enumerate(self._devices):
            virtio = VirtioMmio(device, _virtio_base(index), self.bus, self.memory, self._log, self.config.cpus)
            self._closers.append(virtio.close)
            self._virtio.append(virtio)
            interrupts[VIRTIO_GSI + index] = virtio.irq_fd
        self.bus.add(DebugExit.base, DebugExit.ports, DebugExit(self._end))
        self.bus.add(I8042.base, I8042.ports, I8042(lambda: self._end(0)))
        return interrupts

    def _add_messages(self, streams: tuple[int, int], made: bool) -> None:
        """Devices whose interrupts are messages to CPU 0, where only local APICs are KVM's.

        Args:
            made: the interrupt controller is there already.
        """
        if not made:
            self.vm.split_irqchip(IOAPIC_PINS)
        interrupts = self._add_devices(streams)
        self.vm.route_msi({gsi: (0, IRQ_BASE + gsi) for gsi in interrupts})
        for gsi, irq_fd in interrupts.items():
            self.vm.irqfd(irq_fd, gsi)

    def _add_pc_interrupts(self, streams: tuple[int, int]) -> None:
        """Devices with pins of the IOAPIC, and what else of a PC a guest looks for."""
        from pyvmm.devices.acpi_sleep import AcpiSleep

        self.vm.create_irqchip()
        self.vm.create_pit()
        self._add_devices(streams)
        self.vm.route_ioapic(IOAPIC_PINS)
        for index, virtio in enumerate(self._virtio):
            virtio.use_line(self.vm.fd, VIRTIO_GSI + index)
        self.vm.irqfd(self._console.irq_fd, SERIAL_GSI)
        self.bus.add(AcpiSleep.base, AcpiSleep.ports, AcpiSleep(lambda: self._end(0)))

    def _tell_time(self) -> None:
        """Tells a guest that makes marks the clocks as they are now."""
        if self._boot.marks is None:
            return
        vcpu = self._threads[0].vcpu
        self._tsc_offset = vcpu.tsc_offset()
        self._clock = (lib.rdtsc(), now_ns())
        self._boot.write_clock(
            self.memory,
            tsc_hz=vcpu.tsc_khz() * 1000,
            wall_clock_ns=lib.clock_ns(_CLOCK_REALTIME),
            wall_clock_tsc=(self._clock[0] + (self._tsc_offset or 0)) % (1 << 64),
        )

    def awake(self) -> None:
        """To be called before `run` of a machine that has waited: tells it the time as it is now."""
        self.marks.clear()
        self._tell_time()

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

    def run(self, running: Callable[[EventLoop], None] = lambda _: None) -> int:
        """Runs the guest to its end, with its devices served in this thread.

        Args:
            running: called once its vCPUs run, with the loop that will serve it.

        Returns:
            Its exit status, or that of the `stop` which ended it.

        Raises:
            GuestError: a vCPU cannot go on.
            HostError: the host has no thread or descriptor left.
        """
        event_fd = self._eventfd()
        # Threads end before what they use is closed.
        self._closers += [thread.close for thread in self._threads]
        pins = self.config.pin or [None] * self.config.cpus
        for thread, cpu in zip(self._threads, pins, strict=True):
            thread.start(event_fd, cpu)

        # The guest runs, also where it shares the only free core with this thread;
        # what only this thread needs is loaded meanwhile.
        os.sched_yield()
        try:
            from pyvmm.eventloop import EventLoop

            self._loop = loop = EventLoop()
        except OSError as error:
            raise HostError("event loop", error.errno or 0) from None
        except ImportError:  # `select` may be in a file of its own
            raise HostError("event loop", _EMFILE) from None
        self._closers.append(loop.close)
        self._console.attach(loop)
        for virtio in self._virtio:
            virtio.attach(loop)
            self._closers.append(virtio.device.close)
        loop.add(event_fd, lambda: self._serve_exits(event_fd))
        self._stop_fd = self._eventfd()
        loop.add(self._stop_fd, self._serve_requests, urgent=True)
        self._tell_of_requests()  # those from before
        running(loop)
        try:
            loop.run()
        finally:
            for thread in self._threads:
                thread.stop()
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
        self._requests.append((status, grace))
        self._tell_of_requests()

    def _tell_of_requests(self) -> None:
        with self._stop_lock:  # or `close` has closed it, and another file has its number
            if self._stop_fd >= 0:
                os.write(self._stop_fd, (1).to_bytes(8, "little"))

    def _end(self, status: int) -> None:
        self._mark("exit")
        self.status = status
        if self._loop:
            self._loop.stop()

    def _serve_requests(self) -> None:
        try:
            os.read(self._stop_fd, 8)
        except BlockingIOError:  # served while a callback was waiting
            return
        while self._requests and self.status is None:
            status, grace = self._requests.pop(0)
            if not (grace and self._ask_for_end(status, grace)):
                self._end(status)

    def _ask_for_end(self, status: int, grace: float) -> bool:
        """Asks the guest, once; False: that is not to be waited for."""
        assert self._loop
        timer = lib.timer_fd(int(grace * 1e9)) if self._boot.shutdown_message and not self._asked else -1
        if timer < 0:
            return False
        self._asked = True
        self._closers.append(lambda: os.close(timer))
        self._loop.add(timer, lambda: self._end(status), urgent=True)
        try:
            self.vm.signal_msi(0, self._boot.shutdown_message)
        except KvmError:  # its local APIC is disabled
            return False
        return True

    def _serve_exits(self, event_fd: int) -> None:
        os.read(event_fd, 8)
        for thread in self._threads:
            try:
                reason = thread.exit_reason()
                if reason is not None:
                    self._serve_exit(thread, reason)
            except PyvmmError as error:
                self._error = error
                assert self._loop
                self._loop.stop()
                return
            if self.status is not None:
                return

    def _serve_exit(self, thread: VcpuThread, reason: int) -> None:
        if reason in (lib.KVM_EXIT_IO, lib.KVM_EXIT_MMIO):
            self.bus.serve(thread.vcpu.native, mmio=reason == lib.KVM_EXIT_MMIO)
        elif self._is_end(thread.vcpu, reason):
            self._end(0)
        elif self._asked:  # before it had a handler
            self._end(STATUS_TERMINATED)
        else:
            raise failure(thread.vcpu, reason)
        if self.status is None:
            thread.resume()

    def _is_end(self, vcpu: Vcpu, reason: int) -> bool:
        """Whether a guest ends, or resets, itself by this exit."""
        if reason == lib.KVM_EXIT_SYSTEM_EVENT:
            return int(vcpu.native.detail[0]) != _SYSTEM_EVENT_CRASH
        return reason == lib.KVM_EXIT_SHUTDOWN and vcpu.sregs().idt.limit in self._boot.reset_limits

    def exits(self) -> dict[int, int]:
        """How many exits of each kind (KVM_EXIT_*) all vCPUs have had."""
        natives = [thread.vcpu.native for thread in self._threads]
        totals = ((kind, sum(native.exits[kind] for native in natives)) for kind in range(lib.VCPU_EXIT_KINDS))
        return {kind: total for kind, total in totals if total}

    def emulated(self) -> int:
        """How many instructions pyvmm has executed because KVM could not."""
        return sum(thread.vcpu.native.emulated for thread in self._threads)

    def interpreted(self) -> int | None:
        """How many instructions KVM itself has executed in the CPU's place; None where it does not tell.

        Where the CPU does not help KVM, those are all of ring 0.
        """
        try:
            return sum(thread.vcpu.stats()["insn_emulation"] for thread in self._threads)
        except (PyvmmError, KeyError):
            return None

    def guest_marks(self) -> dict[str, int]:
        """The marks that the guest has made, in ns of CLOCK_MONOTONIC."""
        if self._tsc_offset is None or self._boot.marks is None:
            return {}
        tsc, ns = lib.rdtsc(), now_ns()
        ns_per_tick = (ns - self._clock[1]) / (tsc - self._clock[0])
        raw = self.memory.read(self._boot.marks, 8 * len(MARKS))
        marks = {}
        for i, name in enumerate(MARKS):
            guest = int.from_bytes(raw[8 * i : 8 * i + 8], "little")
            if guest:
                host = (guest - self._tsc_offset) % (1 << 64)
                marks[name] = self._clock[1] + round((host - self._clock[0]) * ns_per_tick)
        return marks

    def first_run_ns(self) -> int:
        """CLOCK_MONOTONIC of the first KVM_RUN, 0 before it."""
        return int(self._threads[0].vcpu.native.first_run_ns)


def now_ns() -> int:
    """CLOCK_MONOTONIC. (The module `time` reads the time zone when it is imported.)"""
    return int(lib.clock_ns(_CLOCK_MONOTONIC))


def _virtio_base(index: int) -> int:
    return VIRTIO_MMIO_BASE + index * VIRTIO_MMIO_STRIDE
