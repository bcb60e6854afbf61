"""What pyvmm asks of the host on behalf of its guests."""
