"""Finds and reads site.toml, applies the environment variables, and checks the result. All faults are reported at once."""

from __future__ import annotations

import contextlib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import (
    TypeAdapter,
    ValidationError,
)

from shared.errors import ConfigurationError, FaultList, RollcallError
from shared.process.program import PROGRAM_DIR
from shared.settings.engine_choice import unfit_for_dlib
from shared.settings.schema import (
    CAMERA_NAME,
    LOOPBACK,
    SECTIONS,
    BackendSettings,
    File,
    Settings,
    SyncSettings,
    WebSettings,
    settings_of,
)
from shared.settings.sources import (
    show_source,
)
from shared.settings.text import read_document, require_trustworthy

# Larger numbers are not shown: Python refuses to print an integer of thousands of digits.
_LONG_NUMBER = 10**20
# Characters of a value that an error message shows.
_LONG_TEXT = 200

# The environment variables of the original program, each with the key of [sync] that it sets.
_VARIABLES = {"MONGODB_SYNC_ENABLED": "enabled", "MONGODB_SYNC_INTERVAL": "interval_s", "BACKEND_API": "backend"}


def find_config(explicit: str | None = None, beside: Path | None = None) -> Path | None:
    """The path of the configuration file, or None if there is none.

    The first of these wins: `--config` (`explicit`), `$ROLLCALL_CONFIG`, `site.toml` in the working folder, `site.toml` in `beside`
    (by default the folder of the program). Raises ConfigurationError if a file that was named is missing, or if others could have
    changed the file (see `require_trustworthy`).
    """
    for name, origin in ((explicit, "--config"), (os.environ.get("ROLLCALL_CONFIG"), "$ROLLCALL_CONFIG")):
        if name:
            path = Path(name).expanduser().absolute()
            if not path.exists():
                raise ConfigurationError(
                    "no such configuration file",
                    where=origin,
                    got=str(path),
                    remedy="name a file, or make one with: supervisor.py init",
                )
            require_trustworthy(path, named=True)
            return path
    for folder in (Path.cwd(), beside or PROGRAM_DIR):
        if (folder / "site.toml").exists():
            require_trustworthy(folder / "site.toml", named=False)
            return (folder / "site.toml").absolute()
    return None


