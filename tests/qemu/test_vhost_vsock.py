"""Toro's sockets on QEMU with vhost-vsock: the kernel's device, and the host's AF_VSOCK. Runs in tests/lab."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from guests import MADE, MIB, toro_image
from microvm import QEMU, command

TORO = Path(__file__).parents[1] / "kvm/toro"
CID, ECHO, PROXY, NOBODY, PROXIED = 77, 80, 87, 88, 90

pytestmark = [
    pytest.mark.skipif(not os.access("/dev/vhost-vsock", os.W_OK), reason="needs /dev/vhost-vsock: make test-lab"),
    pytest.mark.skipif(not shutil.which(QEMU), reason="needs qemu-system-x86"),
    pytest.mark.skipif(not MADE and not shutil.which("ppcx64"), reason="needs fp-compiler"),
]


@pytest.fixture(scope="module", params=[1, 2])
def guest(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs SocketEcho, whose ports are said there."""
    kernel = toro_image(TORO / "SocketEcho.pas", tmp_path_factory.mktemp("vsock"))
    device = ["-device", f"vhost-vsock-device,guest-cid={CID}"]
    words = command(kernel, *device, accelerator="kvm", cpus=request.param)
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout
        for line in process.stdout:
            if line.endswith(b"ready\n"):
                break
        yield
        assert process.poll() is None, "the guest has ended"
        process.kill()


def exchange(port: int, data: bytes) -> bytes:
    """What comes back of `data` from a port of the guest."""
    with socket.socket(socket.AF_VSOCK) as sock:
        sock.settimeout(60)
        sock.connect((CID, port))

        def send() -> None:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        got = bytearray()
        while part := sock.recv(1 << 18):
            got += part
        sender.join()
    return bytes(got)


@pytest.mark.parametrize("size", [1, 4001, 65536, 8 * MIB])
def test_everything_comes_back(guest: None, size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert sha256(exchange(ECHO, data)).digest() == sha256(data).digest()


def test_many_connections(guest: None) -> None:
    for i in range(300):
        assert exchange(ECHO, b"number %d" % i) == b"number %d" % i


def test_the_guest_connects_to_the_host(guest: None) -> None:
    with socket.socket(socket.AF_VSOCK) as listener:
        listener.bind((socket.VMADDR_CID_ANY, PROXIED))
        listener.listen()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                while data := sock.recv(1 << 16):
                    sock.sendall(data)

        server = threading.Thread(target=serve)
        server.start()
        assert exchange(PROXY, b"there and back") == b"there and back"
        server.join()


def test_a_port_that_nobody_listens_on_resets(guest: None) -> None:
    with socket.socket(socket.AF_VSOCK) as sock, pytest.raises(ConnectionResetError):
        sock.connect((CID, NOBODY))
