"""vhost-user: virtio devices in another process (QEMU's `docs/interop/vhost-user.rst`).

`frontend` is the side of a virtual machine monitor, `backend` that of a device,
`messages` is what both say.
"""
