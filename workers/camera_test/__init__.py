"""What the test of a camera that somebody adds is made of: a process that opens its source once."""
