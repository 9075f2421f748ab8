"""What a gallery's own photos say about its threshold and margin."""
