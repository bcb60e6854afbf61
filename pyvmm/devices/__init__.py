"""Devices on the bus that are served in Python, one small file each."""
