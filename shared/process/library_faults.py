"""Turns a library that can't be imported into an error with the command that installs it. A restart would not help.

This module imports no library itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from shared.errors import ConfigurationError
from shared.process.program import PROGRAM_DIR

_SHARED_OBJECT = re.compile(r"(lib[\w.+-]+\.so[\w.]*)")
# Debian's and Ubuntu's packages of what the wheels expect from the system.
_PACKAGES = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libSM.so.6": "libsm6",
    "libICE.so.6": "libice6",
    "libXext.so.6": "libxext6",
    "libXrender.so.1": "libxrender1",
    "libX11.so.6": "libx11-6",
    "libxcb.so.1": "libxcb1",
    "libgomp.so.1": "libgomp1",
    "libstdc++.so.6": "libstdc++6",
}
_OURS = ("shared", "workers", "supervisor")
_OPENCV = "opencv-python"


def library_fault(error: Exception) -> ConfigurationError:
    """The error for a failed import. Its remedy is the command to type."""
    text = str(error)
    missing = _SHARED_OBJECT.search(text)
    if missing and missing.group(1) in _PACKAGES:
        remedy = f"sudo apt install {_PACKAGES[missing.group(1)]}"
    elif missing and "cannot open shared object file" in text:
        remedy = f"install the system's package that holds {missing.group(1)}"
    elif isinstance(error, ModuleNotFoundError) and error.name != "cv2":
        remedy = f"{sys.executable} -m pip install -c {PROGRAM_DIR / 'constraints.txt'} {PROGRAM_DIR}"
    else:
        package = _OPENCV if "cv2" in text or _opencv_is_hollow() else getattr(error, "name", None) or "the package"
        remedy = f"{sys.executable} -m pip install --force-reinstall --no-deps -c {PROGRAM_DIR / 'constraints.txt'} {package}"
    return ConfigurationError("a library can't be loaded", where=sys.executable, got=text, remedy=remedy)


@contextmanager
def imports_explained() -> Iterator[None]:
    """Raise ConfigurationError if an import in this block fails because a library is missing, or lacks a library that it needs."""
    try:
        yield
    except (ImportError, OSError) as error:
        if (getattr(error, "name", None) or "").partition(".")[0] in _OURS:
            raise  # one of our own modules is missing: a bug
        raise library_fault(error) from error
    except AttributeError as error:
        if not _opencv_is_hollow():
            raise
        raise library_fault(error) from error
    if _opencv_is_hollow():
        raise library_fault(ImportError("cv2 is an empty folder", name="cv2"))


def _opencv_is_hollow() -> bool:
    """Whether `import cv2` gave an empty module. This happens if two OpenCV packages were installed and one was removed: the removal
    deletes the other's files."""
    module = sys.modules.get("cv2")
    return module is not None and getattr(module, "__file__", None) is None
