"""Measures a gallery's own photos against each other, and proposes a threshold and a margin for it."""
