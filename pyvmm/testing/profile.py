"""What a driver can learn of a device before it starts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyvmm.virtio.device import Device


@dataclass(frozen=True)
class Profile:
    """A device's registers, before it is started.

    Attributes:
        device_id: the type (section 5).
        features: bits that it offers.
        sizes: the maximum number of entries of each queue.
        config: its configuration space.
        answers: see `Device.answers`.
    """

    device_id: int
    features: int
    sizes: tuple[int, ...]
    config: bytes
    answers: bool


def profile_of(device: Device) -> Profile:
    """The profile of a device, which is closed then.

    Raises:
        PyvmmError: the device cannot be made ready.
    """
    try:
        device.prepare(1)
        return Profile(device.device_id, device.features, device.queue_sizes, bytes(device.config), device.answers)
    finally:
        device.close()
