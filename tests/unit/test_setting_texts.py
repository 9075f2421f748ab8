"""The help of the settings in the languages of the pages."""

from __future__ import annotations

import re

import pytest

from shared.settings.form import described_settings
from tests.unit.test_texts import PLURAL_FORMS
from workers.dashboard.setting_texts import LANGUAGES, Language, catalogue, settings_in

_NAMES = re.compile(r"[a-z]+_[a-z_]+|\$\{NAME\}|\[x1, y1, x2, y2\]|\w+\(?s?\)?://…|/dev/videoN|models use NAME")


def _english() -> set[str]:
    settings = described_settings()
    return {one.help for one in settings} | {one.why_not_settable for one in settings if one.why_not_settable}


@pytest.mark.parametrize("language", [one for one in LANGUAGES if one != "en"])
def test_each_text_is_translated_and_none_is_left_over(language: Language) -> None:
    """Names of settings, addresses and commands stay as they are."""
    texts = catalogue(language)
    assert texts.keys() == _english()
    for english, told in texts.items():
        assert told.strip() == told != ""
        assert sorted(_NAMES.findall(told)) == sorted(_NAMES.findall(english)), told


def test_the_form_is_in_the_language_of_the_page() -> None:
    """Only what is said of a setting differs."""
    assert set(LANGUAGES) == set(PLURAL_FORMS)
    assert settings_in("en") == described_settings()
    for english, german in zip(settings_in("en"), settings_in("de"), strict=True):
        assert (english.section, english.key, english.default) == (german.section, german.key, german.default)
        assert english.help != german.help
