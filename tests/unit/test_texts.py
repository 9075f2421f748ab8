"""The texts of the pages: every one is in the catalogue, in every language, with the same places and the plural forms of its rules."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

STATIC = ROOT / "workers" / "dashboard" / "static"
# What Intl.PluralRules calls the forms that each language needs; tests/site/test_languages.py asks a browser.
PLURAL_FORMS = {"en": {"one", "other"}, "de": {"one", "other"}, "fr": {"one", "many", "other"}, "es": {"one", "many", "other"}}  # fmt: skip
_CALL = re.compile(r"\b(?:t|plural)\(")
_PLACE = re.compile(r"{(\w+)}")


def catalogue(language: str) -> dict[str, str]:
    found = json.loads((STATIC / "lang" / f"{language}.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def plural_bases(texts: dict[str, str]) -> set[str]:
    return {key.removesuffix(".one") for key in texts if key.endswith(".one")}


def _first_argument(code: str, start: int) -> str:
    """The code of a call's first argument, from behind the opening bracket on."""
    depth = 0
    for place, one in enumerate(code[start:], start):
        if one in "([{":
            depth += 1
        elif one in ")]}" and depth:
            depth -= 1
        elif one in "),":
            return code[start:place]
    raise AssertionError("a call without an end")


def used_in_code() -> tuple[set[str], set[str], set[str]]:
    """The keys of `t`, those of `plural`, and the beginnings of the keys that are put together."""
    texts: set[str] = set()
    plurals: set[str] = set()
    beginnings: set[str] = set()
    for path in STATIC.glob("*.js"):
        code = path.read_text(encoding="utf-8")
        for call in _CALL.finditer(code):
            argument = _first_argument(code, call.end())
            found = re.findall(r'"([a-z][\w.-]*)"', re.sub(r"`[^`]*`", "", argument))
            (plurals if call[0].startswith("plural") else texts).update(found)
            beginnings.update(re.findall(r"`([a-z][\w.-]*)\${", argument))
    return texts, plurals, beginnings


def test_every_text_of_the_code_is_in_the_catalogue_and_none_is_left_over() -> None:
    texts, plurals, beginnings = used_in_code()
    known = catalogue("en")
    wanted = texts | {f"{one}.{form}" for one in plurals for form in PLURAL_FORMS["en"]}
    assert wanted - known.keys() == set(), "not in en.json"
    assert {one for one in beginnings if not any(key.startswith(one) for key in known)} == set(), "no key begins so"
    assert {key for key in known.keys() - wanted if not key.startswith(tuple(beginnings))} == set(), "nobody uses it"


@pytest.mark.parametrize("language", sorted(PLURAL_FORMS.keys() - {"en"}))
def test_a_language_has_the_texts_of_english(language: str) -> None:
    """The same keys in the same order, so that one is found beside the other; the same places; each plural form of its rules."""
    english, texts = catalogue("en"), catalogue(language)
    plurals = plural_bases(english)
    wanted: list[str] = []
    for key in english:
        base, _, form = key.rpartition(".")
        if base not in plurals:
            wanted.append(key)
        elif form == "one":
            wanted += [f"{base}.{one}" for one in ("one", "many", "other") if one in PLURAL_FORMS[language]]
    assert list(texts) == wanted
    for key, text in texts.items():
        same = key if key in english else key.removesuffix(".many") + ".other"
        places = set(_PLACE.findall(text))
        assert places == set(_PLACE.findall(english[same])), key
        assert text.strip() == text, key
        assert text, key


def test_english_has_both_forms_of_each_plural() -> None:
    texts = catalogue("en")
    assert {one for one in plural_bases(texts) if f"{one}.other" not in texts} == set()


def test_there_is_a_catalogue_for_each_language_that_can_be_chosen() -> None:
    offered = re.search(r"LANGUAGES = {(.*?)}", (STATIC / "text.js").read_text(encoding="utf-8"))
    assert offered is not None
    names = set(re.findall(r"(\w+): \"", offered[1]))
    assert names == PLURAL_FORMS.keys() == {path.stem for path in Path(STATIC / "lang").iterdir()}
