"""The demo: makes its clips, shows what the site sees in them, and draws the contact sheet."""
