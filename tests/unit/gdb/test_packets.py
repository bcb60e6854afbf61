"""Packets of GDB's remote protocol: what is sent comes back, and nothing a client sends is an error."""

from hypothesis import given
from hypothesis import strategies as st

from pyvmm.gdb.packets import DATA_MAX, Ack, Interrupt, Nak, Parser, escaped, packet, unescaped


@given(st.lists(st.binary(max_size=50), max_size=5), st.data())
def test_packets_come_back_in_any_pieces(sent: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(packet, sent))
    parser, events = Parser(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        events += parser.feed(stream[:size])
        stream = stream[size:]
    assert events == sent


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_whatever_comes_the_next_packet_is_seen(pieces: list[bytes]) -> None:
    parser = Parser()
    for piece in pieces:
        parser.feed(piece)
    # What was begun, if anything, ends with the first of them.
    assert b"hello" in parser.feed(packet(b"hello") + b"#00" + packet(b"hello"))


def test_signs_between_packets() -> None:
    kinds = [type(event) for event in Parser().feed(b"+-\x03x" + packet(b"c"))]
    assert kinds == [Ack, Nak, Interrupt, bytes]


def test_a_wrong_sum_is_a_nak() -> None:
    for text in (b"$abc#00", b"$abc#zz", b"$abc#\xff\xff"):
        (event,) = Parser().feed(text)
        assert isinstance(event, Nak)


def test_a_packet_that_never_ends_is_dropped() -> None:
    parser = Parser()
    for _ in range(10):
        assert parser.feed(b"$" + bytes(DATA_MAX)) == []
    assert len(parser._rest) <= 2 * DATA_MAX + 4


@given(st.binary())
def test_escapes(data: bytes) -> None:
    body = escaped(data)
    assert not set(b"#$") & set(body)
    assert unescaped(body) == data
