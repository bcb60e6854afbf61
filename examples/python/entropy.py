"""A virtio device of one's own: an entropy source (virtio 1.2, section 5.4), and a guest that throws dice with it."""

import os
from pathlib import Path

from pyvmm import Device, Machine, MachineConfig, build


class Entropy(Device):
    """Fills every buffer that the driver offers with random bytes."""

    name = "entropy"
    device_id = 4
    queue_sizes = (64,)

    def activate(self, transport, queues, features):
        self.transport, self.queue = transport, queues[0]

    def kicked(self, index):
        while True:
            while chain := self.queue.pop():
                for view in chain.writable:
                    view[:] = os.urandom(len(view))
                self.queue.push(chain, sum(len(view) for view in chain.writable))
            if self.queue.must_interrupt():
                self.transport.interrupt()
            if not self.queue.watch():  # nothing came meanwhile
                return

    def reset(self):
        del self.transport, self.queue


def main() -> None:
    image = build(str(Path(__file__).resolve().parent / "Dice.pas"))
    with Machine(MachineConfig(str(image)), [Entropy()], log=print) as machine:
        machine.start()
        status = machine.wait(timeout=60)
        assert machine.console
        print(machine.console.read().decode(), end="")
        print(f"exit status {status}")


if __name__ == "__main__":
    main()
