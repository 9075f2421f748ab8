"""What the settings' form says of each setting, in the languages of the pages. English is the schema's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from shared.settings.form import Setting, described_settings

Language = Literal["en", "de", "fr", "es"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
_FOLDER = Path(__file__).with_name("translations")


def catalogue(language: Language) -> dict[str, str]:
    """The texts of a language by the English ones; none for English. So a text that changes is missed by the test, not told wrong."""
    if language == "en":
        return {}
    texts: dict[str, str] = json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return texts


def settings_in(language: Language) -> list[Setting]:
    """Every setting, in the order of the file, with its help in a language."""
    texts = catalogue(language)

    def told(text: str) -> str:
        return texts.get(text, text)

    return [
        replace(one, help=told(one.help), why_not_settable=one.why_not_settable and told(one.why_not_settable))
        for one in described_settings()
    ]
