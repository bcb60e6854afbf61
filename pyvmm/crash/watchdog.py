"""Notices a guest that hangs: a vCPU runs on and on, without a halt or an exit.

KVM counts halts, and pyvmm exits; both are read without disturbing the guest. Only a vCPU of
which neither has changed is paused, to see where it is.
"""

from __future__ import annotations

import posix as os
from time import monotonic

from pyvmm._kvm import lib
from pyvmm.errors import GuestError, HostError, KvmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.eventloop import Loop
    from pyvmm.machine import Machine

_LOOKS = 4  # in the time that a guest is given
_BRIEFLY = 0.2  # seconds for a vCPU to pause
_COUNTS = ("halt_exits", "halt_wakeup", "halt_successful_poll")


class Watchdog:
    """Of one guest.

    Args:
        machine: the guest's; it fails if the guest hangs.
        seconds: that a vCPU may run without a pause.
    """

    def __init__(self, machine: Machine, seconds: int) -> None:
        self._machine, self._seconds = machine, seconds
        self._timer = -1
        self._seen: list[tuple[int, ...]] = []
        self._since: list[float] = []

    def attach(self, loop: Loop) -> None:
        """Looks at the guest from time to time."""
        self._loop = loop
        self._wait()

    def _wait(self) -> None:
        self._timer = lib.timer_fd(self._seconds * 1_000_000_000 // _LOOKS)
        if self._timer >= 0:
            self._loop.add(self._timer, self._look)

    def _counts(self) -> list[tuple[int, ...]]:
        """What changes when a vCPU halts or exits; a vCPU that is halted never has the same twice."""
        now = int(monotonic() * 1e9)
        kinds = range(lib.VCPU_EXIT_KINDS)
        exits = [sum(thread.vcpu.native.exits[kind] for kind in kinds) for thread in self._machine.threads]
        return [
            (made, now * counts.get("blocking", 0), *(counts.get(name, 0) for name in _COUNTS))
            for made, counts in zip(exits, self._machine.kvm_counters().vcpus(), strict=True)
        ]

    def _look(self) -> None:
        self.close()
        machine = self._machine
        try:
            counts = self._counts()
        except KvmError as error:  # there are none
            machine.fail(error)
            return
        except HostError:  # a vCPU is in pyvmm, or the guest has just ended
            counts = []
        now = monotonic()
        if not (counts and self._seen) or machine.is_paused or (machine.debugger and machine.debugger.is_connected):
            self._since = [now] * machine.cpus
        else:
            pairs = zip(self._since, self._seen, counts, strict=True)
            self._since = [since if before == after else now for since, before, after in pairs]
        self._seen = counts
        index = min(range(machine.cpus), key=lambda index: self._since[index])
        if now - self._since[index] >= self._seconds:
            self._fail(index)
        else:
            self._wait()

    def _fail(self, index: int) -> None:
        """Ends the guest, unless a vCPU is in pyvmm: it waits for somebody to read the console."""
        machine = self._machine
        try:
            with machine.freezer(_BRIEFLY) as freezer:
                rip = machine.threads[index].vcpu.regs().rip
                message = f"vCPU {index} at {rip:#x}: hang: no halt and no exit for {self._seconds} s"
                freezer.keep_paused()
                machine.fail(GuestError(message, "hang", index))
        except HostError:
            self._seen = []
            self._wait()

    def close(self) -> None:
        """Stops looking. A second call does nothing."""
        if self._timer >= 0:
            self._loop.remove(self._timer)
            os.close(self._timer)
            self._timer = -1
