"""vhost-user: virtio devices in another process (QEMU's `docs/interop/vhost-user.rst`).

`frontend` is a virtual machine monitor's side, `backend` a device's, and `messages`
what they exchange.
"""
