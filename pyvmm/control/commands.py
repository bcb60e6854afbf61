"""The commands of a guest's control socket, as QEMU's of the same names, and some of our own."""

from __future__ import annotations

from pyvmm.control.qmp import CommandError, version
from pyvmm.errors import STATUS_TERMINATED
from pyvmm.state.request import FreezeRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from pyvmm.control.entry import Entry
    from pyvmm.control.qmp import Command
    from pyvmm.machine import Machine


class Commands:
    """Those of one guest. All run in its control thread.

    Args:
        machine: the guest's.
        entry: of the registry.
        tell: tells all clients of an event.

    Attributes:
        by_name: what `qmp.Session` calls.
        has_quit: a client has ended the guest.
    """

    def __init__(self, machine: Machine, entry: Entry, tell: Callable[[str, Mapping[str, object]], None]) -> None:
        self._machine, self._entry, self._tell = machine, entry, tell
        self.has_quit = False
        self.by_name: dict[str, Command] = {
            "query-version": _without_arguments(version),
            "query-commands": _without_arguments(self._query_commands),
            "query-status": _without_arguments(self._query_status),
            "query-name": _without_arguments(lambda: {"name": entry.name}),
            "query-cpus-fast": _without_arguments(self._query_cpus),
            "query-stats": self._query_stats,
            "query-vsock": _without_arguments(self._query_vsock),
            "stop": _without_arguments(self._stop),
            "cont": _without_arguments(self._cont),
            "system_powerdown": _without_arguments(self._powerdown),
            "quit": _without_arguments(self._quit),
            "freeze": self._freeze,
        }

    def _query_commands(self) -> object:
        return [{"name": name} for name in ("qmp_capabilities", *self.by_name)]

    def _query_status(self) -> object:
        """StatusInfo."""
        paused = self._machine.is_paused
        return {"running": not paused, "singlestep": False, "status": "paused" if paused else "running"}

    def _query_cpus(self) -> object:
        """CpuInfoFast, for each vCPU."""
        threads = self._machine.measures.threads()
        return [
            {"cpu-index": index, "qom-path": _path(index), "thread-id": thread, "target": "x86_64", "props": {}}
            for index, thread in enumerate(threads)
        ]

    def _query_stats(self, arguments: dict[str, Any], _: list[int]) -> object:
        """StatsResult of each vCPU or the VM: what KVM counts, all of it."""
        _allow(arguments, "target", "vcpus", "providers")
        target = arguments.get("target")
        if target not in ("vm", "vcpu"):
            raise CommandError("Parameter 'target' expects vm or vcpu")
        counters = self._machine.kvm_counters()
        results = []
        for index, counts in enumerate([counters.vm()] if target == "vm" else counters.vcpus()):
            stats = [{"name": name.replace("_", "-"), "value": value} for name, value in counts.items()]
            where = {} if target == "vm" else {"qom-path": _path(index)}
            results.append({"provider": "kvm", **where, "stats": stats})
        return results

    def _query_vsock(self) -> object:
        """Our own: the guest's context ID, published ports, and what has been counted of its connections."""
        counts = dict(self._machine.counts()).get("vsock")
        if counts is None:
            raise CommandError("the guest has no vsock device")
        ports = [
            {"address": address, "port": port, "guest-port": guest_port}
            for guest_port, (address, port) in self._machine.ports.items()
        ]
        named = {name.replace("_", "-"): count for name, count in counts.items()}
        return {"cid": self._machine.config.vsock, "ports": ports, **named}

    def _stop(self) -> object:
        if not self._machine.is_paused:
            self._machine.pause()
            self._entry.set_paused(True)
            self._tell("STOP", {})
        return {}

    def _cont(self) -> object:
        if self._machine.is_paused:
            self._machine.resume()
            self._entry.set_paused(False)
            self._tell("RESUME", {})
        return {}

    def _powerdown(self) -> object:
        """Asks the guest to end; it takes as long as it likes."""
        if not self._machine.ask_for_end():
            raise CommandError("the guest cannot be asked to end; `quit` ends it")
        self._tell("POWERDOWN", {})
        self._cont()
        return {}

    def _quit(self) -> object:
        self.has_quit = True
        self._machine.stop(STATUS_TERMINATED, 0)
        return {}

    def _freeze(self, arguments: dict[str, Any], fds: list[int]) -> object:
        """Our own: writes the guest to the file whose descriptor comes with it."""
        _allow(arguments, "end")
        end = arguments.get("end", False)
        if not isinstance(end, bool):
            raise CommandError("Parameter 'end' expects true or false")
        if not fds:
            raise CommandError("the descriptor of a file must come with the command (SCM_RIGHTS)")
        FreezeRequest(self._machine, fds[0], "the frozen file", end).serve()
        return {}


def _path(index: int) -> str:
    return f"/machine/cpu[{index}]"


def _allow(arguments: dict[str, Any], *names: str) -> None:
    for name in arguments:
        if name not in names:
            raise CommandError(f"Parameter '{name}' is unexpected")


def _without_arguments(run: Callable[[], object]) -> Command:
    def command(arguments: dict[str, Any], _: list[int]) -> object:
        _allow(arguments)
        return run()

    return command
