"""The site's settings: the TOML file, its schema, and what a camera's source is."""
