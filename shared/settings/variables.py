"""Variables in the settings: ${NAME} stands for a value of the environment, or for a systemd credential. These are secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from shared.errors import ConfigurationError

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def variables_in(text: str) -> list[str]:
    """The names of the variables in a text."""
    return VARIABLE.findall(text)


def filled_in(text: str, where: str, environ: Mapping[str, str] | None = None) -> str:
    """A text with its variables filled in: as they are if the text is one variable, else percent-encoded, since they are parts of an
    address.

    `where`: where the text was written. Raises ConfigurationError if a variable is not set.
    """
    values = os.environ if environ is None else environ
    if VARIABLE.fullmatch(text):
        return value_of(variables_in(text)[0], where, values).strip()
    return VARIABLE.sub(lambda found: quote(value_of(found[1], where, values), safe=""), text)


def value_of(name: str, where: str, values: Mapping[str, str]) -> str:
    """The value of a variable: from `values`, or a systemd credential. Raises ConfigurationError without the value."""
    if name in values:
        return values[name]
    folder = values.get("CREDENTIALS_DIRECTORY")
    if folder and (file := Path(folder) / name).is_file():
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                "a credential can't be read",
                where=where,
                got=f"{file}: {'not UTF-8 text' if isinstance(error, ValueError) else error.strerror}",
                expected="one line of text",
                remedy="write it anew",
            ) from None
    raise ConfigurationError(
        "a variable is not set",
        where=where,
        got="${" + name + "}",
        expected="an environment variable or a systemd credential of that name",
        remedy=f"export {name}=…, or LoadCredential={name}:… in the unit",
    )
