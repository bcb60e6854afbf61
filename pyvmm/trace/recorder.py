"""What `--trace` asks for: recorded while the guest runs, and written to files."""

from __future__ import annotations

import json
import posix as os
from typing import TYPE_CHECKING, TextIO

from pyvmm._kvm import ffi, lib
from pyvmm.errors import HostError, UsageError
from pyvmm.kvm.stats import Counters, place_of
from pyvmm.trace.requests import Request, Requests
from pyvmm.trace.timeline import Timeline, table
from pyvmm.virtio.fs import VirtioFs
from pyvmm.virtio.vsock import Vsock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyvmm._kvm import Trace
    from pyvmm.machine import Machine

#: Spans of each vCPU, each vCPU's halts, the vsock thread, and requests; 40 bytes each.
_SPANS_MAX = 1 << 20
_KINDS = ("exits", "fs")


class Recorder:
    """Of one machine that does not run yet.

    Args:
        machine: the guest's.
        wanted: `exits=FILE` or `fs=FILE` each.
        say: writes a line to stderr.

    Raises:
        UsageError: one is something else, or given twice.
        HostError: a file cannot be written, or there is no memory or thread.
    """

    def __init__(self, machine: Machine, wanted: Sequence[str], say: Callable[[str], None]) -> None:
        self._machine, self._say = machine, say
        self._files: dict[str, TextIO] = {}
        self._traces: list[Trace] = []
        self._observers: list[Requests] = []
        self._requests: list[Request] = []
        self._dropped = 0
        self._turns: Trace | None = None
        self._sampler = ffi.new("struct sampler *")
        self._counters: Counters | None = None
        try:
            for text in wanted:
                self._open(text)
            if "exits" in self._files:
                self._record_exits()
            for transport in machine.transports:
                if isinstance(transport.device, VirtioFs):
                    self._observers.append(Requests(transport.device, machine.memory, self._answered))
        except BaseException:
            self.close()
            raise

    def _open(self, text: str) -> None:
        kind, _, path = text.partition("=")
        if kind not in _KINDS or not path:
            raise UsageError(f"--trace {text}: not {' or '.join(f'{name}=FILE' for name in _KINDS)}")
        if kind in self._files:
            raise UsageError(f"--trace {text}: {kind} is given twice")
        try:
            self._files[kind] = open(path, "w", encoding="utf-8")  # noqa: SIM115 - `close` closes it
        except OSError as error:
            raise HostError(f"--trace {text}", error.errno or 0) from None

    def _trace(self) -> Trace:
        trace = ffi.new("struct trace *")
        if not lib.trace_open(trace, _SPANS_MAX):
            raise HostError("memory of --trace", ffi.errno)
        self._traces.append(trace)
        return trace

    def _record_exits(self) -> None:
        machine = self._machine
        for thread in machine.threads:
            thread.vcpu.native.trace = self._trace()
        for transport in machine.transports:
            if isinstance(transport.device, Vsock):
                self._turns = transport.device.native.trace = self._trace()
        self._counters = Counters(machine.vm.fd, [thread.vcpu.fd for thread in machine.threads])
        for fd in self._counters.vcpu_fds:
            place = place_of(os.pread(fd, 1 << 20, 0), "blocking")
            if place is None:  # before Linux 5.16
                return
            if not lib.sampler_add(self._sampler, fd, place, _SPANS_MAX):
                raise HostError("memory of --trace", ffi.errno)
        error = lib.sampler_start(self._sampler)
        if error:
            raise HostError("thread of --trace", error)

    def _answered(self, request: Request) -> None:
        if "fs" in self._files:
            document = {
                "time": request.start, "ns": request.end - request.start, "share": request.share,
                "queue": request.queue, **request.about, "sent": request.sent, "received": request.received,
                **({"error": request.error} if request.error else {}),
            }  # fmt: skip
            self._write("fs", json.dumps(document) + "\n")
        if "exits" in self._files:
            if len(self._requests) < _SPANS_MAX:
                self._requests.append(request)
            else:
                self._dropped += 1

    def _write(self, kind: str, text: str) -> None:
        """A file that cannot be written ends its trace."""
        try:
            self._files[kind].write(text)
        except OSError as error:
            self._say(f"--trace {kind}: {os.strerror(error.errno or 0)}")
            self._close_file(kind)

    def finish(self) -> None:
        """Writes what was recorded of a guest whose vCPUs have ended, and frees it."""
        for observer in self._observers:
            observer.close()
        for transport in self._machine.transports:
            if isinstance(transport.device, Vsock):
                transport.device.pause()
        lib.sampler_stop(self._sampler)
        try:
            if "exits" in self._files:
                self._write_timeline()
        finally:
            self.close()

    def _write_timeline(self) -> None:
        halts = [lib.sampler_trace(self._sampler, index) for index in range(self._sampler.count)]
        timeline = Timeline(self._traces[: self._machine.cpus], halts, self._turns, self._requests)
        for part in timeline.json():
            if "exits" not in self._files:  # it could not be written
                return
            self._write("exits", part)
        dropped = self._dropped + sum(trace.dropped for trace in (*self._traces, *halts))
        if dropped:
            self._say(f"--trace exits: the first {_SPANS_MAX} spans of each kind; {dropped} are left out")
        for line in table(timeline.histogram()):
            self._say(line)

    def _close_file(self, kind: str) -> None:
        try:
            self._files.pop(kind).close()
        except OSError as error:
            self._say(f"--trace {kind}: {os.strerror(error.errno or 0)}")

    def close(self) -> None:
        """Closes files and frees what was recorded. Neither vCPUs nor devices may run. A second call does nothing."""
        for observer in self._observers:
            observer.close()
        lib.sampler_close(self._sampler)
        if self._counters:
            self._counters.close()
        for kind in [*self._files]:
            self._close_file(kind)
        for thread in self._machine.threads:
            thread.vcpu.native.trace = ffi.NULL
        for transport in self._machine.transports:
            if isinstance(transport.device, Vsock):
                transport.device.native.trace = ffi.NULL
        while self._traces:
            lib.trace_close(self._traces.pop())
