"""Messages as bytes and as values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vhost_user import messages as m

U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
REGIONS = st.builds(m.Region, U64, U64, U64, U64)

PAYLOADS = {
    m.Empty: st.builds(m.Empty),
    m.U64: st.builds(m.U64, U64),
    m.VringState: st.builds(m.VringState, U32, U32),
    m.VringAddress: st.builds(m.VringAddress, U32, U32, U64, U64, U64, U64),
    m.VringFd: st.builds(m.VringFd, st.integers(0, 255), st.booleans()),
    m.Region: REGIONS,
    m.MemoryTable: st.builds(m.MemoryTable, st.lists(REGIONS, min_size=1, max_size=8).map(tuple)),
    m.OneRegion: st.builds(m.OneRegion, REGIONS),
    m.Config: st.builds(m.Config, U32, U32, st.binary(max_size=256)),
    m.Inflight: st.builds(m.Inflight, U64, U64, U16, U16),
    m.VringArea: st.builds(m.VringArea, U64, U64, U64),
}


def test_every_request_has_a_payload_that_is_tried_here() -> None:
    for kind in [*m.FRONTEND.values(), *m.BACKEND.values()]:
        assert kind.payload in PAYLOADS
        assert kind.reply is None or kind.reply in PAYLOADS


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.__name__)
@given(data=st.data())
def test_values_survive_the_wire(payload: type[m.Payload], data: st.DataObject) -> None:
    value = data.draw(PAYLOADS[payload])
    assert payload.decode(value.encode()) == value


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.__name__)
@given(data=st.binary(max_size=400))
def test_bytes_are_a_value_or_an_error(payload: type[m.Payload], data: bytes) -> None:
    try:
        value = payload.decode(data)
    except m.VhostUserError:
        return
    assert payload.decode(value.encode()) == value


@pytest.mark.parametrize(
    ("payload", "data", "complaint"),
    [
        (m.U64, bytes(7), "7 bytes of payload, not 8"),
        (m.U64, bytes(9), "9 bytes of payload, not 8"),
        (m.VringFd, (1 << 9).to_bytes(8, "little"), "reserved bits"),
        (m.MemoryTable, b"", "0 memory regions, not 1 to 8"),
        (m.MemoryTable, b"\x09" + bytes(7 + 9 * 32), "9 memory regions, not 1 to 8"),
        (m.MemoryTable, b"\x02" + bytes(7 + 32), "40 bytes of payload for 2 memory regions"),
        (m.Config, bytes(11), "not 12 or more"),
        (m.Config, bytes(4) + b"\x02" + bytes(7) + b"x", "1 bytes of configuration space that says 2"),
        (m.OneRegion, bytes(39), "39 bytes of payload, not 40"),
    ],
)
def test_what_is_wrong_is_said(payload: type[m.Payload], data: bytes, complaint: str) -> None:
    with pytest.raises(m.VhostUserError, match=complaint):
        payload.decode(data)


def test_on_the_wire() -> None:
    """Bytes as the specification has them."""
    table = m.MemoryTable((m.Region(1, 2, 3, 4),))
    assert table.encode() == b"".join(
        n.to_bytes(size, "little") for n, size in [(1, 4), (0, 4)] + [(n, 8) for n in (1, 2, 3, 4)]
    )
    assert m.VringFd(3, True).encode() == (0x103).to_bytes(8, "little")
    assert m.Inflight.decode(bytes(20)) == m.Inflight.decode(bytes(24))
    assert repr(m.VringState(1, 2)) == "VringState(index=1, value=2)"
