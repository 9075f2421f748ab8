"""A video source read frame by frame."""
