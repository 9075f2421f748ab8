"""The pictures of the pages that README and docs/web.md show: those that the command takes, small, and without anything hidden in them."""

from __future__ import annotations

import re

import pytest
from PIL import Image

from tests.docs.test_readme import DOCUMENTS
from tests.screenshots import MAX_BYTES, MAX_BYTES_IN_ALL, PICTURES, SHOTS
from tests.support.browser import SIZES


def test_the_documents_show_each_picture_with_words_for_it() -> None:
    """Each picture is shown once, in README or in docs/web.md, with an alternative text; none lies there that the command does not take."""
    shown = []
    for name in ("README.md", "docs/web.md"):
        found = re.findall(r"!\[([^\]]*)\]\((?:docs/)?pictures/([^)]+)\)", DOCUMENTS[name])
        found += [
            (words, path)
            for path, words in re.findall(r'<img src="docs/pictures/([^"]+)"[^>]* alt="([^"]*)"', DOCUMENTS[name])
        ]
        assert all(len(words) > 10 for words, _ in found), found
        shown += [path for _, path in found]
    assert sorted(shown) == sorted(f"{name}.webp" for name in SHOTS)
    assert sorted(path.name for path in PICTURES.iterdir()) == sorted(shown)


@pytest.mark.parametrize("name", SHOTS)
def test_a_picture_is_small_and_says_nothing_else(name: str) -> None:
    """A WebP of the screen's size, of bounded size, without EXIF, XMP or a comment."""
    path = PICTURES / f"{name}.webp"
    assert path.stat().st_size <= MAX_BYTES
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("WEBP", SIZES[SHOTS[name].size])
        assert not picture.getexif()
        assert set(picture.info) <= {"loop", "background", "timestamp", "duration"}


def test_all_pictures_together_are_small() -> None:
    """Whoever clones the repository loads them."""
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) <= MAX_BYTES_IN_ALL
