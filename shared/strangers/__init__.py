"""People who were seen and are not enrolled."""
