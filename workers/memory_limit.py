"""A bound on what one camera's process may take beyond what it needs: a hostile stream must not cost the others their memory."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

from workers.own_limits import lower_limit

# For decoders and pictures, on top of what the engine holds. Measured: an 8K camera takes 0.42 GB.
EXTRA_BYTES = 1 << 30


def limit_memory(extra_bytes: int = EXTRA_BYTES) -> None:
    """From now on this process gets `extra_bytes` more of private memory, and an error instead of more than that.

    RLIMIT_DATA counts what is private and writable; the gallery's shared mapping and its reserved addresses, which
    RLIMIT_AS would count, are neither. A lower limit that somebody set stays.
    """
    if sys.platform != "linux":
        return
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(r"^VmData:\s+(\d+) kB", status, re.MULTILINE)
    if not found:
        return
    limit = int(found[1]) * 1024 + extra_bytes
    lower_limit(resource.RLIMIT_DATA, limit)
