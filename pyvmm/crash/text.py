"""A crash report as text."""

from __future__ import annotations

from pyvmm.crash.report import GENERAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_IN_A_LINE = 4


def headline(report: dict[str, Any]) -> str:
    """What has happened, in one line, with where it was."""
    frames = report["vcpus"][report["vcpu"]]["backtrace"]
    if report["kind"] == "panic":  # the first is the routine that tells of it
        frames = frames[1:] or frames
    where = _place(frames[0]) if frames else ""
    return f"{report['message']}{', in ' * bool(where)}{where}"


def details(report: dict[str, Any]) -> Iterator[str]:
    """Registers, code and callers of the vCPU that has crashed, in lines."""
    yield from _vcpu_lines(report["vcpus"][report["vcpu"]])


def full(report: dict[str, Any]) -> Iterator[str]:
    """All of it, in lines."""
    yield headline(report)
    yield f"{report['kind']} of {report['image']} after {report['uptime']:.3f} s, with {report['memory'] >> 20} MiB"
    yield from details(report)
    for vcpu in report["vcpus"]:
        if vcpu["index"] != report["vcpu"]:
            yield f"vCPU {vcpu['index']}"
            yield from _vcpu_lines(vcpu)
    yield "exits: " + ", ".join(f"{count} {name}" for name, count in report["exits"].items())
    yield f"next: {report['next']}"


def _vcpu_lines(vcpu: dict[str, Any]) -> Iterator[str]:
    yield f"  ring {vcpu['ring']}, {vcpu['bits']}-bit code: {vcpu['code'] or 'not mapped'}"
    registers = vcpu["registers"]
    shown = [(name, registers[name]) for name in (*GENERAL, *registers) if name in registers]
    shown = list(dict(shown).items())
    for at in range(0, len(shown), _IN_A_LINE):
        yield "  " + "  ".join(f"{name:<8} {value:<18}" for name, value in shown[at : at + _IN_A_LINE]).rstrip()
    for number, frame in enumerate(vcpu["backtrace"]):
        yield f"  #{number:<3} {frame['address']:<18} {_place(frame)}".rstrip()


def _place(frame: dict[str, str]) -> str:
    line = frame["line"].rpartition("/")[2]
    return frame["function"] + f" at {line}" * bool(line)
