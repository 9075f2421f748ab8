"""A bound on what one camera's process may take beyond what it needs: a hostile stream must not cost the others their memory."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
from pathlib import Path

# For decoders and pictures, on top of what the engine holds. Measured: an 8K camera takes 0.6 GiB.
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
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    ceilings = [value for value in (soft, hard) if value != resource.RLIM_INFINITY]
    with contextlib.suppress(ValueError, OSError):  # a bound that can't be set is one less, and no reason to stop
        resource.setrlimit(resource.RLIMIT_DATA, (min([limit, *ceilings]), hard))
