"""Clients that ask again as soon as they are answered: their requests reach a halted guest by one interrupt."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vsockguest import Guest

from pyvmm._kvm import ffi, lib
from pyvmm.testing.vsockpacket import OP_REQUEST, OP_RESPONSE, OP_RW

if TYPE_CHECKING:
    from pyvmm._kvm import VsockRound

WAIT = 40_000  # ns
VAIN = 16
NEVER = 1 << 62
Key = tuple[int, int]


class Round:
    """A round, and the streams that know of it."""

    def __init__(self, clients: int = 0) -> None:
        self.native: VsockRound = ffi.new("struct vsock_round *", {"number": 1})
        self.streams = ffi.new("uint32_t[]", 64)
        for number in range(clients):
            self.answer(number)

    def answer(self, number: int, size: int = 100) -> None:
        lib.round_answered(self.native, self.streams + number, size)

    def ask(self, number: int) -> None:
        lib.round_asked(self.native, self.streams + number)

    def waits(self, now: int) -> bool:
        return bool(lib.round_waits(self.native, now))

    def end(self) -> None:
        lib.round_end(self.native)


def test_it_waits_until_all_have_asked() -> None:
    of = Round(clients=5)
    assert not of.waits(1)
    for number in range(4):
        of.ask(number)
        of.ask(number)
        assert of.waits(1)
    of.ask(4)
    assert not of.waits(1)


def test_it_waits_for_a_while_since_the_last_has_asked() -> None:
    of = Round(clients=5)
    of.ask(0)
    assert of.waits(1)
    assert of.waits(WAIT)
    of.ask(1)
    assert of.waits(WAIT)
    assert of.waits(2 * WAIT - 1)
    assert not of.waits(2 * WAIT)


def test_it_does_not_wait_after_it_has_waited_in_vain() -> None:
    of = Round()
    for repeat in range(3):
        for rest in range(VAIN + 1):
            for number in range(5):
                of.answer(number)
            of.ask(0)
            assert of.waits(1) == (rest == 0), (repeat, rest)
            assert not of.waits(1 + WAIT)
            of.end()


@pytest.mark.parametrize(("clients", "size"), [(3, 100), (5, 5000)])
def test_it_does_not_wait_for_a_few_or_for_much(clients: int, size: int) -> None:
    of = Round()
    for number in range(clients):
        of.answer(number, size)
    of.ask(0)
    assert not of.waits(1)


def test_the_number_begins_anew() -> None:
    of = Round()
    of.native.number = (1 << 32) - 1
    of.end()
    assert of.native.number == 1


STEPS = st.one_of(
    st.tuples(st.just("answer"), st.integers(0, 15)),
    st.tuples(st.just("ask"), st.integers(0, 15)),
    st.tuples(st.just("pass"), st.integers(1, WAIT)),
    st.tuples(st.just("end"), st.just(0)),
)


@given(st.lists(STEPS, max_size=100))
def test_nothing_waits_for_nobody_or_for_long(steps: list[tuple[str, int]]) -> None:
    of, now = Round(), 1
    expected: set[int] = set()
    for step, value in steps:
        if step == "answer":
            of.answer(value)
            expected.add(value)
        elif step == "ask":
            of.ask(value)
            expected.discard(value)
        elif step == "pass":
            now += value
        else:
            of.end()
            expected.clear()
        if of.waits(now):
            assert expected
            assert of.native.asked
            assert not of.waits(now + WAIT)


def served(guest: Guest, count: int) -> dict[Key, socket.socket]:
    """So many clients that the guest has answered."""
    clients: dict[Key, socket.socket] = {}
    for number in range(count):
        key = (1000 + number, 80)
        guest.send(OP_REQUEST, key)
        guest.expect(OP_RESPONSE)
        clients[key] = guest.accept()
    was_interrupted(guest)
    for key in clients:
        guest.send(OP_RW, key, b"answer", notify=key == max(clients))
    assert guest.device.native.round.answered == count
    return clients


def was_interrupted(guest: Guest) -> bool:
    try:
        os.eventfd_read(guest.registers.transport.irq_fd)
    except BlockingIOError:
        return False
    return True


def turn(guest: Guest) -> None:
    """One, that finds what has been sent, and one that has nothing new."""
    for _ in range(2):
        lib.vsock_turn(guest.device.native, 0)


def test_the_interrupt_waits_for_those_who_will_ask(guest: Guest) -> None:
    guest.queues[1].set_interrupts(False)
    clients = served(guest, 5)
    was_interrupted(guest)
    for number, client in enumerate(clients.values()):
        assert not was_interrupted(guest), number
        client.sendall(b"ask")
        lib.vsock_turn(guest.device.native, 1000)
        assert guest.device.native.round.asked == (number + 1) % 5
        if number < 4:
            guest.device.native.round.wait_until = NEVER
            turn(guest)
    assert was_interrupted(guest)
    assert [data for _, data in guest.packets()] == 5 * [b"ask"]


def test_the_interrupt_comes_if_the_others_do_not_ask(guest: Guest) -> None:
    guest.queues[1].set_interrupts(False)
    clients = served(guest, 5)
    was_interrupted(guest)
    next(iter(clients.values())).sendall(b"ask")
    guest.turn(1000)
    assert was_interrupted(guest)


def test_no_interrupt_waits_in_a_pause(guest: Guest) -> None:
    guest.queues[1].set_interrupts(False)
    clients = served(guest, 5)
    was_interrupted(guest)
    next(iter(clients.values())).sendall(b"ask")
    lib.vsock_turn(guest.device.native, 1000)
    guest.device.native.round.wait_until = NEVER
    turn(guest)
    assert not was_interrupted(guest)
    lib.vsock_pause(guest.device.native)
    assert was_interrupted(guest)
