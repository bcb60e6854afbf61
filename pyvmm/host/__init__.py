"""What pyvmm asks of the host for its guests."""
