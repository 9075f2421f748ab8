"""`python -m workers writer|camera|prepare …`: how the supervisor starts a child. A library that can't be loaded is a fault in words.

By hand, `python -m workers.camera …` does the same without that.
"""

from __future__ import annotations

import importlib
import sys

from shared.errors import ConfigurationError
from shared.printing import for_log
from shared.process.library_faults import imports_explained


def main() -> int:
    """Import the process's module, then be it; the exit code."""
    try:
        with imports_explained():
            from shared.supervision.child import run_child  # pydantic and setproctitle

            process = importlib.import_module(f"workers.{sys.argv[1]}")
    except ConfigurationError as error:
        sys.stderr.write(f"{for_log(error.line())}\n")
        return error.exit_code
    return run_child(lambda: int(process.main(sys.argv[2:])))


if __name__ == "__main__":
    sys.exit(main())
