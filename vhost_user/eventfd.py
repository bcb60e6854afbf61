"""Eventfds shared with a peer, used so that the peer cannot make this process block.

Whether a read or write of an eventfd blocks depends on a flag (O_NONBLOCK) of the open file description, and on the
counter. The peer shares both and may change them between any two system calls. A read can ask not to block
(RWF_NOWAIT of preadv2(2)). A write cannot; but when an asynchronous request completes, the kernel adds one to an
eventfd (IOCB_FLAG_RESFD of io_submit(2)) without waiting for room.
"""

from __future__ import annotations

import ctypes
import os
from struct import Struct

_SETUP, _SUBMIT, _GETEVENTS = map(ctypes.c_long, (206, 209, 208) if os.uname().machine == "x86_64" else (0, 2, 4))
#: A `struct iocb`: data, key, rw_flags, opcode, reqprio, fildes, buf, nbytes, offset, reserved, flags, resfd.
_REQUEST = Struct("<Q2I2HI4Q2I")
_RESFD = 1
_EVENTS = 64  # minimum room for completions in a context
_EVENT_SIZE = 32

_NONE, _ONE, _ALL = map(ctypes.c_long, (0, 1, _EVENTS))
_libc = ctypes.CDLL(None, use_errno=True)
#: The AIO context and its process; fork(2) does not inherit it.
_context: tuple[int, ctypes.c_ulong] | None = None


def is_eventfd(fd: int) -> bool:
    """Whether a descriptor is an eventfd, without any operation on the file itself."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[eventfd]"
    except OSError:
        return False


def drain(fd: int) -> bool:
    """Sets an eventfd to 0; returns False if it was 0."""
    try:
        return os.preadv(fd, [bytearray(8)], -1, os.RWF_NOWAIT) == 8
    except BlockingIOError:
        return False


def signal(fd: int) -> None:
    """Adds one to an eventfd, unless it is at its limit.

    Raises:
        OSError: it is no eventfd, or this process may not use asynchronous I/O.
    """
    # A read of 0 bytes, which an eventfd refuses; that completes the request too.
    request = ctypes.create_string_buffer(_REQUEST.pack(0, 0, 0, 0, 0, fd, 0, 0, 0, 0, _RESFD, fd))
    requests = ctypes.c_void_p(ctypes.addressof(request))
    context = _aio()
    while True:
        try:
            return _call(_SUBMIT, context, _ONE, ctypes.byref(requests))
        except BlockingIOError:  # full of completions, and other threads may fill it again
            _call(_GETEVENTS, context, _NONE, _ALL, ctypes.create_string_buffer(_EVENT_SIZE * _EVENTS), None)


def _aio() -> ctypes.c_ulong:
    global _context
    if not _context or _context[0] != os.getpid():
        made = ctypes.c_ulong()
        _call(_SETUP, _ALL, ctypes.byref(made))
        _context = os.getpid(), made
    return _context[1]


def _call(number: ctypes.c_long, *arguments: object) -> None:
    if _libc.syscall(number, *arguments) < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
