"""What every process that answers HTTP is made of: the server, the limits, the errors, and who is let in."""
