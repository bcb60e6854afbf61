"""pyvmm: a KVM virtual machine monitor in Python for Toro unikernels."""

__version__ = "0.1.0"
