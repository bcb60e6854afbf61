"""Virtio 1.2: the MMIO transport, virtqueues and devices."""
