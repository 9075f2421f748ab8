"""Photos made into references, and who is in a photo."""
