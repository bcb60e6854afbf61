"""Boot protocols: from an image and a memory layout to memory contents and registers."""
