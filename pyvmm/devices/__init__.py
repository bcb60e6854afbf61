"""Devices on the bus that Python serves, one file each."""
