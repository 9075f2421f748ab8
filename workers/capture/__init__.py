"""Reads a video source (camera, stream or file) frame by frame."""
