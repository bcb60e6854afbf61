"""What one GDB asks, and the answers ("Debugging with GDB", appendix E, "Remote Protocol").

Threads are vCPUs: thread N is vCPU N-1. All of them stop together, as GDB's all-stop mode has it.
"""

from __future__ import annotations

import re

from pyvmm.gdb.debugger import SIGINT, Stop
from pyvmm.gdb.packets import DATA_MAX, Interrupt, Nak, Parser, packet
from pyvmm.gdb.points import Kind, RefusedError
from pyvmm.gdb.registers import REGISTERS, description

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pyvmm.errors import PyvmmError
    from pyvmm.gdb.debugger import Debugger
    from pyvmm.gdb.packets import Event

_OK, _UNKNOWN, _NOT_MAPPED = b"OK", b"", b"E0e"
_SUPPORTED = f"PacketSize={DATA_MAX:x};qXfer:features:read+;QStartNoAckMode+;swbreak+;hwbreak+;vContSupported+"
_HEX = re.compile(rb"-?[0-9a-f]+")
_READ_MAX = DATA_MAX // 2


class MalformedError(Exception):
    """A packet is not what it should be."""


class Session:
    """One client.

    Args:
        debugger: its hold on the guest.
        send: sends bytes to the client.
        monitor: what `monitor WORDS` answers.
        leave: called when the client has detached; with True: it wants the guest to end.
        log: called with a line about what cannot be, of which GDB says nothing.
    """

    def __init__(
        self, debugger: Debugger, send: Callable[[bytes], None], monitor: Callable[[Session, str], str],
        leave: Callable[[bool], None], log: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.debugger = debugger
        self._send, self._monitor, self._leave, self._log = send, monitor, leave, log
        self._parser = Parser()
        self._waiting: list[Event] = []
        self._acknowledges = True
        self._last = b""
        self._stop = Stop(0, 0)
        self._says_stops = False  # the guest was let go by the client, which waits for its stop
        self.vcpu = 0  # that registers and memory are asked about

    def receive(self, data: bytes) -> None:
        """Takes what the client has sent."""
        self._waiting += self._parser.feed(data)
        self._serve()

    def stopped(self, stop: Stop) -> None:
        """Tells the client that the guest has stopped."""
        self._stop, self.vcpu = stop, stop.vcpu
        if self._says_stops:
            self._says_stops = False
            self._answer(self._stop_reply())
        self._serve()

    def ended(self, status: int) -> None:
        """Tells the client that the guest has ended."""
        self._answer(b"W%02x" % (status & 0xFF))

    def _serve(self) -> None:
        """Serves what has come, in order: while the guest runs that is Ctrl-C alone."""
        while self._waiting and (self.debugger.is_stopped or isinstance(self._waiting[0], Interrupt)):
            event = self._waiting.pop(0)
            if isinstance(event, Interrupt):
                self.debugger.stop(Stop(self.vcpu, SIGINT))
            elif isinstance(event, Nak):
                self._send(self._last)
            elif isinstance(event, bytes):
                if self._acknowledges:
                    self._send(b"+")
                self._command(event)

    def _answer(self, data: bytes) -> None:
        self._last = packet(data)
        self._send(self._last)

    def _command(self, text: bytes) -> None:
        try:
            answer = self._do(text)
        except RefusedError as error:
            self._log(f"GDB: {error}")
            answer = b"E." + str(error).encode()
        except (MalformedError, ValueError, IndexError):
            answer = b"E.malformed packet"
        except OSError as error:
            answer = b"E." + str(error).encode()
        if answer is not None:
            self._answer(answer)

    def _do(self, text: bytes) -> bytes | None:
        """The answer to a packet; None: none yet."""
        kind, rest = text[:1], text[1:]
        match kind:
            case b"?":
                return self._stop_reply()
            case b"g":
                return self._all_registers()
            case b"G":
                return self._set_all_registers(bytes.fromhex(rest.decode()))
            case b"p":
                return self._register(_number(rest))
            case b"P":
                return self._set_register(rest)
            case b"m":
                return self._memory(rest)
            case b"M":
                return self._set_memory(rest, lambda data: bytes.fromhex(data.decode()))
            case b"X":
                return self._set_memory(rest, lambda data: data)
            case b"H":
                return self._choose(rest)
            case b"T":
                self._index(rest)
                return _OK
            case b"Z":
                return self._point(rest, self.debugger.insert)
            case b"z":
                return self._point(rest, self.debugger.remove)
            case b"c" | b"C":
                self._go(range(self.debugger.count))
                return None
            case b"s" | b"S":
                self._go((), (self.vcpu,))
                return None
            case b"D":
                self._answer(_OK)
                self._leave(False)
                return None
            case b"k":
                self._leave(True)
                return None
        if text == b"vCont?":
            return b"vCont;c;C;s;S"
        if text.startswith(b"vCont;"):
            self._continue(text[6:])
            return None
        if text.startswith(b"vKill"):
            self._answer(_OK)
            self._leave(True)
            return None
        return self._query(text)

    # ---- queries

    def _query(self, text: bytes) -> bytes:
        if text.partition(b":")[0] == b"qSupported":
            return _SUPPORTED.encode()
        if text == b"QStartNoAckMode":
            self._acknowledges = False
            return _OK
        if text.startswith(b"qXfer:features:read:target.xml:"):
            return self._description(text.rpartition(b":")[2])
        if text == b"qAttached":
            return b"1"
        if text == b"qC":
            return b"QC%x" % (self.vcpu + 1)
        if text == b"qfThreadInfo":
            return b"m" + b",".join(b"%x" % (index + 1) for index in range(self.debugger.count))
        if text == b"qsThreadInfo":
            return b"l"
        if text.startswith(b"qThreadExtraInfo,"):
            index = self._index(text.partition(b",")[2])
            return f"vCPU {index} {self.debugger.state(index)}".encode().hex().encode()
        if text.startswith(b"qRcmd,"):
            words = bytes.fromhex(text[6:].decode()).decode(errors="replace")
            return self._monitor(self, words).encode().hex().encode() or _OK
        return _UNKNOWN

    def _description(self, part: bytes) -> bytes:
        offset, length = map(_number, part.split(b","))
        text = description().encode()
        piece = text[offset : offset + min(length, _READ_MAX)]
        return (b"l" if offset + len(piece) >= len(text) else b"m") + piece

    def _index(self, thread: bytes) -> int:
        index = _number(thread) - 1
        if not 0 <= index < self.debugger.count:
            raise MalformedError
        return index

    def _choose(self, rest: bytes) -> bytes:
        thread = _number(rest[1:])
        if thread > 0:  # else any, or all
            self.vcpu = self._index(rest[1:])
        return _OK

    def _stop_reply(self) -> bytes:
        stop = self._stop
        return f"T{stop.signal:02x}thread:{stop.vcpu + 1:x};{stop.reason}".encode()

    # ---- registers and memory

    def _all_registers(self) -> bytes:
        registers = self.debugger.registers(self.vcpu)
        return b"".join(registers.read(number) for number in range(len(REGISTERS))).hex().encode()

    def _set_all_registers(self, values: bytes) -> bytes:
        registers, at = self.debugger.registers(self.vcpu), 0
        for number, (_, bits, *_) in enumerate(REGISTERS):
            value = values[at : at + bits // 8]
            at += bits // 8
            if len(value) < bits // 8:
                raise MalformedError
            if value != registers.read(number):
                registers.write(number, value)
        registers.store()
        return _OK

    def _register(self, number: int) -> bytes:
        if not 0 <= number < len(REGISTERS):
            return b"E01"
        return self.debugger.registers(self.vcpu).read(number).hex().encode()

    def _set_register(self, rest: bytes) -> bytes:
        name, _, value = rest.partition(b"=")
        number, data = _number(name), bytes.fromhex(value.decode())
        if not 0 <= number < len(REGISTERS) or len(data) != REGISTERS[number][1] // 8:
            raise MalformedError
        registers = self.debugger.registers(self.vcpu)
        registers.write(number, data)
        registers.store()
        return _OK

    def _memory(self, rest: bytes) -> bytes:
        address, length = map(_number, rest.split(b","))
        data = self.debugger.read(self.vcpu, address, min(length, _READ_MAX))
        return data.hex().encode() if data or not length else _NOT_MAPPED

    def _set_memory(self, rest: bytes, decode: Callable[[bytes], bytes]) -> bytes:
        place, _, text = rest.partition(b":")
        address, length = map(_number, place.split(b","))
        data = decode(text)
        if len(data) != length:
            raise MalformedError
        return _OK if self.debugger.write(self.vcpu, address, data) else _NOT_MAPPED

    # ---- points, stop and go

    def _point(self, rest: bytes, change: Callable[[int, Kind, int, int], None]) -> bytes:
        number, address, length = map(_number, rest.split(b";")[0].split(b","))
        if number not in (kind.value for kind in Kind):
            return _UNKNOWN
        change(self.vcpu, Kind(number), address, length)
        return _OK

    def _continue(self, text: bytes) -> None:
        """vCont: for each thread the leftmost action that is for it."""
        running: set[int] = set()
        stepping: set[int] = set()
        for action in text.split(b";"):
            what, _, thread = action.partition(b":")
            is_all = not thread or _number(thread) <= 0
            chosen = set(range(self.debugger.count)) if is_all else {self._index(thread)}
            if what[:1] not in (b"c", b"C", b"s", b"S"):
                raise MalformedError
            (stepping if what[:1] in b"sS" else running).update(chosen - running - stepping)
        self._go(running, stepping)

    def _go(self, running: Collection[int], stepping: Collection[int] = ()) -> None:
        self._says_stops = True
        self.debugger.go(running, stepping)

    def crashed(self, error: PyvmmError) -> None:
        """Tells the client's user why a vCPU cannot go on."""
        self._answer(b"O" + f"pyvmm: {error}\n".encode().hex().encode())


def _number(text: bytes) -> int:
    """A number in hexadecimal; -1 is all threads."""
    if not _HEX.fullmatch(text) or len(text) > 16:
        raise MalformedError
    return int(text, 16)
