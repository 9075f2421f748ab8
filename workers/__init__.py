"""Rollcall's processes and commands. A worker imports `shared`; it never imports another worker's process."""

import shared  # noqa: F401  # before all other imports: it forbids libraries to send anything off this machine
