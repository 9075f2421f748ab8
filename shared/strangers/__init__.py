"""Strangers: people who were seen and are not enrolled."""
