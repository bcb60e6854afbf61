"""vCPU threads: each runs its vCPU in C and leaves only cold exits to Python."""

from __future__ import annotations

from pyvmm._kvm import ffi, lib
from pyvmm.errors import GuestError, HostError, KvmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyvmm.kvm import Vcpu

_INSTRUCTION_MAX = 15
_RESET_VECTOR = 0xFFF0


class VcpuThread:
    """The thread of one vCPU, named vcpuN.

    Args:
        vcpu: the vCPU to run; it stays the caller's.
        started: C has started the thread.
    """

    def __init__(self, vcpu: Vcpu, started: bool = False) -> None:
        self.vcpu = vcpu
        self._started = started

    def start(self, event_fd: int, cpu: int | None = None, vcpus: int = 1) -> None:
        """Starts the thread.

        Args:
            event_fd: an eventfd that is incremented for each cold exit.
            cpu: the host CPU to run on, or None for any that no other vCPU gets, if there are enough.
            vcpus: how many of the guest there are.

        Raises:
            HostError: the host cannot provide the thread.
        """
        error = lib.vcpu_start(self.vcpu.native, event_fd, -1 if cpu is None else cpu, vcpus)
        if error:
            raise HostError(f"thread of vCPU {self.vcpu.index}", error)
        self._started = True

    def exit_reason(self) -> int | None:
        """The KVM_EXIT_* for which the vCPU waits for `resume`, or VCPU_STOPPED; None while it runs.

        Raises:
            KvmError: KVM_RUN failed.
        """
        native = self.vcpu.native
        if not lib.vcpu_has_exited(native):
            return None
        if native.reason == lib.VCPU_FAILED:
            raise KvmError(f"KVM_RUN of vCPU {native.index}", native.error)
        return int(native.reason)

    def resume(self) -> None:
        """Lets the vCPU continue after its exit has been served."""
        lib.vcpu_resume(self.vcpu.native)

    def stop(self) -> None:
        """Stops the thread and waits for its end. Only then do ioctls of the vCPU not block."""
        if self._started:
            self.vcpu.stop()
            lib.vcpu_join(self.vcpu.native)
            self._started = False


def failure(vcpu: Vcpu, reason: int) -> GuestError:
    """The error for an exit from which the guest cannot go on."""
    kind, why = _why(vcpu, reason)
    rip = vcpu.regs().rip
    where = f"vCPU {vcpu.index} at {rip:#x}"
    if reason == lib.KVM_EXIT_SHUTDOWN and rip == _RESET_VECTOR:  # AMD-V loses RIP, and KVM resets the vCPU
        where = f"vCPU {vcpu.index}"
    return GuestError(f"{where}: {why}", kind, vcpu.index)


def _why(vcpu: Vcpu, reason: int) -> tuple[str, str]:
    """The kind of failure, and what is said about it."""
    native = vcpu.native
    if reason == lib.KVM_EXIT_SHUTDOWN:
        return "triple fault", "triple fault: an exception whose handler could not be entered either"
    if reason == lib.KVM_EXIT_INTERNAL_ERROR:
        if native.suberror == lib.KVM_INTERNAL_ERROR_EMULATION and native.details > 1:
            # detail[0] holds flags; then come a length and up to 15 bytes
            raw = bytes(ffi.buffer(native.detail))[8:]
            code = raw[1 : 1 + min(raw[0], _INSTRUCTION_MAX)].hex(" ")
            return "emulation failure", f"KVM cannot execute the instruction {code}"
        return "emulation failure", f"KVM internal error {native.suberror}"
    if reason == lib.KVM_EXIT_FAIL_ENTRY:
        return "failed entry", f"the CPU refuses its state, reason {native.detail[0]:#x}"
    if reason == lib.KVM_EXIT_SYSTEM_EVENT:
        return "panic", "the guest has told KVM that it has crashed"
    return "unknown exit", f"KVM exit {reason}, which pyvmm does not know"
