"""Model packs: which are installed, how one is fetched and installed, and how the configured engine is opened."""
