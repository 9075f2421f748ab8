"""What a process does for itself: its memory, its limits, its first signals, the libraries it needs."""
