"""A child process and its supervisor: start, heartbeat, stop, restart."""
