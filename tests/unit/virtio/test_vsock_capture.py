"""A capture of vsock's packets: what was sent, as a reader of our own and as tshark understand it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from struct import unpack_from
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vsockguest import CID, Guest

from pyvmm import api
from pyvmm._kvm import lib
from pyvmm.errors import ConfigError
from pyvmm.testing.vsockpacket import (
    HOST_CID,
    OP_CREDIT_REQUEST,
    OP_CREDIT_UPDATE,
    OP_REQUEST,
    OP_RESPONSE,
    OP_RST,
    OP_RW,
    OP_SHUTDOWN,
    SIZE,
    Header,
)

LINKTYPE_VSOCK = 271
KEY = 1000, 80
#: enum af_vsockmon_op (<linux/vsockmon.h>)
MONITORED = {
    OP_REQUEST: 1, OP_RESPONSE: 1, OP_RST: 2, OP_SHUTDOWN: 2, OP_CREDIT_UPDATE: 3, OP_CREDIT_REQUEST: 3, OP_RW: 4,
}  # fmt: skip


class Packet(NamedTuple):
    """One of a capture: CLOCK_REALTIME in ns, its direction, and what is in it."""

    time: int
    to_guest: bool
    monitor: tuple[int, ...]
    header: Header
    payload: bytes
    original: int


def read(data: bytes) -> Iterator[Packet]:
    """The packets of a pcapng file."""
    at, kinds = 0, []
    while at < len(data):
        kind, length = unpack_from("<II", data, at)
        assert length % 4 == 0
        assert unpack_from("<I", data, at + length - 4) == (length,)
        kinds.append(kind)
        if kind == 1:
            assert unpack_from("<H", data, at + 8) == (LINKTYPE_VSOCK,)
        elif kind == 6:
            _, high, low, captured, original = unpack_from("<5I", data, at + 8)
            packet = data[at + 28 : at + 28 + captured]
            options = at + 28 + (captured + 3 & ~3)
            code, size, flags = unpack_from("<HHI", data, options)
            assert (code, size) == (2, 4)
            monitor = unpack_from("<QQIIHHH", packet)
            assert monitor[6] == SIZE
            header = Header.decode(packet[32 : 32 + SIZE])
            yield Packet(high << 32 | low, flags == 2, monitor, header, packet[32 + SIZE :], original)
        at += length
    assert kinds[:2] == [0x0A0D0D0A, 1]
    assert at == len(data)


def sent_by_both(path: Path) -> list[tuple[bool, Header, bytes]]:
    """A conversation, captured: whether each packet went to the guest, and the packet."""
    guest = Guest(capture=os.open(path, os.O_WRONLY | os.O_CREAT))
    guest.start()
    sent: list[tuple[bool, Header, bytes]] = []

    def send(op: int, key: tuple[int, int], payload: bytes = b"", **fields: int) -> None:
        header = Header(src_cid=CID, dst_cid=HOST_CID, src_port=key[0], dst_port=key[1], op=op, kind=1,
                        buf_alloc=1 << 16, length=len(payload), **fields)  # fmt: skip
        sent.append((False, header, payload))
        guest.send(op, key, payload, **fields)
        sent.extend((True, *packet) for packet in guest.packets())

    send(OP_REQUEST, KEY)
    far = guest.accept()
    guest.turn()
    sent.extend((True, *packet) for packet in guest.packets())
    send(OP_RW, KEY, b"from the guest", fwd_cnt=7)
    assert far.recv(100) == b"from the guest"
    far.sendall(b"from the host, and odd")
    guest.turn(100)
    sent.extend((True, *packet) for packet in guest.packets())
    send(OP_CREDIT_REQUEST, KEY)
    send(OP_CREDIT_UPDATE, KEY, fwd_cnt=20)
    send(OP_RW, (5, 4242), b"to nobody")
    send(OP_SHUTDOWN, KEY, flags=3)
    guest.close()
    far.close()
    return sent


def test_all_packets_are_there(tmp_path: Path) -> None:
    before = time.time_ns()
    sent = sent_by_both(tmp_path / "capture")
    found = list(read((tmp_path / "capture").read_bytes()))
    for to_guest in (False, True):
        assert [
            (packet.header.encode(), packet.payload, packet.original) for packet in found if packet.to_guest is to_guest
        ] == [(header.encode(), payload, 32 + SIZE + len(payload)) for way, header, payload in sent if way is to_guest]
    assert {header.op for _, header, _ in sent} == set(MONITORED)
    for packet in found:
        header = packet.header
        assert packet.monitor == (
            header.src_cid, header.dst_cid, header.src_port, header.dst_port, MONITORED[header.op], 2, SIZE,
        )  # fmt: skip
    times = [packet.time for packet in found]
    assert before <= times[0] <= times[-1] <= time.time_ns()
    assert times == sorted(times)


def dissected(path: Path) -> list[dict[str, Any]]:
    """The layer `vsock` of each packet, by tshark."""
    if not shutil.which("tshark"):
        pytest.skip("tshark is not installed")
    done = subprocess.run(
        ["tshark", "-r", path, "-T", "json", "--no-duplicate-keys"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "cut short" not in done.stderr
    return [packet["_source"]["layers"] for packet in json.loads(done.stdout)]


def test_tshark_sees_what_was_sent(tmp_path: Path) -> None:
    sent_by_both(tmp_path / "capture")
    found = list(read((tmp_path / "capture").read_bytes()))
    layers = dissected(tmp_path / "capture")
    assert len(layers) == len(found)
    for layer, packet in zip(layers, found, strict=True):
        vsock, frame, header = layer["vsock"], layer["frame"], packet.header
        virtio = {name.rpartition(".")[2]: value for name, value in flat(vsock) if ".virtio." in name}
        assert frame["frame.protocols"].startswith("vsock")
        assert int(frame["frame.len"]) == packet.original
        outer = [
            int(vsock[f"vsock.{name}"], 0) for name in ("src_cid", "dst_cid", "src_port", "dst_port", "op", "trans")
        ]
        assert (*outer, SIZE) == packet.monitor
        assert int(vsock["vsock.trans_len"]) == SIZE
        assert {name: int(value, 0) for name, value in virtio.items()} == {
            "src_cid": header.src_cid, "dst_cid": header.dst_cid, "src_prot": header.src_port,
            "dst_prot": header.dst_port, "len": header.length, "type": header.kind, "op": header.op,
            "flags": header.flags, "buf_alloc": header.buf_alloc, "fwd_cnt": header.fwd_cnt,
        }  # fmt: skip
        shown = bytes.fromhex(vsock.get("vsock.payload", "").replace(":", ""))
        assert shown == packet.payload


def flat(layer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """All fields of a layer and of what is in it."""
    for name, value in layer.items():
        if isinstance(value, dict):
            yield from flat(value)
        elif isinstance(value, str):
            yield name, value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 65535), st.integers(0, 2**32 - 1), st.binary(max_size=200), st.integers(0, 300)),
        max_size=20,
    )
)
def test_any_packets_give_a_whole_file(tmp_path: Path, packets: list[tuple[int, int, bytes, int]]) -> None:
    guest = Guest(capture=os.open(tmp_path / "capture", os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    guest.start()
    for op, cid, payload, length in packets:
        guest.send(op, KEY, payload, src_cid=cid, length=length)
        guest.packets()
    guest.close()
    found = [packet for packet in read((tmp_path / "capture").read_bytes()) if not packet.to_guest]
    assert [(packet.header.op, packet.header.src_cid, packet.payload) for packet in found] == [
        (op, cid, payload[:length]) for op, cid, payload, length in packets
    ]


def test_a_stream_larger_than_the_buffer_is_whole(tmp_path: Path) -> None:
    guest = Guest(capture=os.open(tmp_path / "capture", os.O_WRONLY | os.O_CREAT))
    guest.start()
    guest.send(OP_REQUEST, KEY)
    guest.expect(OP_RESPONSE)
    far = guest.accept()
    wanted = bytes(range(256)) * 160
    for number in range(64):
        guest.send(OP_RW, KEY, wanted)
        got = b""
        while len(got) < len(wanted):
            got += far.recv(1 << 16)
            guest.turn()
        guest.packets()
        assert got == wanted, number
    guest.close()
    far.close()
    payloads = [packet.payload for packet in read((tmp_path / "capture").read_bytes()) if packet.header.op == OP_RW]
    assert payloads == [wanted] * 64


def test_a_full_disk_ends_the_capture_and_nothing_else() -> None:
    guest = Guest(capture=os.open("/dev/full", os.O_WRONLY))
    guest.start()
    guest.send(OP_REQUEST, KEY)
    lib.vsock_turn(guest.device.native, 1)
    guest.device.noted()
    assert guest.log == ["packets are captured no more: No space left on device"]
    guest.expect(OP_RESPONSE)
    guest.accept().close()
    guest.close()


@pytest.mark.parametrize("kind", ["fifo", "absent", "socket"])
def test_only_a_file_that_never_waits_is_written(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "there"
    if kind == "fifo":
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    elif kind == "socket":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
    else:
        path = tmp_path / "absent" / "there"
    with pytest.raises(ConfigError, match=r"capture .*there: "):
        api.vsock(5, capture=str(path))
    if kind == "fifo":
        os.close(reader)
    elif kind == "socket":
        listener.close()


def test_the_file_is_closed_with_the_device(tmp_path: Path) -> None:
    from guests import open_fds

    before = open_fds()
    api.vsock(5, capture=str(tmp_path / "capture")).close()
    assert open_fds() == before
    with pytest.raises(ConfigError):
        api.vsock(5, publish=["nonsense"], capture=str(tmp_path / "capture"))
    with pytest.raises(ConfigError):
        api.vsock(5, publish=["0:1"], allow=["1=nowhere.invalid:x"], capture=str(tmp_path / "capture"))
    assert open_fds() == before
