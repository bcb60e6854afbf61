"""pyvmm.trace.timeline: spans and histogram of what was recorded."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pyvmm._kvm import ffi, lib
from pyvmm.trace.requests import Request
from pyvmm.trace.timeline import Timeline, table

IO, MMIO, HLT = lib.KVM_EXIT_IO, lib.KVM_EXIT_MMIO, lib.KVM_EXIT_HLT


class Recorded:
    """A `struct trace` of these spans."""

    def __init__(self, *spans: dict[str, int]) -> None:
        self._spans = ffi.new("struct trace_span[]", list(spans))
        self.trace = ffi.new("struct trace *", {"span": self._spans, "room": len(spans), "count": len(spans)})


def document(timeline: Timeline) -> Any:
    return json.loads("".join(timeline.json()))


def run(start: int, end: int, kind: int = HLT, **more: int) -> dict[str, int]:
    return {"start": start, "end": end, "kind": kind, **more}


def spans(events: list[dict[str, Any]], thread: int) -> list[tuple[str, float, float]]:
    return [(e["name"], e["ts"], e["dur"]) for e in events if e["ph"] == "X" and e["tid"] == thread]


def test_runs_exits_and_halts_of_a_vcpu() -> None:
    vcpu = Recorded(
        run(1000, 3000, IO, address=0x3F8, count=1, write=1),
        run(3500, 9000, MMIO, address=0xFEB0_0250, count=4, write=1),
        run(9200, 9300, IO, address=0xF4, count=1, write=1),
    )
    halts = Recorded({"start": 4000, "end": 5000}, {"start": 6000, "end": 9100})
    events = document(Timeline([vcpu.trace], [halts.trace], None, []))["traceEvents"]
    assert spans(events, 0) == [
        ("run", 0, 2), ("io write uart", 2, 0.5), ("run", 2.5, 5.5), ("halt", 3, 1), ("halt", 5, 3),
        ("mmio write virtio 1 0x50", 8, 0.2), ("run", 8.2, 0.1), ("io write end", 8.3, 0),
    ]  # fmt: skip
    assert events[3]["args"] == {"address": "0x3f8", "bytes": 1}
    assert events[1]["args"] == {"name": "vcpu0"}


def test_turns_and_requests_are_threads_of_their_own() -> None:
    turns = Recorded({"start": 2000, "end": 2500, "count": 3})
    asked = Request("FS", 1, 1000, 4000, 10, 20, "ENOENT", {"op": "LOOKUP", "name": "a"})
    events = document(Timeline([], [], turns.trace, [asked]))["traceEvents"]
    assert spans(events, 1000) == [("turn", 1, 0.5)]
    begin, end = (event for event in events if event["ph"] in "be")
    assert (begin["name"], begin["ts"], end["ts"], begin["id"]) == ("LOOKUP", 0, 3, end["id"])
    assert begin["args"] == {"op": "LOOKUP", "name": "a", "share": "FS", "error": "ENOENT"}


def test_the_histogram_has_what_took_longest_first() -> None:
    vcpu = Recorded(
        run(0, 10, IO, address=0x3F8, count=1, write=1),
        run(110, 120, IO, address=0x3F9, count=1),
        run(1120, 1130, IO, address=0x3FA, count=1),
        run(1140, 1150, HLT),
    )
    rows = Timeline([vcpu.trace], [], None, []).histogram()
    assert [(row["exit"], row["count"], row["total"]) for row in rows] == [
        ("io read uart", 2, 1010), ("io write uart", 1, 100), ("hlt", 1, 0),
    ]  # fmt: skip
    assert (rows[0]["median"], rows[0]["max"]) == (1000, 1000)
    head, *lines = table(rows)
    assert head.split() == ["exit", "count", "total", "ms", "median", "us", "p99", "us", "max", "us"]
    assert len(lines) == 3


def test_nothing_recorded_is_a_document_as_well() -> None:
    assert document(Timeline([Recorded().trace], [], None, []))["otherData"] == {"histogram": []}


TIMES = st.lists(st.integers(0, 10**6), min_size=2, max_size=40, unique=True).map(sorted)


@given(TIMES, TIMES)
def test_halts_are_within_runs_and_nothing_overlaps(runs: list[int], halted: list[int]) -> None:
    pairs = zip(runs[::2], runs[1::2], strict=False)
    vcpu = Recorded(*(run(start, end) for start, end in pairs))
    halts = Recorded(*({"start": a, "end": b} for a, b in zip(halted[::2], halted[1::2], strict=False)))
    found = spans(document(Timeline([vcpu.trace], [halts.trace], None, []))["traceEvents"], 0)
    within = 0.0, 0.0
    before = 0.0
    for name, start, length in found:
        if name == "halt":
            assert within[0] <= start + 1e-6
            assert start + length <= within[1] + 1e-6
        else:
            assert start >= before - 1e-6
            before = start + length
            if name == "run":
                within = start, start + length
