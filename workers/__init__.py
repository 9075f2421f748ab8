"""Rollcall's processes and commands. A worker imports `shared`; it never imports another worker's process."""

import shared  # noqa: F401  # first of all: it says to libraries that nothing may leave the box
