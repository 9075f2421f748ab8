"""The demo: its clips, its view, its sheet."""
