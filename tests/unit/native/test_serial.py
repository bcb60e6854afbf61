"""pyvmm/native/serial.c: the registers of a 16550A, as in its data sheet."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uart import (
    DATA_READY,
    DLAB,
    DLL,
    DLM,
    FCR,
    FIFO,
    IER,
    IER_RX,
    IER_THRE,
    IIR,
    IIR_FIFO,
    IIR_NONE,
    IIR_RX,
    IIR_THRE,
    LCR,
    LOOP,
    LSR,
    MCR,
    MSR,
    RBR,
    SCR,
    THR,
    TX_EMPTY,
    Uart,
)

from pyvmm._kvm import lib


@pytest.fixture
def uart() -> Iterator[Uart]:
    """A UART after reset."""
    made = Uart()
    yield made
    made.close()


# ---- registers --------------------------------------------------------------------


def test_registers_after_reset(uart: Uart) -> None:
    assert [uart.read(r) for r in (RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR)] == [0, 0, IIR_NONE, 0, 0, TX_EMPTY, 0xB0, 0]
    assert (uart.sent(), uart.interrupts()) == (b"", 0)


@pytest.mark.parametrize(("register", "kept"), [(LCR, 0xFF), (MCR, 0x1F), (SCR, 0xFF), (IER, 0x0F)])
def test_register_keeps_the_bits_that_it_has(uart: Uart, register: int, kept: int) -> None:
    for value in (0xFF, 0x55, 0xAA, 0):
        uart.write(register, value)
        assert uart.read(register) == value & kept
        uart.write(LCR, 0)


@pytest.mark.parametrize("register", [LSR, MSR])
def test_status_registers_are_read_only(uart: Uart, register: int) -> None:
    before = uart.read(register)
    uart.write(register, 0xFF ^ before)
    assert uart.read(register) == before


def test_divisor_latch_hides_data_and_interrupt_registers(uart: Uart) -> None:
    uart.write(IER, IER_RX)
    uart.write(LCR, DLAB | 3)
    assert (uart.read(DLL), uart.read(DLM)) == (12, 0)  # 9600 baud
    uart.write(DLL, 0x34)
    uart.write(DLM, 0x12)
    assert (uart.read(DLL), uart.read(DLM)) == (0x34, 0x12)
    uart.write(LCR, 3)
    assert (uart.read(RBR), uart.read(IER)) == (0, IER_RX)
    assert uart.sent() == b""


def test_modem_status_says_connected(uart: Uart) -> None:
    assert uart.read(MSR) == 0xB0  # DCD, DSR, CTS


# ---- output -----------------------------------------------------------------------


def test_bytes_come_out_in_order(uart: Uart) -> None:
    for byte in b"hello":
        uart.write(THR, byte)
    assert uart.sent() == b"hello"
    assert uart.read(LSR) & TX_EMPTY == TX_EMPTY


def test_string_comes_out_in_one_piece(uart: Uart) -> None:
    text = bytes(range(256)) * 16
    uart.access(THR, text, 1, write=True)
    assert uart.sent() == text


def test_closed_output_is_no_error(uart: Uart) -> None:
    uart.close_output()
    for _ in range(3):
        uart.access(THR, b"nobody reads this", 1, write=True)
    assert uart.read(LSR) == TX_EMPTY


def test_full_non_blocking_pipe_loses_nothing(uart: Uart) -> None:
    os.set_blocking(uart._out_fd, False)
    os.set_blocking(uart.output, True)
    text = bytes(range(256)) * 1024  # four times what a pipe holds
    writer = threading.Thread(target=uart.access, args=(THR, text, 1, True))
    writer.start()
    got = b""
    while len(got) < len(text):
        got += os.read(uart.output, 65536)
    writer.join()
    assert got == text


# ---- input ------------------------------------------------------------------------


def test_input_is_read_in_order(uart: Uart) -> None:
    assert uart.receive(b"abc") == 3
    seen = []
    while uart.read(LSR) & DATA_READY:
        seen.append(uart.read(RBR))
    assert bytes(seen) == b"abc"


def test_fifo_holds_16_bytes_and_refuses_more(uart: Uart) -> None:
    assert uart.receive(bytes(range(20))) == FIFO
    assert uart.receive(b"x") == 0
    assert uart.read(RBR) == 0
    assert uart.receive(b"xy") == 1
    assert [uart.read(RBR) for _ in range(FIFO)] == [*range(1, FIFO), ord("x")]
    assert not uart.read(LSR) & DATA_READY


def test_empty_receiver_reads_as_zero(uart: Uart) -> None:
    assert uart.read(RBR) == 0
    assert uart.receive(b"x") == 1
    assert uart.read(RBR) == ord("x")


def test_fifo_reset_drops_input(uart: Uart) -> None:
    uart.receive(b"abc")
    uart.write(FCR, 0x03)
    assert not uart.read(LSR) & DATA_READY
    assert uart.receive(bytes(FIFO)) == FIFO


def test_nothing_is_asked_for_until_the_guest_looks(uart: Uart) -> None:
    uart.write(THR, ord("x"))
    uart.write(LCR, 3)
    uart.write(MCR, 3)
    uart.write(IER, IER_THRE)
    uart.read(IIR)
    uart.read(MSR)
    assert uart.asked() == 0


@pytest.mark.parametrize("look", ["LSR", "IER"])
def test_first_look_for_input_asks_for_it(uart: Uart, look: str) -> None:
    if look == "LSR":
        uart.read(LSR)
    else:
        uart.write(IER, IER_RX)
    assert uart.asked() == 1
    uart.read(LSR)
    assert uart.asked() == 0


def test_room_is_announced_when_the_last_byte_is_taken(uart: Uart) -> None:
    uart.receive(b"ab")
    uart.read(RBR)
    assert uart.asked() == 0
    uart.read(RBR)
    assert uart.asked() == 1


def test_room_is_announced_when_the_fifo_is_reset(uart: Uart) -> None:
    uart.receive(b"ab")
    uart.write(FCR, 0x02)
    assert uart.asked() == 1


# ---- interrupts -------------------------------------------------------------------


def test_no_interrupt_without_its_enable_bit(uart: Uart) -> None:
    uart.receive(b"x")
    uart.write(THR, ord("y"))
    assert uart.interrupts() == 0
    assert uart.read(IIR) == IIR_NONE


def test_received_data_interrupts_until_it_is_read(uart: Uart) -> None:
    uart.write(IER, IER_RX)
    assert uart.interrupts() == 0
    uart.receive(b"a")
    assert uart.interrupts() == 1
    assert uart.read(IIR) == uart.read(IIR) == IIR_RX
    uart.receive(b"b")
    assert uart.interrupts() == 0  # the line is still high: no new edge
    uart.read(RBR)
    assert uart.read(IIR) == IIR_RX
    uart.read(RBR)
    assert uart.read(IIR) == IIR_NONE
    uart.receive(b"c")
    assert uart.interrupts() == 1


def test_enabling_the_interrupt_with_data_waiting_raises_it(uart: Uart) -> None:
    uart.receive(b"x")
    uart.write(IER, IER_RX)
    assert uart.interrupts() == 1


def test_empty_transmitter_interrupts_until_iir_is_read(uart: Uart) -> None:
    uart.write(IER, IER_THRE)
    assert uart.interrupts() == 1
    assert uart.read(IIR) == IIR_THRE
    assert uart.read(IIR) == IIR_NONE
    uart.write(THR, ord("x"))
    assert uart.interrupts() == 1
    assert uart.read(IIR) == IIR_THRE


def test_writing_a_byte_acknowledges_the_empty_transmitter_and_raises_it_anew(uart: Uart) -> None:
    uart.write(IER, IER_THRE)
    for _ in range(3):
        assert uart.interrupts() == 1
        uart.write(THR, ord("x"))
    assert uart.interrupts() == 1


def test_received_data_has_priority_and_leaves_the_other_pending(uart: Uart) -> None:
    uart.write(IER, IER_RX | IER_THRE)
    uart.receive(b"x")
    assert uart.read(IIR) == IIR_RX
    uart.read(RBR)
    assert uart.read(IIR) == IIR_THRE


def test_iir_tells_that_the_fifos_are_on(uart: Uart) -> None:
    uart.write(FCR, 1)
    assert uart.read(IIR) == IIR_FIFO | IIR_NONE
    uart.write(FCR, 0)
    assert uart.read(IIR) == IIR_NONE


# ---- loopback ---------------------------------------------------------------------


def test_loopback_returns_output_as_input(uart: Uart) -> None:
    uart.write(MCR, LOOP)
    uart.write(THR, ord("x"))
    assert uart.sent() == b""
    assert uart.read(LSR) & DATA_READY
    assert uart.read(RBR) == ord("x")
    uart.write(MCR, 0)
    uart.write(THR, ord("y"))
    assert uart.sent() == b"y"


@pytest.mark.parametrize(("mcr", "msr"), [(0x01, 0x20), (0x02, 0x10), (0x04, 0x40), (0x08, 0x80), (0x0F, 0xF0)])
def test_loopback_returns_modem_control_as_modem_status(uart: Uart, mcr: int, msr: int) -> None:
    """DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD."""
    uart.write(MCR, LOOP | mcr)
    assert uart.read(MSR) == msr


# ---- any sequence -----------------------------------------------------------------


def test_wide_access_reaches_neighbouring_registers(uart: Uart) -> None:
    uart.write(LCR, 0x5A00 >> 8)
    uart.write(MCR, 0x0201, size=2)  # MCR, and LSR, which is read-only
    assert uart.read(LCR, size=4) == 0xB060_015A  # LCR, MCR, LSR, MSR
    uart.write(THR, 0x0141, size=2)
    assert uart.sent() == b"A"
    assert uart.read(IER) == IER_RX


_STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 7), st.integers(0, 255)),
    st.tuples(st.just("read"), st.integers(0, 7), st.none()),
    st.tuples(st.just("receive"), st.integers(0, 40), st.integers(0, 255)),
    st.tuples(st.just("wide"), st.integers(0, 4), st.integers(0, (1 << 32) - 1)),
)


@given(st.lists(_STEPS, max_size=60))
def test_any_sequence_of_accesses_keeps_the_books(steps: list[tuple[str, int, int | None]]) -> None:
    """Bytes are neither lost nor invented, and LSR and IIR say what is there."""
    uart = Uart()
    queue: list[int] = []
    dlab = loop = False
    try:
        for what, where, value in steps:
            if what == "receive":
                taken = uart.receive(bytes([value or 0]) * where)
                assert taken == min(where, FIFO - len(queue))
                queue += [value or 0] * taken
                continue
            if what == "read":
                seen = uart.read(where)
                if where == RBR and not dlab:
                    assert seen == (queue.pop(0) if queue else 0)
                continue
            size = 4 if what == "wide" else 1
            sent = b""
            for register, byte in enumerate((value or 0).to_bytes(size, "little"), where):
                if register == THR and not dlab and not loop:
                    sent = bytes([byte])
                elif register == THR and not dlab and len(queue) < FIFO:
                    queue.append(byte)
                elif register == FCR and byte & 2:
                    queue.clear()
                dlab = bool(byte & DLAB) if register == LCR else dlab
                loop = bool(byte & LOOP) if register == MCR else loop
            uart.write(where, value or 0, size)
            assert uart.sent() == sent
            assert uart.read(LSR) == TX_EMPTY | (DATA_READY if queue else 0)
            if not dlab and uart.read(IER) & IER_RX:
                assert uart.read(IIR) & 0x0F == IIR_RX if queue else uart.read(IIR) & 0x0F != IIR_RX
    finally:
        uart.close()


# ---- the end of input --------------------------------------------------------------

IER_MODEM, OUT1, CARRIER, CARRIER_CHANGED = 8, 4, 0x80, 8


def test_a_guest_that_asks_learns_that_input_has_ended(uart: Uart) -> None:
    uart.write(MCR, OUT1)
    uart.write(IER, IER_RX | IER_MODEM)
    assert uart.read(MSR) == 0xB0
    uart.receive(b"x")
    uart.interrupts()
    lib.serial_hang_up(uart.native)
    assert uart.read(RBR) == ord("x")  # what came before
    assert uart.read(IIR) == 0  # the modem's status has changed
    assert uart.read(MSR) == 0xB0 & ~CARRIER | CARRIER_CHANGED
    assert uart.read(IIR) == IIR_NONE  # that was the acknowledgement
    assert uart.read(MSR) == 0xB0 & ~CARRIER


def test_the_end_of_input_is_an_interrupt(uart: Uart) -> None:
    uart.write(MCR, OUT1)
    uart.write(IER, IER_MODEM)
    lib.serial_hang_up(uart.native)
    assert uart.interrupts() == 1


@pytest.mark.parametrize(("mcr", "ier"), [(0, IER_MODEM), (0x0B, IER_MODEM | IER_RX)])
def test_other_guests_see_the_line_that_they_know(uart: Uart, mcr: int, ier: int) -> None:
    uart.write(MCR, mcr)
    uart.write(IER, ier)
    lib.serial_hang_up(uart.native)
    assert uart.interrupts() == 0
    assert uart.read(MSR) == 0xB0
    assert uart.read(IIR) == IIR_NONE


def test_a_guest_may_ask_after_the_end(uart: Uart) -> None:
    lib.serial_hang_up(uart.native)
    uart.write(IER, IER_MODEM)
    uart.write(MCR, OUT1)
    assert uart.interrupts() == 1
    assert not uart.read(MSR) & CARRIER
