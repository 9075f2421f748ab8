"""How every benchmark reports: a table, or with --json one document with the machine and the results."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import psutil

    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def print_report(results: list[dict[str, Any]], *, as_json: bool) -> None:
    """`results`: one flat dictionary each, with the same keys where it is to be a table."""
    if as_json:
        print(json.dumps({"machine": machine(), "results": results}, indent=2))
        return
    print(" · ".join(f"{key} {value}" for key, value in machine().items()))
    keys = list(dict.fromkeys(key for result in results for key in result))
    rows = [keys] + [["" if result.get(key) is None else str(result[key]) for key in keys] for result in results]
    widths = [max(len(row[column]) for row in rows) for column in range(len(keys))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
