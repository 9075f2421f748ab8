"""A library that can't be loaded is exit code 78 with the line to type, in commands and in children, and never a restart for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.site_process import command

_NO_LIBGL = 'raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")\n'
# As `pip uninstall opencv-python-headless` leaves it where opencv-python is installed, too: a folder of that name and nothing in it.
_HOLLOW = """
import importlib.machinery, sys
class Hollow:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "cv2":
            spec = importlib.machinery.ModuleSpec("cv2", None, is_package=True)
            spec.submodule_search_locations = []
            return spec
sys.meta_path.insert(0, Hollow)
"""


@pytest.mark.parametrize(
    ("file", "content", "remedy"),
    [
        ("cv2/__init__.py", _NO_LIBGL, "sudo apt install libgl1"),
        ("cv2/__init__.py", 'raise ImportError("DLL of another version")\n', "--force-reinstall"),
        ("sitecustomize.py", _HOLLOW, "opencv-python"),
        ("setproctitle.py", 'raise ModuleNotFoundError("No module named \'x\'", name="x")\n', "pip install -c"),
        ("filelock.py", 'raise ModuleNotFoundError("No module named \'y\'", name="y")\n', "pip install -c"),
    ],
    ids=["libGL", "broken", "hollow", "in a child", "in the supervisor"],
)
def test_what_can_not_be_imported_is_said(tmp_path: Path, file: str, content: str, remedy: str) -> None:
    """`run`, whose children load what it does not, and `check`: one line with what to type; a person mends it, no restart."""
    (tmp_path / "site.toml").write_text('[recognition]\nengine = "dlib"\n', encoding="utf-8")
    broken = tmp_path / "broken" / file
    broken.parent.mkdir(parents=True)
    broken.write_text(content, encoding="utf-8")
    path = os.pathsep.join(filter(None, [str(tmp_path / "broken"), os.environ.get("PYTHONPATH")]))
    for word in ("run", "check"):
        done = command(tmp_path, word, PYTHONPATH=path)
        said = done.stderr + done.stdout
        assert done.returncode == 78, said
        assert "a library can't be loaded" in said
        assert remedy in said
        assert "Traceback" not in said
