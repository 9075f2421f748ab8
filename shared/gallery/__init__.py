"""The gallery block in shared memory: its format, its writer, its readers, the match."""
