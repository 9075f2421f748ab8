"""Names and secrets are taken out of texts."""

from __future__ import annotations

from workers.support.masking import Masking


def test_names_become_numbers() -> None:
    """The same number everywhere, in any spelling of a file's name, in keys and values; the longest name counts; parts of words stay."""
    masking = Masking(["Ada Lovelace", "Ada", "José", "★"])
    assert masking.text("Ada Lovelace, ADA, faces/ada_lovelace/1.jpg, Adagio") == (
        "person-1, person-2, faces/person-1/1.jpg, Adagio"
    )
    found = masking.document({"José": ["of ★", 3, None, True, {"x": ("Ada",)}]})
    assert found == {"person-3": ["of person-4", 3, None, True, {"x": ["person-2"]}]}


def test_secrets_become_stars() -> None:
    """Also one that is part of another, and one that stands in a name's place."""
    masking = Masking(["Ada"], ["hunter2", "hunter2!", "", "Ada"])
    assert masking.text("rtsp://h/hunter2! hunter2 Ada") == "rtsp://h/*** *** ***"
    assert masking.text("rtsp://x:unknown@h/a@b") == "rtsp://***@h/a@b", "a login is one, whoever's it is"


def test_many_names_take_no_time() -> None:
    """Ten thousand names and a megabyte of text: by the first word, and not name after name."""
    masking = Masking([f"first{n} last{n}" for n in range(10_000)])
    text = "camera up first77 Last77 " * 40_000
    assert masking.text(text).count("person-78") == 40_000
