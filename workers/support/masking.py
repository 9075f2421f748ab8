"""Takes people's names and secrets out of texts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_WORD = re.compile(r"[^\W_]+")
# A login in an address: whoever makes the bundle need not know every password.
_LOGIN = re.compile(r"(?<=://)[^\s/]+@")
_HIDDEN = "***"


class Masking:
    """Replaces each name by a number, always the same, and each secret by stars."""

    def __init__(self, names: Iterable[str], secrets: Iterable[str] = ()) -> None:
        # A name is found by its words, whatever stands between them: a file's name is made of them, too. Looking up the first word keeps this
        # fast with many thousand names.
        self._by_word: dict[str, list[tuple[list[str], str]]] = {}
        self._odd: list[tuple[str, str]] = []  # names without a letter or digit
        for number, name in enumerate(names, 1):
            words, mask = _words(name), f"person-{number}"
            if words:
                self._by_word.setdefault(words[0], []).append((words, mask))
            elif name.strip():
                self._odd.append((name, mask))
        for found in self._by_word.values():
            found.sort(key=lambda one: -len(one[0]))  # Ada Lovelace before Ada
        self._secrets = sorted({one for one in secrets if one}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text without names and secrets."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN)
        text = _LOGIN.sub(f"{_HIDDEN}@", text)
        for name, mask in self._odd:
            text = text.replace(name, mask)
        return self._without_names(text)

    def _without_names(self, text: str) -> str:
        words = list(_WORD.finditer(text))
        parts, place, end = [], 0, 0
        while place < len(words):
            count, mask = self._name_at(words, place)
            if count:
                parts += [text[end : words[place].start()], mask]
                end = words[place + count - 1].end()
            place += max(1, count)
        return "".join([*parts, text[end:]])

    def _name_at(self, words: list[re.Match[str]], place: int) -> tuple[int, str]:
        """How many words from `place` on are a name, and what stands for it; (0, "") for none."""
        for name, mask in self._by_word.get(words[place][0].casefold(), ()):
            found = [one[0].casefold() for one in words[place : place + len(name)]]
            if found == name:
                return len(name), mask
        return 0, ""

    def document(self, document: Any) -> Any:
        """A JSON document without names and secrets, in keys and values."""
        if isinstance(document, str):
            return self.text(document)
        if isinstance(document, dict):
            return {self.text(str(key)): self.document(value) for key, value in document.items()}
        if isinstance(document, list | tuple):
            return [self.document(one) for one in document]
        return document


def _words(name: str) -> list[str]:
    return [one.casefold() for one in _WORD.findall(name)]
