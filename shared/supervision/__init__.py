"""A child process and its supervisor: start, heartbeat, stop and restart."""
