"""What GDB asks, of a guest that is made up; and clients that send anything."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.gdb.debugger import Stop
from pyvmm.gdb.packets import Parser, packet
from pyvmm.gdb.points import Kind, RefusedError
from pyvmm.gdb.registers import REGISTERS, description
from pyvmm.gdb.session import Session

MEMORY = bytes(range(256))


class Registers:
    """Of one vCPU."""

    def __init__(self) -> None:
        self.values = [bytes(bits // 8) for _, bits, *_ in REGISTERS]

    def read(self, number: int) -> bytes:
        return self.values[number]

    def write(self, number: int, value: bytes) -> None:
        self.values[number] = value

    def store(self) -> None:
        pass


class Debugger:
    """Two vCPUs."""

    count = 2
    is_stopped = True

    def __init__(self) -> None:
        self._registers = [Registers(), Registers()]
        self.gone: list[tuple[list[int], list[int]]] = []
        self.points: list[tuple[Kind, int, int]] = []
        self.stops: list[Stop] = []
        self.memory = bytearray(MEMORY)

    def registers(self, index: int) -> Registers:
        return self._registers[index]

    def state(self, index: int) -> str:
        return "running"

    def read(self, index: int, address: int, length: int) -> bytes:
        return bytes(self.memory[address : address + length])

    def write(self, index: int, address: int, data: bytes) -> bool:
        if address + len(data) > len(self.memory):
            return False
        self.memory[address : address + len(data)] = data
        return True

    def insert(self, index: int, kind: Kind, address: int, length: int) -> None:
        if kind is Kind.READ:
            raise RefusedError("not here")
        self.points.append((kind, address, length))

    def remove(self, index: int, kind: Kind, address: int, length: int) -> None:
        self.points.remove((kind, address, length))

    def go(self, running: Collection[int], stepping: Collection[int] = ()) -> None:
        self.gone.append((sorted(running), sorted(stepping)))
        self.is_stopped = False

    def stop(self, stop: Stop) -> None:
        self.stops.append(stop)


class Client:
    """A session and what it has sent."""

    def __init__(self) -> None:
        self.debugger, self.output, self.left = Debugger(), b"", []
        self.session = Session(
            self.debugger,  # type: ignore[arg-type]
            self._take,
            lambda session, text: f"{session.vcpu}: {text}",
            self.left.append,
            lambda text: None,
        )
        self.ask("QStartNoAckMode")

    def _take(self, data: bytes) -> None:
        self.output += data

    def ask(self, text: str | bytes) -> bytes | None:
        """The answer to a packet."""
        self.output = b""
        self.session.receive(packet(text.encode() if isinstance(text, str) else text))
        answers = [event for event in Parser().feed(self.output) if isinstance(event, bytes)]
        assert len(answers) <= 1
        return answers[0] if answers else None


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("?", b"T00thread:1;"),
        ("qC", b"QC1"),
        ("qfThreadInfo", b"m1,2"),
        ("qsThreadInfo", b"l"),
        ("qAttached", b"1"),
        ("T2", b"OK"),
        ("T3", b"E.malformed packet"),
        ("qThreadExtraInfo,2", b"vCPU 1 running".hex().encode()),
        ("m10,4", b"10111213"),
        ("mfe,10", b"feff"),
        ("m100,1", b"E0e"),
        ("M0,2:aabb", b"OK"),
        ("M0,3:aabb", b"E.malformed packet"),
        (b"X0,2:\x01\x02", b"OK"),
        ("Mff,2:aabb", b"E0e"),
        ("p0", b"00" * 8),
        ("pffff", b"E01"),
        ("P0=0102030405060708", b"OK"),
        ("P0=01", b"E.malformed packet"),
        ("Z0,100,1", b"OK"),
        ("Z3,100,1", b"E.not here"),
        ("Z9,100,1", b""),
        ("vCont?", b"vCont;c;C;s;S"),
        ("qRcmd,6162", b"0: ab".hex().encode()),
        ("vMustReplyEmpty", b""),
        ("bogus", b""),
    ],
)
def test_answers(client: Client, asked: str | bytes, answer: bytes) -> None:
    assert client.ask(asked) == answer


def test_registers_together(client: Client) -> None:
    values = bytes(n % 251 for n in range(sum(bits // 8 for _, bits, *_ in REGISTERS)))
    assert client.ask(b"G" + values.hex().encode()) == b"OK"
    assert client.ask("g") == values.hex().encode()
    assert client.ask(b"G" + values[:-1].hex().encode()) == b"E.malformed packet"


def test_the_description_in_pieces(client: Client) -> None:
    text, at = b"", 0
    while True:
        answer = client.ask(f"qXfer:features:read:target.xml:{at:x},100")
        assert answer
        text += answer[1:]
        at = len(text)
        if answer[:1] == b"l":
            break
    assert text.decode() == description()


@pytest.mark.parametrize(
    ("asked", "running", "stepping"),
    [
        ("c", [0, 1], []),
        ("s", [], [0]),
        ("vCont;c", [0, 1], []),
        ("vCont;s:2;c", [0], [1]),
        ("vCont;s:1", [], [0]),
        ("vCont;c:1", [0], []),
        ("vCont;s", [], [0, 1]),
    ],
)
def test_go_and_stop(client: Client, asked: str, running: list[int], stepping: list[int]) -> None:
    assert client.ask(asked) is None
    assert client.debugger.gone == [(running, stepping)]
    client.output = b""
    client.debugger.is_stopped = True
    client.session.stopped(Stop(1, 5, "swbreak:;"))
    assert client.output == packet(b"T05thread:2;swbreak:;")
    assert client.ask("qC") == b"QC2"


def test_what_is_asked_while_the_guest_runs_waits(client: Client) -> None:
    client.session.receive(packet(b"c") + b"\x03" + packet(b"qC"))
    assert [stop.signal for stop in client.debugger.stops] == [2]
    client.debugger.is_stopped = True
    client.session.stopped(client.debugger.stops[0])
    assert client.output.endswith(packet(b"QC1"))


@pytest.mark.parametrize(("asked", "kill"), [("D", False), ("k", True), ("vKill;1", True)])
def test_leaving(client: Client, asked: str, kill: bool) -> None:
    client.ask(asked)
    assert client.left == [kill]


_PACKETS = st.one_of(
    st.binary(max_size=40),
    st.tuples(
        st.sampled_from([b"m", b"M", b"X", b"p", b"P", b"Z", b"z", b"H", b"T", b"G", b"vCont;", b"qRcmd,",
                         b"qThreadExtraInfo,", b"qXfer:features:read:target.xml:"]),
        st.text("0123456789abcdef,;:=-scCS", max_size=30).map(str.encode),
    ).map(b"".join),
)  # fmt: skip


@given(st.lists(_PACKETS, max_size=10), st.lists(st.binary(max_size=20), max_size=3))
def test_a_client_may_send_anything(packets: list[bytes], noise: list[bytes]) -> None:
    client = Client()
    for data in (*map(packet, packets), *noise, packet(b"qC")):
        client.session.receive(data)
        client.debugger.is_stopped = True
    assert client.debugger.count == 2
