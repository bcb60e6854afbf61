"""/dev/kvm itself."""

from __future__ import annotations

import posix as os

from pyvmm._kvm import ffi, lib
from pyvmm.errors import KvmError
from pyvmm.kvm.ioctl import API_VERSION, EINVAL, ENXIO, TOO_OLD, Descriptor, failure, ioctl
from pyvmm.kvm.vm import Vm


class Kvm(Descriptor):
    """The system-wide level of the API.

    Args:
        path: the device.

    Raises:
        KvmError: the device cannot be opened, or has another API version than 12.

    Example::

        with Kvm() as kvm, kvm.create_vm() as vm:
            print(kvm.check_extension(lib.KVM_CAP_MAX_VCPUS), vm.stats())
    """

    def __init__(self, path: str = "/dev/kvm") -> None:
        try:
            super().__init__(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            raise failure(path, error.errno or 0, opening=True) from None
        try:
            version = ioctl("KVM_GET_API_VERSION", self.fd)
        except KvmError as error:
            self.close()
            raise KvmError(path, error.errno, "it is not the KVM device") from None
        if version != API_VERSION:
            self.close()
            raise KvmError(path, EINVAL, f"it speaks KVM API {version}, pyvmm needs {API_VERSION}")

    def check_extension(self, capability: int) -> int:
        """KVM_CHECK_EXTENSION: 0 if the capability (KVM_CAP_…) is absent, else a value that depends on it."""
        return ioctl("KVM_CHECK_EXTENSION", self.fd, capability)

    def require(self, *names: str) -> None:
        """Checks capabilities.

        Args:
            names: of constants, such as KVM_CAP_SYNC_REGS.

        Raises:
            KvmError: names the first that is absent.
        """
        for name in names:
            if not self.check_extension(getattr(lib, name)):
                raise KvmError(name, ENXIO, TOO_OLD)

    def vcpu_mmap_size(self) -> int:
        """KVM_GET_VCPU_MMAP_SIZE: the size of a vCPU's kvm_run area in bytes."""
        return ioctl("KVM_GET_VCPU_MMAP_SIZE", self.fd)

    def supported_cpuid(self) -> list[tuple[int, int, int, int, int, int]]:
        """KVM_GET_SUPPORTED_CPUID: (leaf, subleaf, eax, ebx, ecx, edx) of each entry."""
        table = ffi.new("struct kvm_cpuid2 *", {"nent": 256, "entries": 256})
        ioctl("KVM_GET_SUPPORTED_CPUID", self.fd, table)
        entries = (table.entries[i] for i in range(table.nent))
        return [(e.function, e.index, e.eax, e.ebx, e.ecx, e.edx) for e in entries]

    def create_vm(self) -> Vm:
        """KVM_CREATE_VM."""
        return Vm(ioctl("KVM_CREATE_VM", self.fd), self.vcpu_mmap_size())
