"""`python -m workers writer|camera|prepare …`: how the supervisor starts a child.

If a library can't be loaded, it prints one line with the fault and the remedy, not a traceback. `python -m workers.camera …`
does the same work without that.
"""

from __future__ import annotations

import importlib
import sys

from shared.errors import ConfigurationError
from shared.printing import for_log
from shared.process.library_faults import imports_explained


def main() -> int:
    """Import the process's module and run it. Returns the exit code."""
    try:
        with imports_explained():
            from shared.supervision.child import run_child  # setproctitle

            process = importlib.import_module(f"workers.{sys.argv[1]}")
    except ConfigurationError as error:
        sys.stderr.write(f"{for_log(error.line())}\n")
        return error.exit_code
    return run_child(lambda: int(process.main(sys.argv[2:])))


if __name__ == "__main__":
    sys.exit(main())
