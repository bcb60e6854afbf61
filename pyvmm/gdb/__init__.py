"""A GDB server in the VMM: looks into any guest, from its first instruction on."""
