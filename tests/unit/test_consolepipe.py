"""pyvmm.consolepipe: output is read on demand, whenever it arrives."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from guests import descriptors_left, open_fds
from hypothesis import given
from hypothesis import strategies as st

from pyvmm.consolepipe import ConsolePipe


@pytest.fixture
def pipe() -> Iterator[ConsolePipe]:
    made = ConsolePipe()
    yield made
    made.close()


@given(parts=st.lists(st.binary(max_size=20), max_size=8), mark=st.binary(min_size=1, max_size=2))
def test_text_is_found_however_it_is_cut(parts: list[bytes], mark: bytes) -> None:
    whole = b"".join(parts)
    pipe = ConsolePipe()
    try:
        for part in parts:
            os.write(pipe.guest_output, part)
        pipe.guest_has_ended()
        if mark in whole:
            end = whole.index(mark) + len(mark)
            assert pipe.read_until(mark) == whole[:end]
            assert pipe.read() == whole[end:]
        else:
            with pytest.raises(EOFError, match="the guest ended before it printed"):
                pipe.read_until(mark)
            assert pipe.read() == whole
    finally:
        pipe.close()


def test_more_than_a_pipe_holds_is_kept(pipe: ConsolePipe) -> None:
    text = bytes(range(256)) * 4096

    def print_all() -> None:
        rest = memoryview(text)
        while rest:
            rest = rest[os.write(pipe.guest_output, rest) :]
        pipe.guest_has_ended()

    guest = threading.Thread(target=print_all)
    guest.start()
    pipe.drain(None)
    guest.join()
    assert pipe.read() == text


def test_what_does_not_come_is_a_timeout_that_says_what_did(pipe: ConsolePipe) -> None:
    os.write(pipe.guest_output, b"half")
    with pytest.raises(TimeoutError, match=r"no b'whole' within 0 s; the guest printed b'half'"):
        pipe.read_until(b"whole", timeout=0)


def test_what_is_written_is_what_the_guest_reads(pipe: ConsolePipe) -> None:
    pipe.write(b"Toro\n")
    assert os.read(pipe.guest_input, 100) == b"Toro\n"


@pytest.mark.parametrize("left", range(4))
def test_it_leaves_no_descriptor(left: int) -> None:
    before = open_fds()
    with descriptors_left(left), pytest.raises(OSError, match="Too many open files"):
        ConsolePipe()
    pipe = ConsolePipe()
    pipe.close()
    pipe.close()
    assert open_fds() == before
