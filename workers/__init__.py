"""Rollcall's processes and commands. A worker imports `shared`; it never imports another worker's process."""
