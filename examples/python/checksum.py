"""A virtio device with a bug, for `pyvmm fuzz checksum.py:Checksum` to find."""

from zlib import crc32

from pyvmm import Device


class Checksum(Device):
    """Writes the CRC-32 of what the driver sends to the driver's buffer."""

    name = "checksum"
    device_id = 42
    queue_sizes = (64,)
    answers = True  # each chain comes back at once

    def activate(self, transport, queues, features):
        self.transport, self.queue = transport, queues[0]

    def kicked(self, index):
        while True:
            while chain := self.queue.pop():
                checksum = 0
                for view in chain.readable:
                    checksum = crc32(view, checksum)
                chain.writable[0][:4] = checksum.to_bytes(4, "little")  # the bug: that may be too short, or not there
                self.queue.push(chain, 4)
            if self.queue.must_interrupt():
                self.transport.interrupt()
            if not self.queue.watch():
                return

    def reset(self):
        del self.transport, self.queue
