"""VMs for tests of the KVM layer."""

from __future__ import annotations

from threading import Timer

from guests import MIB

from pyvmm.bus import Bus
from pyvmm.kvm import Kvm, Vcpu, Vm
from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory


class Bare:
    """A VM with 16 MiB of memory and a bus, and vCPUs that start in real mode."""

    def __init__(self, kvm: Kvm) -> None:
        self.memory = GuestMemory(Ram(16 * MIB))
        self.bus = Bus(self.memory)
        self.vm: Vm = kvm.create_vm()
        self.vm.set_memory_region(0, 0, 16 * MIB, self.memory.host)
        self._vcpus: list[Vcpu] = []

    def vcpu(self, index: int = 0) -> Vcpu:
        """Another vCPU, closed with the VM."""
        self._vcpus.append(self.vm.create_vcpu(index, self.bus))
        return self._vcpus[-1]

    def close(self) -> None:
        for vcpu in self._vcpus:
            vcpu.close()
        self.vm.close()
        self.memory.close()


def run(vcpu: Vcpu) -> int:
    """vcpu.run(), which no signal of Python's can end: after a minute it is stopped."""
    guard = Timer(60, vcpu.stop)
    guard.start()
    try:
        return vcpu.run()
    finally:
        guard.cancel()
        guard.join()
