"""Makes the commented site.toml that `init` writes. Its content comes from the schema."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any

from shared.settings.schema import (
    SECTIONS,
    CameraSettings,
    PerCamera,
)


def example_toml(model: str | None = None, engine: str | None = None) -> str:
    """The text of a commented site.toml: every key of the schema with its meaning and default.

    `model` and `engine`, if given, are set in the file. All other keys are commented out.
    """
    chosen = {"engine": engine, "model": model}
    lines = [
        "# Rollcall's settings. Lines that begin with # show defaults; remove the # to change one.",
        "# Check this file with: python supervisor.py check",
        "",
    ]
    for title, schema in SECTIONS.items():
        if title == "cameras":  # beside [recognition], whose keys it can have
            continue
        lines.append(f"[{title}]")
        for key, entry in schema.model_fields.items():
            value = chosen.get(key) if title == "recognition" else None
            default = value or entry.default
            shown = _toml_value(default) if default is not None else _toml_hint(key, entry.annotation)
            lines += [f"# {entry.description}", f"{'' if value else '# '}{key} = {shown}"]
        lines.append("")
        if title == "recognition":
            lines += _example_camera()
    return "\n".join(lines).rstrip() + "\n"


def _example_camera() -> list[str]:
    lines = [
        "# One section for each camera. Any key of [recognition] except engine, model and models_dir can be set here too.",
        "# [cameras.entrance]",
    ]
    for key, entry in CameraSettings.model_fields.items():
        if key in PerCamera.model_fields:
            continue
        shown = (
            '"rtsp://user:${ENTRANCE_PASSWORD}@192.0.2.10/stream"'
            if entry.is_required()
            else (_toml_hint(key, entry.annotation) if entry.default is None else _toml_value(entry.default))
        )
        lines += [f"# # {entry.description}", f"# {key} = {shown}"]
    return [*lines, ""]


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _toml_hint(key: str, annotation: Any) -> str:
    """An example value of the right type, for a key that has no default."""
    bases = {getattr(part, "__origin__", part) for part in _union_parts(annotation)}
    if float in bases:
        return "0.45" if key == "threshold" else "0.05"
    return '"…"'


def _union_parts(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [leaf for part in typing.get_args(annotation) for leaf in _union_parts(part)]
    if typing.get_origin(annotation) is Annotated:
        return _union_parts(typing.get_args(annotation)[0])
    return [annotation]
