"""Photos on the disk: read, cleaned, kept."""
