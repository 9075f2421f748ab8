"""Model packs: what is installed, where it comes from, and the configured engine, opened."""
