"""Photos on the disk: read them, strip their metadata, keep them."""
