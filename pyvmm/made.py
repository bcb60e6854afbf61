"""The C side of a machine: made of a State, which is composed of an image or frozen in a file."""

from __future__ import annotations

from pyvmm._kvm import ffi, lib
from pyvmm.errors import ImageError
from pyvmm.kvm.ioctl import why_not_thawed
from pyvmm.layout import Ram
from pyvmm.memory import GuestMemory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyvmm._kvm import Machine as NativeMachine
    from pyvmm._kvm import State as NativeState
    from pyvmm.config import MachineConfig
    from pyvmm.state.state import State

_KINDS = {3: "console", 19: "vsock", 26: "share"}


class Made:
    """A machine that C has made (`native/thaw/`).

    Args:
        native: a `struct machine *`.
        memory: its RAM; closed with it.
        is_thawed: its State was there, frozen or in the boot cache.
        keep: what it points to.

    Attributes:
        native, memory, is_thawed: as given.
    """

    def __init__(
        self, native: NativeMachine, memory: GuestMemory, is_thawed: bool, keep: Sequence[object] = ()
    ) -> None:
        self.native, self.memory, self.is_thawed, self._keep = native, memory, is_thawed, keep

    @classmethod
    def of_image(
        cls, config: MachineConfig, devices: Sequence[int], shared: bool, console: int,
        composed: Callable[[State], object],
    ) -> Made:  # fmt: skip
        """A machine in which an image starts.

        Args:
            config: the machine's.
            devices: the virtio device ID of each slot.
            shared: other processes are to map its memory.
            console: the descriptor that its console writes to.
            composed: called with its State.

        Raises:
            PyvmmError: it cannot be; nothing is left open.
        """
        from pyvmm.boot.compose import compose

        state = compose(config, devices, shared)
        memory = state.memory
        try:
            composed(state)
            head = state.head()
            checked, native = ffi.new("struct state *"), ffi.new("struct machine *")
            if not lib.state_check(checked, ffi.from_buffer(head), len(head), len(head)):
                raise ImageError(f"{config.image}: {ffi.string(checked.error).decode()}")
            native.lent, native.host = True, memory.host
            native.memory, native.memory_fd = memory.size, memory.fd
            _thaw(native, checked, console, shared, bool(devices))
        except BaseException:
            memory.close()
            raise
        return cls(native, memory, is_thawed=False, keep=(checked, head))

    @classmethod
    def of_file(cls, name: str, devices: Sequence[int], shared: bool, console: int) -> Made:
        """A machine in which a frozen guest goes on.

        Args:
            name: path of the file.
            devices, shared, console: as for `of_image`.

        Raises:
            PyvmmError: as there.
        """
        from pyvmm.boot.file import File

        file = File(name)
        checked, native = ffi.new("struct state *"), ffi.new("struct machine *")
        try:
            if not lib.state_open(checked, file.fd):
                raise ImageError(f"{name}: {ffi.string(checked.error).decode()}")
            try:
                header = checked.header
                had = [header.devices[slot] for slot in range(header.device_count)]
                if had != [*devices]:
                    names = ", ".join(_KINDS.get(kind, str(kind)) for kind in had) or "none"
                    raise ImageError(f"{name}: it was frozen with other devices; it had, in this order: {names}")
                _thaw(native, checked, console, shared, bool(devices))
            except BaseException:
                lib.state_close(checked)
                raise
        finally:
            file.close()  # pages of it stay mapped
        return cls(native, GuestMemory(Ram(native.memory), made=native), is_thawed=True, keep=(checked,))

    def close(self) -> None:
        """Frees it. Its vCPUs must have stopped."""
        lib.machine_discard(self.native)
        self.memory.close()


def _thaw(native: NativeMachine, state: NativeState, console: int, shared: bool, closed: bool) -> None:
    if not lib.machine_thaw(native, state, console, shared, closed):
        raise why_not_thawed(native)
