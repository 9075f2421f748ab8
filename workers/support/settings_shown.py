"""The settings without what is secret in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.settings.schema import Settings
from shared.settings.sources import show_source
from shared.settings.variables import variables_in

_HIDDEN = "***"


def settings_shown(settings: Settings) -> dict[str, Any]:
    """The settings in force as a document. Of a source only what may be shown; variables stay as they are written."""
    document: dict[str, Any] = settings.to_json()["settings"]
    for camera in document["cameras"].values():
        camera["source"] = show_source(camera["source"])
    address = document["backend"]["mongodb_uri"]
    if not (variables_in(address) and address.startswith("${")):
        document["backend"]["mongodb_uri"] = _HIDDEN
    document["sync"]["backend"] = show_source(document["sync"]["backend"])
    return document


def secrets_of(settings: Settings, environ: Mapping[str, str]) -> set[str]:
    """What must not be shown anywhere: the values of variables, addresses with their logins, and what stands in these as a password."""
    texts = [str(one.source) for one in settings.cameras.values()] + [settings.backend.mongodb_uri]
    names = settings.variables() | settings.backend_variables()
    values = {environ[name] for name in names if environ.get(name)}
    literal = set()
    for text in texts:
        login, at, _ = text.partition("://")[2].rpartition("@")
        if at:
            literal |= {text, login, login.partition(":")[2]}
    return {one for one in values | literal if len(one) > 1 and not variables_in(one)}
