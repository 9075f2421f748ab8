"""What a child is told of the settings. A camera is told less, see shared/settings/camera_task.py."""

from __future__ import annotations

import json
import sys
from typing import Any

from shared.settings.file import find_config, load_settings
from shared.settings.schema import Settings


def settings_of(arguments: Any) -> Settings:
    """The settings of a child: from the supervisor on standard input, or from the file if it was started by hand."""
    if arguments.settings_stdin:
        return Settings.from_json(json.loads(sys.stdin.readline()))
    return load_settings(find_config(arguments.config))
