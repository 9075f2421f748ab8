"""What the inference process is made of: whose turn it is, the cameras' connections, the work."""
