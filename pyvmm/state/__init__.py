"""A guest as data: the State, its file, the boot cache, freezing."""
