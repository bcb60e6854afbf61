"""Runs cases in another process, so that a crash or a hang is a problem like others."""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import signal
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from pyvmm.errors import PyvmmError
from pyvmm.testing.harness import Harness, escaped
from pyvmm.testing.oracle import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from pyvmm.testing.steps import Step
    from pyvmm.virtio.device import Device

#: Seconds that a case may take.
LIMIT = 10.0
#: Cases that a process runs, one after the other: a fork takes longer than a case.
_CASES = 100
HANG = "hang"
_ABORT = 1.0  # seconds to say where it hangs


@dataclass
class Outcome:
    """What a case has led to.

    Attributes:
        problem: what the device did wrong; empty if nothing.
        kind: the same for every case that shows this problem.
        details: what its process has printed, if it crashed or hung.
        states: what was seen (see `Harness`).
    """

    problem: str = ""
    kind: str = ""
    details: str = ""
    states: set[str] = field(default_factory=set)


def run(steps: Sequence[Step], make: Callable[[], Device], honest: bool = False, limit: float = LIMIT) -> Outcome:
    """Does to a device what the steps say, in a process of its own.

    Args:
        steps: the case.
        make: makes the device, in that process; a class of devices will do.
        honest: the steps are those of a driver that does nothing wrong, so the device must not need a
            reset, and must return what a `Wait` names.
        limit: seconds that it may take.

    Raises:
        PyvmmError: the device cannot be made.

    Example::

        steps = [Start((8,)), Offer(0, (), (16,)), Notify(0), Wait((0,))]
        assert not run(steps, Entropy, honest=True).problem
    """
    with Worker(make, limit) as worker:
        return worker.run(steps, honest)


class Worker:
    """Runs cases, each on a new device. Whatever shows a problem was the first case of its process.

    Args:
        make: makes a device.
        limit: seconds that each case may take.

    Attributes:
        limit: may be changed.
    """

    def __init__(self, make: Callable[[], Device], limit: float = LIMIT) -> None:
        self._make, self.limit = make, limit
        self._pid = self._served = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process. A second call does nothing."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._end()

    def _end(self) -> int:
        """Waits for the process's end; returns its wait status."""
        status = os.waitpid(self._pid, 0)[1]
        self._sock.close()
        os.close(self._said)
        self._pid = self._served = 0
        return status

    def _start(self) -> None:
        self._sock, sock = socket.socketpair()
        self._said = os.memfd_create("said", os.MFD_CLOEXEC)
        self._pid = os.fork()
        if not self._pid:
            self._sock.close()
            _serve(sock, self._make, self._said)
        sock.close()

    def run(self, steps: Sequence[Step], honest: bool = False) -> Outcome:
        """Runs a case. See `run`."""
        if self._served == _CASES:
            self.close()
        was_used = bool(self._pid)
        outcome = self._try(steps, honest)
        if not outcome.problem:
            return outcome
        self.close()
        if not was_used:
            return outcome
        try:
            again = self._try(steps, honest)
        except PyvmmError:  # a backend that is not ours is gone for good
            return outcome
        if again.problem:
            self.close()
        return again

    def _try(self, steps: Sequence[Step], honest: bool) -> Outcome:
        if not self._pid:
            self._start()
        self._served += 1
        data = pickle.dumps((list(steps), honest))
        self._sock.settimeout(self.limit)
        try:
            self._sock.sendall(len(data).to_bytes(4, "little") + data)
            told = self._sock.makefile("rb").readline()
        except TimeoutError:
            return self._hangs()
        except ConnectionError:
            told = b""
        if told:
            result = json.loads(told)
            if "error" in result:
                self.close()
                raise PyvmmError(result["error"])
            return Outcome(result["problem"], result["kind"], "", set(result["states"]))
        details = self._details()
        status = self._end()
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            return Outcome(f"the device's process was killed by {name}", name, details)
        return Outcome(f"the device's process has ended with status {os.WEXITSTATUS(status)}", "exit", details)

    def _hangs(self) -> Outcome:
        os.kill(self._pid, signal.SIGABRT)
        self._sock.settimeout(_ABORT)
        try:
            self._sock.recv(1)  # its end
        except OSError:
            pass
        return Outcome(f"the device hangs: no end within {self.limit:g} s", HANG, self._details())

    def _details(self) -> str:
        return os.pread(self._said, 1 << 16, 0).decode(errors="replace").strip()


def _serve(sock: socket.socket, make: Callable[[], Device], said: int) -> NoReturn:
    """Serves the other process's requests, and ends without a trace of that one's tasks."""
    os.dup2(said, 1)
    os.dup2(said, 2)
    faulthandler.enable(2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests = sock.makefile("rb")
    while size := requests.read(4):
        steps, honest = pickle.loads(requests.read(int.from_bytes(size, "little")))
        sock.sendall(json.dumps(_attempt(steps, make, honest)).encode() + b"\n")
    os._exit(0)


def _attempt(steps: Sequence[Step], make: Callable[[], Device], honest: bool) -> dict[str, object]:
    states: set[str] = set()
    problem: DeviceError | None = None
    try:
        with Harness(make(), honest) as harness:
            states = harness.states
            harness.run(steps)
    except DeviceError as found:
        problem = found
    except PyvmmError as error:
        return {"error": str(error)}
    except Exception as error:
        problem = escaped(error)
    kind = problem.kind if problem else ""
    return {"problem": str(problem or ""), "kind": kind, "states": sorted(states)}
