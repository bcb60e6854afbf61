"""Tests for virtio devices.

`virtqueue.Driver` is the driver's side of a queue, `registers.Registers` of a device, and `vsockpacket` has the header
of vsock packets.
"""
