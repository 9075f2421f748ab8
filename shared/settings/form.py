"""What each setting is, for a form: its kind, default, limits, help, unit, and whether it can be set from afar. It comes from the schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from shared.settings.schema import SECTIONS, PerCamera
from shared.settings.settable import needs_restart, why_not_settable

_UNITS = {"_days": "days", "_px": "px", "_s": "s", "_bytes": "bytes"}
_UNIT_OF = {"fps": "1/s", "det_size": "px", "rotate": "°"}


@dataclass(frozen=True)
class Setting:
    """One setting of a section; "cameras" is that of any camera.

    `kind`: "text", "integer", "number", "boolean", "choice" (one of `choices`) or "list". `inherited`: a camera without a value of its own has
    that of [recognition]. `above`: the value has to be more than this; `minimum` and `maximum` are allowed. `why_not_settable`: the remedy if it
    can be set in the file only. `needs_restart`: it is in force once the site was started again.
    """

    section: str
    key: str
    kind: str
    help: str
    default: Any = None
    required: bool = False
    choices: list[Any] | None = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    step: float | None = None
    unit: str | None = None
    inherited: bool = False
    why_not_settable: str | None = None
    needs_restart: bool = False


def described_settings() -> list[Setting]:
    """Every setting, in the order of the file."""
    return [one for section, model in SECTIONS.items() for one in _described(section, model)]


def _described(section: str, model: type[BaseModel]) -> list[Setting]:
    described = model.model_json_schema()
    required = described.get("required", [])
    return [
        Setting(
            section=section,
            key=key,
            help=one.get("description", ""),
            default=None if section == "cameras" and key in PerCamera.model_fields else one.get("default"),
            required=key in required,
            unit=_UNIT_OF.get(key) or next((unit for end, unit in _UNITS.items() if key.endswith(end)), None),
            inherited=section == "cameras" and key in PerCamera.model_fields,
            why_not_settable=why_not_settable(section, key),
            needs_restart=needs_restart(section),
            **_kind_of(one),
        )
        for key, one in described["properties"].items()
    ]


def _kind_of(described: dict[str, Any]) -> dict[str, Any]:
    parts = [one for one in described.get("anyOf", [described]) if one.get("type") != "null"]
    choices = [value for one in parts for value in one.get("enum", [one["const"]] if "const" in one else [])]
    if choices:
        return {"kind": "choice", "choices": [*choices, *([True, False] if _has(parts, "boolean") else [])]}
    first = parts[0]
    kind = {"string": "text", "array": "list"}.get(first.get("type", ""), first.get("type", "text"))
    return {
        "kind": kind,
        "minimum": first.get("minimum"),
        "maximum": first.get("maximum"),
        "above": first.get("exclusiveMinimum"),
        "step": first.get("multipleOf"),
    }


def _has(parts: list[dict[str, Any]], kind: str) -> bool:
    return any(one.get("type") == kind for one in parts)
