"""The `pyvmm` command: the words that its users type and read, and the executable."""
