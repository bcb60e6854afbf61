"""A timeline in the format of Chrome's trace events, which Perfetto and chrome://tracing open.

Each vCPU is a thread with two kinds of spans, `run` (in the guest; the halts in it are spans of
their own) and the exit behind it, by its kind. The vsock thread's turns and a share's requests are
other threads. Times are microseconds since the first span.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pyvmm._kvm import ffi
from pyvmm.layout import (
    DEBUG_EXIT_PORT,
    SERIAL_PORT,
    SERIAL_PORTS,
    VIRTIO_MMIO_BASE,
    VIRTIO_MMIO_SLOTS,
    VIRTIO_MMIO_STRIDE,
)
from pyvmm.measures import EXIT_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyvmm._kvm import Trace, TraceSpan
    from pyvmm.trace.requests import Request

_PROCESS = 1
_VSOCK, _SHARES = 1000, 1001  # as threads, behind all vCPUs
_IN_TABLE = 20


class Timeline:
    """What was recorded.

    Args:
        vcpus: the runs of each vCPU, in order.
        halts: the halts of each, or nothing where KVM does not tell.
        turns: of the vsock thread, or None.
        requests: of shares.
    """

    def __init__(
        self, vcpus: Sequence[Trace], halts: Sequence[Trace], turns: Trace | None, requests: Sequence[Request]
    ) -> None:
        self._vcpus, self._halts, self._turns, self._requests = vcpus, halts, turns, requests
        firsts = [trace.span.start for trace in (*vcpus, *([turns] if turns else [])) if trace.count]
        self._origin = min([*firsts, *(request.start for request in requests)], default=0)

    def json(self) -> Iterator[str]:
        """The document, in parts."""
        yield '{"displayTimeUnit":"ns","traceEvents":['
        separator = ""
        for event in self._events():
            yield separator + json.dumps(event, separators=(",", ":"))
            separator = ",\n"
        yield '],"otherData":' + json.dumps({"histogram": self.histogram()}) + "}\n"

    def _events(self) -> Iterator[dict[str, Any]]:
        yield _name("process_name", 0, "pyvmm")
        for index, trace in enumerate(self._vcpus):
            yield _name("thread_name", index, f"vcpu{index}")
            halts = _spans(self._halts[index]) if index < len(self._halts) else iter(())
            yield from self._vcpu(index, trace, halts)
        if self._turns:
            yield _name("thread_name", _VSOCK, "vsock")
            for span in _spans(self._turns):
                yield self._span(_VSOCK, "turn", "vsock", span.start, span.end, events=span.count)
        if self._requests:
            yield _name("thread_name", _SHARES, "shares")
        for number, request in enumerate(self._requests):
            yield from self._request(number, request)

    def _vcpu(self, index: int, trace: Trace, halts: Iterator[TraceSpan]) -> Iterator[dict[str, Any]]:
        halt = next(halts, None)
        before: TraceSpan | None = None
        for span in _spans(trace):
            if before:
                yield self._exit(index, before, span.start)
            yield self._span(index, "run", "vcpu", span.start, span.end)
            while halt and halt.start < span.end:
                # It was looked for from time to time, and may seem to last longer than the run.
                start, end = max(halt.start, span.start), min(halt.end, span.end)
                if start < end:
                    yield self._span(index, "halt", "vcpu", start, end)
                halt = next(halts, None)
            before = span
        if before:
            yield self._exit(index, before, before.end)

    def _exit(self, index: int, span: TraceSpan, end: int) -> dict[str, Any]:
        arguments = {"address": hex(span.address), "bytes": span.count} if span.count else {}
        return self._span(index, label(span), "exit", span.end, end, **arguments)

    def _span(
        self, thread: int, name: str, category: str, start: int, end: int, **arguments: object
    ) -> dict[str, Any]:  # fmt: skip
        event = {
            "ph": "X", "name": name, "cat": category, "pid": _PROCESS, "tid": thread,
            "ts": (start - self._origin) / 1000, "dur": (end - start) / 1000,
        }  # fmt: skip
        return event | ({"args": arguments} if arguments else {})

    def _request(self, number: int, request: Request) -> Iterator[dict[str, Any]]:
        """Requests overlap, so each is an asynchronous event."""
        both = {"name": str(request.about["op"]), "cat": "fuse", "id": number, "pid": _PROCESS, "tid": _SHARES}
        arguments = {**request.about, "share": request.share, "error": request.error}
        yield both | {"ph": "b", "ts": (request.start - self._origin) / 1000, "args": arguments}
        yield both | {"ph": "e", "ts": (request.end - self._origin) / 1000}

    def histogram(self) -> list[dict[str, Any]]:
        """How often each kind of exit was, and how long it took, in ns: those first that took longest in all."""
        took: dict[str, list[int]] = {}
        for trace in self._vcpus:
            before: TraceSpan | None = None
            for span in _spans(trace):
                if before:
                    took.setdefault(label(before), []).append(span.start - before.end)
                before = span
            if before:
                took.setdefault(label(before), []).append(0)
        rows = []
        for name, times in took.items():
            times.sort()
            rows.append(
                {
                    "exit": name, "count": len(times), "total": sum(times), "median": times[len(times) // 2],
                    "p99": times[len(times) * 99 // 100], "max": times[-1],
                }
            )  # fmt: skip
        return sorted(rows, key=lambda row: (-row["total"], row["exit"]))


def table(histogram: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A histogram in lines, without its rarest rows."""
    yield f"{'exit':<28}{'count':>10}{'total ms':>12}{'median us':>12}{'p99 us':>12}{'max us':>12}"
    for row in histogram[:_IN_TABLE]:
        times = f"{row['total'] / 1e6:>12.3f}" + "".join(f"{row[key] / 1e3:>12.1f}" for key in ("median", "p99", "max"))
        yield f"{row['exit']:<28}{row['count']:>10}{times}"


def label(span: TraceSpan) -> str:
    """The name of a vCPU's exit: its kind, and the device."""
    kind = EXIT_NAMES.get(span.kind, str(span.kind))
    if not span.count:
        return kind
    way, address = "write" if span.write else "read", int(span.address)
    if kind == "mmio":
        slot = (address - VIRTIO_MMIO_BASE) // VIRTIO_MMIO_STRIDE
        if 0 <= slot < VIRTIO_MMIO_SLOTS:
            return f"mmio {way} virtio {slot} {(address - VIRTIO_MMIO_BASE) % VIRTIO_MMIO_STRIDE:#x}"
    elif SERIAL_PORT <= address < SERIAL_PORT + SERIAL_PORTS:
        return f"io {way} uart"
    elif address == DEBUG_EXIT_PORT:
        return "io write end"
    return f"{kind} {way} {address:#x}"


def _name(what: str, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": _PROCESS, "tid": thread, "args": {"name": name}}


def _spans(trace: Trace) -> Iterator[TraceSpan]:
    return (ffi.addressof(trace.span, index) for index in range(trace.count))
