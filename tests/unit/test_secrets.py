"""Secrets: shown once, kept as a hash."""

from __future__ import annotations

import pytest

from workers.serving.secrets import (
    fits_password,
    hash_password,
    is_same,
    new_secret,
    read_secret,
    why_no_password,
)


def test_what_is_shown_is_known_by_its_hash() -> None:
    made = new_secret()
    shown = read_secret(made.shown)
    assert shown is not None
    assert (shown.id, shown.hash) == (made.id, made.hash)
    assert made.shown.split("_", 2)[2] not in made.hash
    assert not is_same(new_secret().hash, shown.hash)
    assert not is_same(None, shown.hash)


@pytest.mark.parametrize(
    "text", ["", "rc_", "rc_0123456789abcdef_short", "x" * 5000, "rc_0123456789abcdef_" + "é" * 43]
)
def test_what_is_no_secret_is_none(text: str) -> None:
    assert read_secret(text) is None


def test_a_password_fits_its_own_hash_only() -> None:
    known = hash_password("correct horse battery")
    assert known != hash_password("correct horse battery"), "each has a salt of its own"
    assert fits_password(known, "correct horse battery")
    assert not fits_password(known, "correct horse batterz")
    assert not fits_password(None, "correct horse battery")
    assert not fits_password("sha256:" + "0" * 64, "correct horse battery")


@pytest.mark.parametrize(("password", "is_one"), [("x" * 11, False), ("x" * 12, True), ("é" * 513, False)])
def test_how_long_a_password_is(password: str, is_one: bool) -> None:
    assert (why_no_password(password) is None) == is_one
