"""Every example does what its folder says."""

from __future__ import annotations

import re
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from guests import PYVMM, Result
from programs import Programs

EXAMPLES = Path(__file__).parents[3] / "examples"


def png_pixels(path: Path) -> tuple[int, int, bytes]:
    """Width, height and RGB of a PNG without filters."""
    data, at, packed = path.read_bytes(), 8, b""
    width = height = 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height = struct.unpack_from(">II", body)
        elif kind == b"IDAT":
            packed += body
        at += 12 + size
    rows = zlib.decompress(packed)
    step = 1 + 3 * width
    assert not any(rows[::step])
    return width, height, b"".join(rows[i + 1 : i + step] for i in range(0, len(rows), step))


def test_inter_core_comm(toro: Callable[..., Result]) -> None:
    folder = EXAMPLES / "InterCoreComm"
    expected = (folder / "expected.txt").read_bytes()
    assert toro(folder / "InterCoreComm.pas", "--cpus", "3") == Result(0, expected, "")


def test_inter_core_comm_needs_two_cores(toro: Callable[..., Result]) -> None:
    text = b"One core has nobody to talk to: try --cpus 2\n"
    assert toro(EXAMPLES / "InterCoreComm/InterCoreComm.pas") == Result(1, text, "")


def test_scheduler(toro: Callable[..., Result]) -> None:
    folder = EXAMPLES / "Scheduler"
    expected = (folder / "expected.txt").read_bytes()
    assert toro(folder / "Scheduler.pas", "--cpus", "3") == Result(0, expected, "")


def test_exception_handling(toro: Callable[..., Result]) -> None:
    folder = EXAMPLES / "ExceptionHandling"
    expected = (folder / "expected.txt").read_bytes()
    assert toro(folder / "ExceptionHandling.pas", "--cpus", "2") == Result(0, expected, "")


@contextmanager
def serving(image: str, *options: str) -> Iterator[str]:
    """Boots a server and gives the URL of its port 80."""
    command = [PYVMM, "boot", image, "--vsock", "5", "-p", "0:80", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        found = re.search(r"port (\d+) of 127.0.0.1", process.stderr.readline())
        assert found
        try:
            yield f"http://127.0.0.1:{found[1]}/"
        finally:
            process.kill()


def test_hash_table_server(programs: Programs) -> None:
    with serving(programs.image(EXAMPLES / "HashTableServer/HashTableServer.pas")) as url:
        for i in range(100):
            assert urlopen(f"{url}key{i}={i * i}").read() == b"%d\n" % (i * i)
        assert urlopen(f"{url}key7=again").read() == b"again\n"
        assert urlopen(url).read() == b"100 keys\n"
        assert [urlopen(f"{url}key{i}").read() for i in (7, 99)] == [b"again\n", b"9801\n"]
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"{url}nothing")


@pytest.mark.parametrize("cpus", ["1", "4"])
def test_mandelbrot(toro: Callable[..., Result], cpus: str) -> None:
    folder = EXAMPLES / "Mandelbrot"
    result = toro(folder / "Mandelbrot.pas", "--cpus", cpus)
    width, height, pixels = png_pixels(folder / "expected.png")
    assert result.stdout.split(b"\n", 3)[:3] == [b"P6", f"{width} {height}".encode(), b"255"]
    assert result.stdout.split(b"\n", 3)[3] == pixels
    assert (result.status, result.stderr) == (0, "")


@pytest.mark.parametrize("operation", ["Reduce", "AllReduce", "Bcast", "Barrier"])
@pytest.mark.parametrize("language", ["C", "Pascal"])
def test_mpi(toro: Callable[..., Result], operation: str, language: str) -> None:
    folder = EXAMPLES / "MPI"
    program = f"{operation}.c" if language == "C" else f"Mpi{operation}.pas"
    result = toro(folder / program, "--cpus", "2")
    told = re.sub(r"\d+ cycles", "# cycles", result.stdout.decode())
    assert told == (folder / f"{operation}.txt").read_text()
    assert (result.status, result.stderr) == (0, "")
