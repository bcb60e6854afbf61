"""`pyvmm ps` and `pyvmm inspect`: what guests there are."""

from __future__ import annotations

import json

from pyvmm.command.options import only_operand, parse
from pyvmm.control.entry import descriptions, shown, uptime_ns
from pyvmm.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DAY = 86400  # seconds
_UNITS = (("G", 30), ("M", 20), ("K", 10))
_COLUMNS = ("NAME", "PID", "STATE", "UPTIME", "MEMORY", "CPUS", "PORTS", "IMAGE")


def ps(words: list[str]) -> str:
    """The text of `pyvmm ps`.

    Raises:
        UsageError: the words make no sense.
        ConfigError: the registry is not this user's alone.
    """
    operands, options, _ = parse("ps", words)
    if len(operands) > 1:
        raise UsageError(f"{operands[1]}: one NAME at a time")
    guests = [_guest(values) for values in descriptions() if values["name"] in (operands or [values["name"]])]
    if "--json" in options:
        return json.dumps(guests, indent=2) + "\n"
    rows = [_COLUMNS, *map(_row, guests)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS) - 1)]
    return "".join(
        "  ".join([*(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]) + "\n"
        for row in rows
    )


def inspect(words: list[str]) -> str:
    """The text of `pyvmm inspect`: what `ps` knows, and what the guest's process tells.

    Raises:
        PyvmmError: there is no such guest.
    """
    operands, options, _ = parse("inspect", words)
    name = only_operand("inspect", operands)
    from pyvmm.control.client import RefusedError, session

    with session(name) as guest:
        known: dict[str, Any] = next(
            (_guest(values) for values in descriptions() if values["name"] == name), {"name": name}
        )
        known["vcpus"] = [{"thread": cpu["thread-id"]} for cpu in guest.do("query-cpus-fast")]
        try:
            known["vsock"] = guest.do("query-vsock")
        except RefusedError:
            pass
    if "--json" in options:
        return json.dumps(known, indent=2) + "\n"
    return "".join(
        f"{key:<10}{value if isinstance(value, str) else json.dumps(value)}\n" for key, value in known.items()
    )


def _guest(values: dict[str, str]) -> dict[str, Any]:
    """What a description says, with types."""
    return {
        "name": values["name"],
        "pid": int(values["pid"]),
        "state": "paused" if values["paused"] else "running",
        "uptime": round(uptime_ns(values) / 1e9, 3),
        "memory": int(values["memory"]),
        "cpus": int(values["cpus"]),
        "ports": [_port(text) for text in values.get("ports", "").split()],
        "cid": int(values["cid"]) if "cid" in values else None,
        "network": values.get("network"),
        "image": values["image"],
    }


def _port(text: str) -> dict[str, Any]:
    address, port, guest_port = text.rsplit(":", 2)
    return {"address": address.strip("[]"), "port": int(port), "guest_port": int(guest_port)}


def _row(guest: dict[str, Any]) -> tuple[str, ...]:
    ports = (f"{shown(port['address'])}:{port['port']}->{port['guest_port']}" for port in guest["ports"])
    cells = (guest["name"], guest["pid"], guest["state"], _uptime(int(guest["uptime"])), _size(guest["memory"]))
    image = "".join(c if c.isprintable() else repr(c)[1:-1] for c in guest["image"])
    return (*map(str, cells), str(guest["cpus"]), ",".join(ports) or "-", image)


def _uptime(seconds: int) -> str:
    if seconds >= _DAY:
        return f"{seconds // _DAY}d{seconds % _DAY // 3600}h"
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _size(size: int) -> str:
    unit, shift = next((unit, shift) for unit, shift in _UNITS if size >= 1 << shift and not size % (1 << shift))
    return f"{size >> shift}{unit}"
