"""The environment variables by which a child finds its supervisor."""

from __future__ import annotations

CHANNEL_VARIABLE = "ROLLCALL_SUPERVISOR_FD"
PARENT_VARIABLE = "ROLLCALL_SUPERVISOR_PID"
