"""The site's settings: the TOML file, its schema, and the sources of cameras."""
