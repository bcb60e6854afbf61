"""Packets of GDB's remote serial protocol ("Debugging with GDB", appendix E.1, "Overview").

A packet is `$data#xx`, where xx is the sum of its bytes modulo 256 in hexadecimal. In data, `}`
escapes the byte behind it, which is XORed with 0x20. Each is acknowledged with `+`, or asked for
again with `-`, until the client turns that off. A byte 3 outside of packets is Ctrl-C.
"""

from __future__ import annotations

#: The most bytes of a packet's data; told to the client.
DATA_MAX = 16384

_ESCAPE, _FLIP = 0x7D, 0x20
_SPECIAL = b"#$*}"


class Ack:
    """The client has received the last packet."""


class Nak:
    """The last packet, or one from the client, was damaged."""


class Interrupt:
    """Ctrl-C."""


#: A packet's data, or one of the above.
Event = bytes | Ack | Nak | Interrupt


class Parser:
    """Makes events of what a client sends, in pieces of any size. Nothing it sends is an error."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete with `data`."""
        events: list[Event] = []
        rest = self._rest + data
        while rest:
            first, tail = rest[:1], rest[1:]
            if first != b"$":
                rest = tail
                if first == b"+":
                    events.append(Ack())
                elif first == b"-":
                    events.append(Nak())
                elif first == b"\x03":
                    events.append(Interrupt())
                continue
            end = rest.find(b"#")
            if end < 0 or len(rest) < end + 3:
                if len(rest) <= DATA_MAX * 2 + 4:
                    break
                rest = tail  # it never ends: look for another one
                continue
            body, digits, rest = rest[1:end], rest[end + 1 : end + 3], rest[end + 3 :]
            events.append(unescaped(body) if _is_sum(digits, body) else Nak())
        self._rest = rest
        return events


def packet(data: bytes) -> bytes:
    """The packet that carries `data`."""
    body = escaped(data)
    return b"$%b#%02x" % (body, sum(body) % 256)


def escaped(data: bytes) -> bytes:
    """Data as it stands in a packet."""
    return b"".join(bytes([_ESCAPE, byte ^ _FLIP]) if byte in _SPECIAL else bytes([byte]) for byte in data)


def unescaped(body: bytes) -> bytes:
    """The data that stands in a packet."""
    first, *rest = body.split(b"}")
    return first + b"".join(bytes([part[0] ^ _FLIP]) + part[1:] for part in rest if part)


def _is_sum(digits: bytes, body: bytes) -> bool:
    try:
        return bytes.fromhex(digits.decode("ascii"))[0] == sum(body) % 256
    except (ValueError, IndexError):
        return False
