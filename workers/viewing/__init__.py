"""A camera's newest frame, for whoever looks at it now."""
