"""Boot protocols: from an image and a layout to bytes in memory and registers."""
