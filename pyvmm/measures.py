"""What is counted and timed of a guest: exits, instructions that were interpreted, steps of its start."""

from __future__ import annotations

import posix as os

from pyvmm._kvm import ffi, lib
from pyvmm.boot.bootinfo import MARKS, offset_of
from pyvmm.errors import PyvmmError
from pyvmm.kvm.ioctl import stats_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm._kvm import Machine, Vcpu
    from pyvmm.memory import GuestMemory

_CLOCK_MONOTONIC = 1
#: What KVM_EXIT_* are called.
EXIT_NAMES = {
    getattr(lib, f"KVM_EXIT_{name}"): name.lower().replace("_", " ")
    for name in "IO MMIO HLT INTR SHUTDOWN FAIL_ENTRY INTERNAL_ERROR SYSTEM_EVENT IOAPIC_EOI DEBUG UNKNOWN".split()
}


class Measures:
    """Those of one machine.

    Args:
        native: the C side.
        memory: the guest's RAM.
    """

    def __init__(self, native: Machine, memory: GuestMemory) -> None:
        self._native, self._memory = native, memory
        self._files: dict[str, int] = {}

    def open(self) -> None:
        """Opens what `steal_ns` and `touched_bytes` read, which a confined process cannot do later.

        To be called once the threads of all vCPUs were started.
        """
        while 0 in self.threads():
            os.sched_yield()
        self.steal_ns()
        self.touched_bytes()

    def close(self) -> None:
        """Closes what was opened. A second call does nothing."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _read(self, path: str) -> str:
        """The text of a file of /proc, which stays open; empty if it is gone."""
        text = b""
        try:
            if path not in self._files:
                self._files[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            while part := os.pread(self._files[path], 1 << 16, len(text)):
                text += part
        except OSError:
            return ""
        return text.decode(errors="replace")

    def _vcpus(self) -> list[Vcpu]:
        return [ffi.addressof(self._native.vcpus, index) for index in range(self._native.cpus)]

    def exits(self) -> dict[int, int]:
        """How many exits of each kind (KVM_EXIT_*) all vCPUs have had."""
        vcpus = self._vcpus()
        totals = ((kind, sum(vcpu.exits[kind] for vcpu in vcpus)) for kind in range(lib.VCPU_EXIT_KINDS))
        return {kind: total for kind, total in totals if total}

    def emulated(self) -> int:
        """How many instructions pyvmm has executed because KVM could not."""
        return sum(vcpu.emulated for vcpu in self._vcpus())

    def interpreted(self) -> int | None:
        """How many instructions KVM itself has executed in the CPU's place; None where it does not tell.

        Where the CPU does not help KVM, those are all of ring 0.
        """
        try:
            return sum(stats_of(vcpu.fd)["insn_emulation"] for vcpu in self._vcpus())
        except (PyvmmError, KeyError):
            return None

    def guest_marks(self) -> dict[str, int]:
        """The marks that the guest has made (see `bootinfo.MARKS`), in ns of CLOCK_MONOTONIC."""
        native = self._native
        if not (native.has_tsc_offset and native.boot_info):
            return {}
        tsc = ffi.new("uint64_t *")
        ns = int(lib.clock_with_tsc(_CLOCK_MONOTONIC, tsc))
        ns_per_tick = (ns - native.clock_ns) / (tsc[0] - native.clock_tsc)
        raw = self._memory.read(native.boot_info + offset_of("marks"), 8 * len(MARKS))
        marks = {}
        for i, name in enumerate(MARKS):
            guest = int.from_bytes(raw[8 * i : 8 * i + 8], "little")
            if guest:
                host = (guest - native.tsc_offset) % (1 << 64)
                marks[name] = native.clock_ns + round((host - native.clock_tsc) * ns_per_tick)
        return marks

    def threads(self) -> list[int]:
        """The thread ID of each vCPU, 0 for one that does not run in a thread of this process."""
        return [int(vcpu.thread_id) for vcpu in self._vcpus()]

    def steal_ns(self) -> int:
        """How long the vCPUs' threads have waited for a host CPU (Documentation/scheduler/sched-stats.rst)."""
        texts = [self._read(f"/proc/self/task/{thread}/schedstat") for thread in self.threads() if thread]
        return sum(int(text.split()[1]) for text in texts if text)

    def touched_bytes(self) -> int:
        """How much of the guest's memory is in the host's memory."""
        start = int(ffi.cast("uintptr_t", self._native.host))
        end = start + self._native.memory
        touched, inside = 0, False
        for line in self._read("/proc/self/smaps").splitlines():
            words = line.split()
            if "-" in words[0]:
                low, high = (int(part, 16) for part in words[0].split("-"))
                inside = low < end and start < high
            elif inside and words[0] == "Rss:":
                touched += int(words[1]) << 10
        return touched

    def first_run_ns(self) -> int:
        """CLOCK_MONOTONIC of the first KVM_RUN, 0 before it."""
        return self._vcpus()[0].first_run_ns
