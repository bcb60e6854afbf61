"""A 16550A as a guest and its host see it: its registers, its output, its events."""

from __future__ import annotations

import os

from pyvmm._kvm import ffi, lib

THR = RBR = DLL = 0
IER = DLM = 1
IIR = FCR = 2
LCR, MCR, LSR, MSR, SCR = 3, 4, 5, 6, 7

DLAB, LOOP = 0x80, 0x10
IER_RX, IER_THRE = 1, 2
IIR_NONE, IIR_THRE, IIR_RX, IIR_FIFO = 0x01, 0x02, 0x04, 0xC0
DATA_READY, TX_EMPTY = 0x01, 0x60
FIFO = 16


class Uart:
    """A UART whose output goes to a pipe, and whose eventfds are counted."""

    def __init__(self) -> None:
        self.output, self._out_fd = os.pipe()
        os.set_blocking(self.output, False)
        self._irq_fd, self._input_fd = (os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2))
        self.native = ffi.new("struct serial *")
        self._vcpu = ffi.new("struct vcpu *")
        lib.serial_init(self.native, self._out_fd, self._irq_fd, self._input_fd)

    def close(self) -> None:
        for fd in (self.output, self._out_fd, self._irq_fd, self._input_fd):
            if fd >= 0:
                os.close(fd)

    def close_output(self) -> None:
        """Nobody listens any more."""
        os.close(self.output)
        self.output = -1

    def access(self, register: int, data: bytes, size: int, write: bool) -> bytes:
        raw = ffi.new("uint8_t[]", list(data))
        lib.serial_access(self.native, self._vcpu, write, register, raw, size, len(data) // size)
        return bytes(ffi.buffer(raw))

    def write(self, register: int, value: int, size: int = 1) -> None:
        self.access(register, value.to_bytes(size, "little"), size, write=True)

    def read(self, register: int, size: int = 1) -> int:
        return int.from_bytes(self.access(register, b"\xaa" * size, size, write=False), "little")

    def receive(self, data: bytes) -> int:
        """Input from the host; how much of it was taken."""
        return int(lib.serial_input(self.native, data, len(data)))

    def sent(self) -> bytes:
        """What has come out since the last call."""
        try:
            return os.read(self.output, 65536)
        except BlockingIOError:
            return b""

    def interrupts(self) -> int:
        """How often the interrupt was raised since the last call."""
        return _count(self._irq_fd)

    def asked(self) -> int:
        """How often input was asked for since the last call."""
        return _count(self._input_fd)


def _count(fd: int) -> int:
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0
