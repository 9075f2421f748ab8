"""What a process does for itself: its memory, its limits, its signals at the start, the libraries it needs."""