def load_settings(path: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings file `path`. None gives the defaults, relative to the working folder.

    Raises ConfigurationError, mostly a FaultList with every fault in the file: file and key, got, expected, remedy. Raises nothing
    else, whatever is at `path`, so that a running site can catch it and go on with its old settings.
    """
    if path is None:
        return parse_settings({}, None, environ)
    try:
        return parse_settings(read_document(path), path, environ)
    except tomllib.TOMLDecodeError as error:
        raise FaultList([toml_fault(path, error)]) from error


def parse_settings(
    document: Mapping[str, Any], path: Path | None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Check a TOML document that was read from `path`. Environment variables replace its values. Raises FaultList."""
    place, base = path or Path("settings"), path.absolute().parent if path else Path.cwd()
    merged, origins = _with_environment(document, os.environ if environ is None else environ)
    faults: list[RollcallError] = []
    parsed: File | None = None
    try:
        parsed = File.model_validate(merged)
    except ValidationError as error:
        faults += _validation_faults(place, error, origins)
    except (ValueError, RecursionError) as error:  # an integer of thousands of digits where a float is expected
        faults.append(ConfigurationError("holds a value that can't be read", where=str(place), got=str(error)))
    cameras = merged.get("cameras")
    if isinstance(cameras, dict):
        faults += _camera_name_faults(place, list(cameras))
    if parsed is not None:
        faults += _cross_faults(place, parsed, base)
    if faults or parsed is None:
        raise FaultList(faults)
    return settings_of(parsed, path, base)


def _with_environment(
    document: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """Replace values of the document by environment variables, as the original program did.

    Returns the new document, and the variable for each key that was replaced. A text that does not fit its key's type stays a text,
    and the schema refuses it.
    """
    merged = dict(document)
    origins: dict[tuple[str, ...], str] = {}
    for variable, key in _VARIABLES.items():
        text = environ.get(variable)
        section = merged.get("sync", {})
        if not text or not isinstance(section, dict):
            continue
        value: Any = text
        if (kind := SyncSettings.model_fields[key].annotation) in (bool, float):
            with contextlib.suppress(ValidationError):
                value = TypeAdapter(kind).validate_strings(text.strip())
        merged["sync"] = {**section, key: value}
        origins["sync", key] = f"${variable}"
    return merged, origins


def toml_fault(path: Path, error: tomllib.TOMLDecodeError) -> ConfigurationError:
    """The fault of a text that was read from `path`, or is to be written there."""
    text = str(error)
    if "Cannot declare" in text and "cameras" in text:
        return ConfigurationError(
            "two cameras of one name",
            where=str(path),
            got=text,
            expected="each [cameras.NAME] once",
            remedy="rename one of them",
        )
    if "Cannot declare" in text or "Cannot overwrite" in text:
        return ConfigurationError(
            "the same key or section twice",
            where=str(path),
            got=text,
            expected="each once",
            remedy="delete one of them",
        )
    return ConfigurationError(
        "is not valid TOML",
        where=str(path),
        got=text,
        expected="TOML 1.0",
        remedy="mend that line; strings need quotes",
    )


def _validation_faults(
    path: Path, error: ValidationError, origins: Mapping[tuple[str, ...], str]
) -> list[RollcallError]:
    """One fault for each key that is wrong. `origins`: the environment variable for each key that one has set."""
    faults: dict[str, RollcallError] = {}
    for item in error.errors(include_url=False):
        # Pydantic adds the name of a union's member to the location. The operator can only look for the key.
        keys = [show_source(str(part)) for part in item["loc"]]
        if keys and keys[0] == "cameras" and "source" in keys:
            keys = keys[: keys.index("source") + 1]
        where = origins.get(tuple(keys)) or f"{path}: {_key_path(keys)}"
        faults.setdefault(where, _one_fault(where, keys, item))
    return list(faults.values())


def _one_fault(where: str, keys: list[str], item: Any) -> RollcallError:
    if item["type"] == "extra_forbidden":
        near = _nearest(keys)
        return ConfigurationError(
            "unknown key",
            where=where,
            got=keys[-1],
            expected=near or "a key of this section",
            remedy="correct or remove it",
        )
    if item["type"] == "missing":
        return ConfigurationError("missing", where=where, got="nothing", expected="a value", remedy="add it")
    expected = item["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return ConfigurationError(
        "not a valid value", where=where, got=_shown_value(keys, item["input"]), expected=expected, remedy="correct it"
    )


def _shown_value(keys: list[str], value: object) -> str:
    """A value as an error message may show it. A camera's source, the address of the hub's database, or a wrong value where a table
    belongs, may hold a password: only its type is shown."""
    in_camera = keys[0] == "cameras" and (len(keys) < 3 or keys[2] == "source") if keys else True
    in_backend = keys[:1] == ["backend"] and keys[1:] in ([], ["mongodb_uri"])
    if in_camera or in_backend or not isinstance(value, str | int | float):
        kinds = {str: "a text", dict: "a table", list: "a list", bool: "true or false", int: "a number"}
        return kinds.get(type(value), f"a {type(value).__name__}")
    if isinstance(value, int) and abs(value) >= _LONG_NUMBER:
        return "a number of many digits"
    shown = repr(show_source(value) if isinstance(value, str) else value)
    return shown if len(shown) <= _LONG_TEXT else shown[:_LONG_TEXT] + "…"


def _key_path(keys: list[str]) -> str:
    if not keys:
        return "file"
    if keys[0] == "cameras" and len(keys) > 1:
        section, rest = f"[cameras.{keys[1]}]", keys[2:]
    else:
        section, rest = f"[{keys[0]}]", keys[1:]
    return " ".join([section, ".".join(rest)]).strip()


def _nearest(keys: list[str]) -> str:
    import difflib

    known = list(SECTIONS) if len(keys) == 1 else list(SECTIONS[keys[0]].model_fields) if keys[0] in SECTIONS else []
    close = difflib.get_close_matches(keys[-1], known, n=1)
    return f"perhaps {close[0]}" if close else "one of " + ", ".join(known)


def _camera_name_faults(path: Path, names: list[str]) -> list[RollcallError]:
    faults: list[RollcallError] = []
    seen: dict[str, str] = {}
    for name in names:
        shown = show_source(name)  # somebody may have typed an address as the name
        where = f"{path}: [cameras.{shown}]"
        if not CAMERA_NAME.fullmatch(name):
            faults.append(
                ConfigurationError(
                    "not a camera name",
                    where=where,
                    got=shown,
                    expected="letters, digits, - _ . (64 at most)",
                    remedy="rename it",
                )
            )
        if (twin := seen.setdefault(name.casefold(), name)) != name:
            faults.append(
                ConfigurationError(
                    "two cameras of one name",
                    where=where,
                    got=f"{show_source(twin)} and {shown}",
                    expected="names that differ",
                    remedy="rename one",
                )
            )
    return faults


def _cross_faults(path: Path, parsed: File, base: Path) -> list[RollcallError]:
    """Faults that show only from several keys together, or from a key and the folder of the file."""
    faults: list[RollcallError] = []
    data_dir = os.path.normpath(base / Path(parsed.site.data_dir).expanduser())
    if base.is_relative_to(data_dir):
        faults.append(
            ConfigurationError(
                "the data folder must be a folder of its own: it is closed to everybody else",
                where=f"{path}: [site] data_dir",
                got=parsed.site.data_dir,
                expected="a folder that does not hold the settings' own",
                remedy='set data_dir = "data", and move face_embeddings.db and faces there if you have them',
            )
        )
    if parsed.recognition.engine == "dlib" and parsed.recognition.model not in (None, "dlib"):
        faults.append(
            ConfigurationError(
                "the dlib engine has one model of its own",
                where=f"{path}: [recognition] model",
                got=parsed.recognition.model,
                expected="no model",
                remedy='remove the key, or set engine = "insightface"',
            )
        )
    if (fault := unfit_for_dlib(parsed.recognition)) is not None:
        fault = ConfigurationError(
            fault.what, where=f"{path}: {fault.where}", got=fault.got, expected=fault.expected, remedy=fault.remedy
        )
        faults.append(fault)
    return (
        faults + _sync_faults(path, parsed.sync) + _web_faults(path, parsed.web) + _backend_faults(path, parsed.backend)
    )


def _sync_faults(path: Path, sync: SyncSettings) -> list[RollcallError]:
    if sync.token_file is None or sync.insecure or not sync.is_in_the_clear:
        return []
    return [
        ConfigurationError(
            "the token and the faces would travel the network for everybody to read",
            where=f"{path}: [sync] backend",
            got=show_source(sync.backend),
            expected="an https:// address",
            remedy="give the backend a certificate, or set insecure = true if something else encrypts the way, a VPN for instance",
        )
    ]


def _web_faults(path: Path, web: WebSettings) -> list[RollcallError]:
    is_local = web.unix_path is not None or web.host in LOOPBACK
    return _listening_faults(path, "web", web, "faces and passwords", is_local=is_local)


def _backend_faults(path: Path, backend: BackendSettings) -> list[RollcallError]:
    return _listening_faults(path, "backend", backend, "faces and tokens", is_local=backend.is_local)


def _listening_faults(
    path: Path, section: str, given: WebSettings | BackendSettings, what: str, *, is_local: bool
) -> list[RollcallError]:
    """Faults of a section about a server. `what`: travels to it."""
    faults: list[RollcallError] = []
    if (given.certificate is None) != (given.key is None):
        missing = "certificate" if given.certificate is None else "key"
        faults.append(
            ConfigurationError(
                "a certificate needs its key, and a key its certificate",
                where=f"{path}: [{section}] {missing}",
                got="nothing",
                expected="a PEM file",
                remedy=f"add {missing}; or make both: python supervisor.py web certificate",
            )
        )
    if given.enabled and not (is_local or given.certificate or given.proxies):
        faults.append(
            ConfigurationError(
                f"{what} would travel the network for everybody to read",
                where=f"{path}: [{section}] host",
                got=given.host,
                expected="a certificate, or the proxies that have one",
                remedy='make a certificate (python supervisor.py web certificate), name the proxy in proxies, or set host = "127.0.0.1"',
            )
        )
    return faults
