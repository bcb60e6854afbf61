"""StaticWebServer: files over virtio-fs, connections over vsock."""

from __future__ import annotations

import hashlib
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection
from pathlib import Path
from random import Random

import pytest
from fusedev import ROOT, FuseDirectory
from guests import PYVMM, wait_until
from programs import Programs

from pyvmm.api import share, vsock
from pyvmm.config import MachineConfig
from pyvmm.host.virtiofsd import PROGRAMS
from pyvmm.machine import Machine

#: The beginning of a request.
HELLO = b"GET / HTTP/1.1\r\nHost: x\r\n"
SOURCE = Path(__file__).parents[3] / "examples/StaticWebServer/StaticWebServer.pas"


@pytest.fixture
def port(programs: Programs, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    """Of a server of `tmp_path`, started by a protocol."""
    if not any(os.access(program, os.X_OK) for program, _ in PROGRAMS):
        pytest.skip("needs virtiofsd (Debian 12: qemu-system-common)")
    (tmp_path / "index.html").write_text("<title>Toro</title>")
    append = "virtiovsocket,virtiofs,FS,noconsole"
    command = [PYVMM, "boot", programs.image(SOURCE), "--mem=512M", "--cpus=2", "--vsock=5", "-p", "0:80"]
    command += [f"--share={tmp_path}:FS:ro", "--append", append, f"--boot={getattr(request, 'param', 'direct')}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdout
        assert server.stderr
        told = server.stderr.readline()
        assert server.stdout.readline() == b"listening\n"
        yield int(re.findall(rb"port (\d+) of", told)[0])
        assert server.poll() is None
        server.kill()


def get(connection: HTTPConnection, path: str) -> tuple[int, bytes]:
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read()


def test_many_clients_at_once(port: int) -> None:
    answers = []

    def ask() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        answers.extend(get(connection, path) for path in ["/", "/index.html", "/nothing"] * 50)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8 * 150
    assert answers.count((200, b"<title>Toro</title>")) == 8 * 100
    assert answers.count((404, b"404 Not Found\n")) == 8 * 50


@pytest.mark.parametrize("port", ["pvh"], indirect=True)
def test_a_pc_answers_as_well(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    assert [get(connection, "/") for _ in range(20)] == [(200, b"<title>Toro</title>")] * 20
    connection.close()


def test_a_file_of_100_mib(port: int, tmp_path: Path) -> None:
    data = Random(3).randbytes(100 << 20)
    (tmp_path / "file with spaces").write_bytes(data)
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    status, got = get(connection, "/file%20with%20spaces")
    connection.close()
    assert status == 200
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


def ask(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body; `_` in a header's name stands for `-`."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    result = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    connection.close()
    return result


@pytest.mark.parametrize(
    ("asked", "status", "part", "content_range"),
    [
        ("bytes=0-9", 206, slice(0, 10), "bytes 0-9/600000"),
        ("bytes=500000-", 206, slice(500000, None), "bytes 500000-599999/600000"),
        ("bytes=-7", 206, slice(-7, None), "bytes 599993-599999/600000"),
        ("bytes=-700000", 206, slice(None), "bytes 0-599999/600000"),
        ("bytes=1-700000", 206, slice(1, None), "bytes 1-599999/600000"),
        ("bytes=600000-", 416, None, "bytes */600000"),
        ("bytes=-0", 416, None, "bytes */600000"),
        ("Bytes=0-99999999999999999999", 206, slice(None), "bytes 0-599999/600000"),
        ("bytes=99999999999999999999-", 416, None, "bytes */600000"),
        ("bytes=$1-$9", 200, slice(None), None),
        ("bytes=5-3", 200, slice(None), None),
        ("bytes=0-1,4-5", 200, slice(None), None),
        ("bytes=-", 200, slice(None), None),
        ("bytes=x-9", 200, slice(None), None),
        ("lines=0-9", 200, slice(None), None),
    ],
)
def test_ranges(
    port: int, tmp_path: Path, asked: str, status: int, part: slice | None, content_range: str | None
) -> None:
    """RFC 9110, section 14."""
    data = Random(4).randbytes(600_000)
    (tmp_path / "file").write_bytes(data)
    got, headers, body = ask(port, "/file", Range=asked)
    assert (got, headers.get("content-range")) == (status, content_range)
    assert body == (data[part] if part else b"416 Range Not Satisfiable\n")


def test_only_a_get_has_ranges(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("HEAD", "/", headers={"Range": "bytes=0-9"})
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Length"]) == (200, "19")
    connection.close()


def test_what_a_client_has_is_not_sent_again(port: int, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    os.utime(page, (1e9, 1e9))
    status, headers, body = ask(port, "/")
    assert (status, body) == (200, b"<title>Toro</title>")
    tag, date = headers["etag"], headers["last-modified"]
    assert date == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert ask(port, "/", If_None_Match=tag)[::2] == (304, b"")
    assert ask(port, "/", If_None_Match=f'"other", {tag}')[0] == 304
    assert ask(port, "/", If_Modified_Since=date)[::2] == (304, b"")
    assert ask(port, "/", If_None_Match='"other"', If_Modified_Since=date)[0] == 200
    assert ask(port, "/", If_Range=tag, Range="bytes=1-5")[::2] == (206, b"title")
    assert ask(port, "/", If_Range='"other"', Range="bytes=1-5")[0] == 200
    assert [ask(port, "/", If_Match=match)[0] for match in (tag, "*", '"other"')] == [200, 200, 412]
    page.write_text("another page")
    wait_until(lambda: ask(port, "/", If_None_Match=tag)[::2] == (200, b"another page"), "the new page is sent")


def test_tags_tell_sizes_beyond_4_gib(port: int, tmp_path: Path) -> None:
    tags = set()
    for name, size in (("small", 5), ("large", (1 << 32) + 5)):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, size)
        os.utime(tmp_path / name, (1e9, 1e9))
        status, headers, body = ask(port, f"/{name}", Range="bytes=-2")
        assert (status, headers["content-range"], body) == (206, f"bytes {size - 2}-{size - 1}/{size}", b"\0\0")
        tags.add(headers["etag"])
    assert len(tags) == 2


def test_a_directory_leads_to_its_page(port: int, tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b/index.html").write_text("inside")
    assert ask(port, "/a%20b?x")[:2][0] == 301
    assert ask(port, "///a%20b")[1]["location"] == "/a%20b/"
    assert ask(port, "/a%20b?x")[1]["location"] == "/a%20b/?x"
    assert ask(port, "/a%20b/?x")[::2] == (200, b"inside")


def test_what_is_no_file_is_not_opened(port: int, tmp_path: Path) -> None:
    """The share's server would wait for the pipe's other end, once for each request."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for path in ["/pipe", "/socket"] * 100:
        assert ask(port, path)[::2] == (404, b"404 Not Found\n")
    assert ask(port, "/")[0] == 200


def test_types(port: int, tmp_path: Path) -> None:
    types = {"a.PNG": "image/png", "b.c.css": "text/css", "c.wasm": "application/wasm"}
    types |= {"css": "application/octet-stream", "d.css/none": "application/octet-stream"}
    (tmp_path / "d.css").mkdir()
    for name in types:
        (tmp_path / name).touch()
    assert {name: ask(port, f"/{name}")[1]["content-type"] for name in types} == types


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (HELLO + b"Content-Length: 18\r\n\r\nGET /1 HTTP/1.0\r\n\r\n", 200),
        (HELLO + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200),
        (HELLO + b"Connection: x, close\r\n\r\n" + HELLO + b"\r\n", 200),
        (b"\r\nGET http://x HTTP/1.0\r\n\r\n", 200),
        (b"GET http://x/?y HTTP/1.0\r\n\r\n", 200),
        (b"GET /a%00b HTTP/1.0\r\n\r\n", 400),
        (b"GET /%2 HTTP/1.0\r\n\r\n", 400),
        (b"GET /a b HTTP/1.0\r\n\r\n", 400),
        (b"GET index.html HTTP/1.0\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET  HTTP/1.0\r\n\r\n", 400),
        (b"GET / HTTP/1.x\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.0\n\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (HELLO + b"Host: y\r\n\r\n", 400),
        (b"GET /../../etc/passwd HTTP/1.0\r\n\r\n", 404),
        (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.0\r\n\r\n", 404),
        (b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.0\r\n\r\n", 414),
        (HELLO + b"X: " + b"x" * 9000 + b"\r\n\r\n", 431),
        # What others may read in another way, so that a proxy would see other requests than we do.
        (HELLO + b"Content-Length: 0\r\nContent-Length: 18\r\n\r\nGET /1 HTTP/1.0\r\n\r\n", 400),
        (HELLO + b"Content-Length : 18\r\n\r\nGET /1 HTTP/1.0\r\n\r\n", 400),
        (HELLO + b"Content-Length:\r\n 18\r\n\r\nGET /1 HTTP/1.0\r\n\r\n", 400),
        (HELLO + b"Content-Length: +0\r\n\r\n", 400),
        (HELLO + b"X: y\rContent-Length: 18\r\n\r\nGET /1 HTTP/1.0\r\n\r\n", 400),
        (HELLO + b"X: y\nContent-Length: 18\r\n\r\nGET /1 HTTP/1.0\r\n\r\n", 400),
        (HELLO + b"X: y\0Content-Length: 18\r\n\r\nGET /1 HTTP/1.0\r\n\r\n", 400),
    ],
)
def test_a_connection_ends_after_what_is_no_request(port: int, sent: bytes, status: int) -> None:
    """RFC 9112; and after one that has a body, or asks for it."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(sent)
        reply = b""
        while data := client.recv(1 << 16):
            reply += data
    assert reply.startswith(b"HTTP/1.1 %d " % status)
    assert reply.count(b"HTTP/1.1") == 1


def test_a_client_that_never_ends_its_request_is_left(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(HELLO + b"X: ")

        def has_ended() -> bool:
            try:
                if select.select([client], [], [], 1)[0]:
                    return not client.recv(1)
                client.sendall(b"x")
            except ConnectionError:
                return True
            return False

        wait_until(has_ended, "the connection ends")


def test_an_old_client_is_told_that_its_connection_stays(port: int) -> None:
    """RFC 9112, appendix C.2.2; `ab -k` is such a client."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        for _ in range(2):
            client.sendall(b"HEAD / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            reply = b""
            while not reply.endswith(b"\r\n\r\n"):
                reply += client.recv(1 << 16)
            assert b"\r\nConnection: keep-alive\r\n" in reply
    status, headers, _ = ask(port, "/")
    assert (status, headers.get("connection")) == (200, None)


def test_replies_are_dated(port: int) -> None:
    """RFC 9110, section 6.6.1."""
    for path in ("/", "/none"):
        earliest = int(time.time())
        date = parsedate_to_datetime(ask(port, path)[1]["date"]).timestamp()
        assert earliest - 1 <= date <= time.time() + 1


def test_requests_that_come_together_are_answered_in_order(port: int, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"file{number}").write_text(f"<{number}>")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        for number in range(20):
            client.sendall(b"%s /file%d HTTP/1.1\r\nHost: x\r\n\r\n" % (b"HEAD" if number % 5 == 4 else b"GET", number))
        client.sendall(b"GET /none HTTP/1.0\r\n\r\n")
        reply = b""
        while data := client.recv(1 << 16):
            reply += data
    assert re.findall(rb"<(\d+)>", reply) == [b"%d" % number for number in range(20) if number % 5 != 4]
    assert reply.count(b"HTTP/1.1 200 OK") == 20


@pytest.mark.slow
def test_under_load(port: int) -> None:
    if not shutil.which("wrk"):
        pytest.skip("needs wrk")
    command = ["wrk", "-t1", "-c16", "-d10s", f"http://127.0.0.1:{port}/"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "Socket errors" not in said
    assert "Non-2xx" not in said
    assert int(re.findall(r"(\d+) requests in", said)[0]) > 0


@pytest.mark.parametrize("operation", ["lookup", "open", "read"])
def test_a_share_that_fails_is_not_the_client_s_fault(programs: Programs, tmp_path: Path, operation: str) -> None:
    (tmp_path / "index.html").write_text("a page")
    share = FuseDirectory(tmp_path, valid_s=0)
    config = MachineConfig(programs.image(SOURCE), command_line="virtiovsocket,virtiofs,FS")
    with Machine(config, [vsock(5, ["0:80"]), share]) as machine:
        machine.start()
        connection = HTTPConnection("127.0.0.1", machine.ports[80][1], timeout=60)
        assert get(connection, "/") == (200, b"a page")
        share.tamper = lambda name, reply: b"\x10\0\0\0\xfb\xff\xff\xff" + reply[8:16] if name == operation else reply
        assert get(connection, "/") == (503, b"503 Service Unavailable\n")
        share.tamper = lambda name, reply: reply
        assert get(connection, "/") == (200, b"a page")
        connection.close()


class Replaces(FuseDirectory):
    """Puts another file in the place of `page` each time after the guest has asked for it."""

    def lookup(self, node: int, body: bytes) -> bytes:
        reply = super().lookup(node, body)
        if body == b"page\0":
            page, other = self._paths[ROOT] / "page", self._paths[ROOT] / f"page{self.asked['lookup']}"
            page.rename(other)
            self._paths[other.lstat().st_ino + 1000] = other
            page.write_bytes(b"x" * (self.asked["lookup"] * 7919 % 1000))
        return reply


def test_a_file_that_is_replaced_while_it_is_asked_for_is_whole(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(b"x" * 1000)
    config = MachineConfig(programs.image(SOURCE), command_line="virtiovsocket,virtiofs,FS,noconsole")
    with Machine(config, [vsock(5, ["0:80"]), Replaces(tmp_path, valid_s=0)]) as machine:
        machine.start()
        connection = HTTPConnection("127.0.0.1", machine.ports[80][1], timeout=60)
        sizes = {len(get(connection, "/page")[1]) for _ in range(30)}
        connection.close()
    assert len(sizes) > 10


def test_what_is_sent_of_files_stays_until_then_and_no_longer(programs: Programs, tmp_path: Path) -> None:
    """In memory that can keep two of them, with a slow client, and with clients that hang up."""
    files = [bytes([number]) * (6 << 20) for number in range(6)]
    for number, data in enumerate(files):
        (tmp_path / str(number)).write_bytes(data)
    device = FuseDirectory(tmp_path, valid_s=3600)
    config = MachineConfig(programs.image(SOURCE), memory=64 << 20, command_line="virtiovsocket,virtiofs,FS,noconsole")
    with Machine(config, [vsock(5, ["0:80"]), device]) as machine:
        machine.start()
        address = machine.ports[80]
        slow = HTTPConnection(*address, timeout=60)
        slow.request("GET", "/0")
        response = slow.getresponse()
        begin = response.read(100_000)
        connection = HTTPConnection(*address, timeout=60)
        for number, data in enumerate(files):
            with socket.create_connection(address, timeout=60) as client:
                client.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number)
                assert client.recv(1000)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            assert get(connection, f"/{number}") == (200, data)
        assert begin + response.read() == files[0]
        assert get(connection, "/5") == (200, files[5])
        before = device.asked["read"]
        assert get(connection, "/5") == (200, files[5])
        assert device.asked["read"] == before
        slow.close()
        connection.close()


def test_a_share_that_is_mounted_anew_is_served_again(programs: Programs, tmp_path: Path) -> None:
    def mount(text: str) -> None:
        done = subprocess.run(["mount", "-t", "tmpfs", "none", site], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr}")
        (site / "index.html").write_text(text)

    site = tmp_path / "site"
    site.mkdir()
    mount("old")
    log: list[str] = []
    config = MachineConfig(programs.image(SOURCE), command_line="virtiovsocket,virtiofs,FS,noconsole")
    try:
        with Machine(config, [vsock(5, ["0:80"]), share(f"{site}:FS", log.append)], log.append) as machine:
            machine.start()
            connection = HTTPConnection("127.0.0.1", machine.ports[80][1], timeout=60)
            assert get(connection, "/") == (200, b"old")
            subprocess.run(["umount", "-l", site], check=True)
            wait_until(lambda: log, "the end of the mount is told")
            mount("new")
            wait_until(lambda: get(connection, "/") == (200, b"new"), "the new mount is served")
            connection.close()
    finally:
        while os.path.ismount(site):
            subprocess.run(["umount", "-l", site], check=True)
    assert log[0] == f"share {site}:FS: its file system is not mounted any more"
    assert log[1].endswith("its file system was mounted anew")
