"""The site's settings: the TOML file, its schema, and every fault in it at once.

The schema is the only description of a setting: validation, `init`'s commented file and the README's table all come from it.
Unknown keys are errors, since a misspelt threshold that is silently ignored names strangers.
"""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from shared.errors import ConfigurationError, FaultList, RollcallError
from shared.files.run_folder import run_folder
from shared.process.program import PROGRAM_DIR
from shared.settings.sources import (
    Reached,
    Source,
    Tls,
    Transport,
    looks_like_file,
    resolve_source,
    show_source,
    variables_of,
    why_no_source,
)
from shared.settings.text import read_document, require_trustworthy

CAMERA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def _usable_path(text: str) -> str:
    if "\0" in text:
        raise ValueError("a path without a NUL character")
    try:
        Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError("a path; a leading ~name must be a user of this machine") from error
    return text


def _http_address(text: str) -> str:
    expected = "an address like http://host:5000/api or https://…, without a login"
    try:
        parts = urlsplit(text)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is no number, brackets that don't close
        sound = False
    if not sound or parts.username is not None or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError(expected)
    return text


Text = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
PathText = Annotated[Text, AfterValidator(_usable_path)]
HttpAddress = Annotated[Text, AfterValidator(_http_address)]
Cosine = Annotated[float, Field(ge=0.0, le=1.0)]
Liveness = Literal["off", "observe", "require"]
Flip = Literal["none", "horizontal", "vertical"]
PerCent = Annotated[float, Field(ge=0.0, le=100.0)]
Box = Annotated[list[PerCent], Field(min_length=4, max_length=4)]
_LIVENESS = "off, observe (sightings say whether a face is alive) or require (only such a face is named)"


_LONG_NUMBER = 10**20  # Python prints no integer of thousands of digits
_LONG_TEXT = 200  # of a value that a fault shows


class _Section(BaseModel):
    # What a ValidationError prints by itself holds no value: a source's may be a password.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class SiteSettings(_Section):
    """[site]"""

    name: Text = Field(default="site", description="what this site is called in its events")
    data_dir: PathText = Field(default="data", description="where the gallery lives; relative to this file")
    keep_sightings_days: int = Field(
        default=30, ge=0, le=3650, description="sightings older than this are deleted; 0 keeps none"
    )
    keep_unknowns_days: int = Field(
        default=0,
        ge=0,
        le=3650,
        description="strangers are deleted, crops and all, so many days after they were first seen; 0: nothing of a stranger is kept. "
        "Above 0, templates of people who did not agree are kept: settle the legal basis or their consent first (GDPR Art. 9)",
    )


class _PerCamera(_Section):
    """What a camera can set for itself; `None` means: as in [recognition], or the model's own default."""

    threshold: Cosine | None = Field(
        default=None, description="lowest cosine that names somebody; default: the model's own"
    )
    margin: Cosine | None = Field(
        default=None, description="how far the best person must be ahead of the second; default: the model's own"
    )
    min_face_px: int | None = Field(
        default=None, ge=16, le=2000, description="faces narrower than this many pixels are not judged"
    )
    det_size: int | None = Field(
        default=None, ge=128, le=1920, multiple_of=32, description="side of the detector's square input, pixels"
    )
    votes: int | None = Field(
        default=None, ge=1, le=50, description="crops of a track that must agree before it gets a name"
    )
    fps: float | None = Field(default=None, gt=0, le=60, description="frames a second that are searched for faces")
    threads: int | None = Field(default=None, ge=1, le=64, description="CPU threads each camera process may use")
    liveness: Liveness | None = Field(default=None, description=_LIVENESS)


class RecognitionSettings(_PerCamera):
    """[recognition]"""

    engine: Literal["insightface", "dlib"] = Field(default="insightface", description="insightface or dlib")
    model: Text | None = Field(
        default=None,
        description="model pack, a folder in models_dir; default: buffalo_l for insightface; dlib has one of its own",
    )
    models_dir: PathText | None = Field(
        default=None, description="where model packs are; relative to this file; default: data_dir/models"
    )
    min_face_px: int = Field(
        default=40, ge=16, le=2000, description="faces narrower than this many pixels are not judged"
    )
    det_size: int = Field(
        default=640, ge=128, le=1920, multiple_of=32, description="side of the detector's square input, pixels"
    )
    votes: int = Field(default=3, ge=1, le=50, description="crops of a track that must agree before it gets a name")
    fps: float = Field(default=5.0, gt=0, le=60, description="frames a second that are searched for faces")
    threads: int = Field(default=1, ge=1, le=64, description="CPU threads each camera process may use")
    liveness: Liveness = Field(default="off", description=_LIVENESS)


class CameraSettings(_PerCamera):
    """[cameras.NAME]"""

    source: Text | Annotated[int, Field(ge=0, le=255)] = Field(
        repr=False,
        description="rtsp(s)://…, http(s)://…, a video file, /dev/videoN or N; ${NAME} comes from the environment or a credential",
    )
    enabled: bool = Field(default=True, description="false: the camera is not started")
    loop: bool = Field(default=False, description="a file starts again when it ends")
    realtime: bool = Field(
        default=True,
        description="a file is paced by its own clock, newest frame only; false: every frame, as fast as it goes",
    )

    tls: Tls = Field(
        default="verify",
        description="verify: an https or rtsps camera proves who it is; insecure: whoever answers gets the password",
    )
    ca_file: PathText | None = Field(
        default=None,
        description="certificates a TLS camera is verified by, PEM; relative to this file; default: the system's",
    )
    transport: Transport = Field(default="tcp", description="how an rtsp stream travels: tcp or udp")
    rotate: Literal[0, 90, 180, 270] = Field(default=0, description="degrees the picture is turned clockwise")
    flip: Flip = Field(default="none", description="none, horizontal or vertical: the turned picture is mirrored")
    ignore: Annotated[list[Box], Field(max_length=32)] = Field(
        default=[],
        description="boxes [x1, y1, x2, y2] in per cent of the picture as shown; faces whose middle lies in one are not judged",
    )

    @field_validator("ignore")
    @classmethod
    def _are_boxes(cls, boxes: list[list[float]]) -> list[list[float]]:
        if any(x1 >= x2 or y1 >= y2 for x1, y1, x2, y2 in boxes):
            raise ValueError("boxes [x1, y1, x2, y2] with x1 < x2 and y1 < y2, in per cent")
        return boxes

    @field_validator("source")
    @classmethod
    def _is_a_source(cls, source: str | int) -> str | int:
        if isinstance(source, str) and (expected := why_no_source(source)):
            raise ValueError(expected)  # becomes a fault; names no value
        return source


class SyncSettings(_Section):
    """[sync]"""

    enabled: bool = Field(default=False, description="exchange the gallery with other sites")
    interval_s: float = Field(default=300.0, gt=0, le=86400, description="seconds between exchanges")
    backend: HttpAddress = Field(default="http://localhost:5000/api", description="http(s)://… of the backend")
    token_file: PathText | None = Field(
        default=None, description="file that holds the backend's token; relative to this file"
    )


class WebSettings(_Section):
    """[web]"""

    enabled: bool = Field(default=False, description="dashboard, local API and metrics")
    host: Text = Field(default="127.0.0.1", description="address to listen on; beyond loopback it needs token_file")
    port: int = Field(default=8480, ge=1, le=65535, description="port to listen on")
    token_file: PathText | None = Field(default=None, description="file that holds the token; relative to this file")


# What the environment of the original program was called, and its key in [sync].
_VARIABLES = {"MONGODB_SYNC_ENABLED": "enabled", "MONGODB_SYNC_INTERVAL": "interval_s", "BACKEND_API": "backend"}


class _File(_Section):
    site: SiteSettings = Field(default_factory=SiteSettings)
    recognition: RecognitionSettings = Field(default_factory=RecognitionSettings)
    cameras: dict[str, CameraSettings] = Field(default_factory=dict)
    sync: SyncSettings = Field(default_factory=SyncSettings)
    web: WebSettings = Field(default_factory=WebSettings)


@dataclass(frozen=True)
class EffectiveCamera:
    """One camera's settings with [recognition] filled in; `threshold` and `margin` stay `None` for the model's default."""

    name: str
    source: str | int = field(repr=False)  # the text of site.toml; Settings.source_of has it as it is opened
    loop: bool
    realtime: bool
    threshold: float | None
    margin: float | None
    min_face_px: int
    det_size: int
    votes: int
    fps: float
    threads: int
    liveness: Liveness = "off"
    rotate: int = 0
    flip: Flip = "none"
    ignore: Sequence[Sequence[float]] = ()
    reached: Reached = field(default_factory=Reached)


@dataclass(frozen=True)
class Settings:
    """A whole, valid configuration. `path` is the file it came from, or None for defaults; paths below are absolute."""

    path: Path | None
    base: Path
    site: SiteSettings
    recognition: RecognitionSettings
    cameras: Mapping[str, CameraSettings]
    sync: SyncSettings
    web: WebSettings
    held_run_dir: Path | None = None  # the running site's, for its own processes; None: it is looked for

    @property
    def data_dir(self) -> Path:
        return self.base / Path(self.site.data_dir).expanduser()

    @property
    def db_path(self) -> Path:
        return self.data_dir / "face_embeddings.db"

    @property
    def faces_dir(self) -> Path:
        return self.data_dir / "faces"

    @property
    def run_dir(self) -> Path:
        """Where the site's processes and commands meet. Raises ConfigurationError, see `run_folder`."""
        return self.held_run_dir or run_folder(self.data_dir)

    @property
    def copies_dir(self) -> Path:
        """Where a backup is copied to that is about to be restored: always on the site's disk."""
        return self.data_dir / "run"

    @property
    def models_dir(self) -> Path:
        chosen = self.recognition.models_dir
        return self.base / Path(chosen).expanduser() if chosen else self.data_dir / "models"

    @property
    def model(self) -> str:
        """Name of the model pack; dlib has only one."""
        if self.recognition.engine == "dlib":
            return "dlib"
        return self.recognition.model or "buffalo_l"

    def camera(self, name: str) -> EffectiveCamera:
        """The settings camera `name` runs with. Raises KeyError."""
        own, common = self.cameras[name], self.recognition

        def pick(key: str) -> Any:
            value = getattr(own, key)
            return getattr(common, key) if value is None else value

        keys = ("threshold", "margin", "min_face_px", "det_size", "votes", "fps", "threads", "liveness")
        return EffectiveCamera(
            name,
            own.source,
            own.loop,
            own.realtime,
            **{key: pick(key) for key in keys},
            rotate=own.rotate,
            flip=own.flip,
            ignore=own.ignore,
            reached=self._reached(name),
        )

    def source_of(self, name: str, environ: Mapping[str, str] | None = None) -> Source:
        """Where camera `name` gets its pictures, variables filled in, a relative file relative to the settings' file.

        Raises ConfigurationError, which holds no value, when a variable is not set or what comes out is no source.
        """
        where = f"{self.path or 'settings'}: [cameras.{name}] source"
        source = self.cameras[name].source
        return resolve_source(source, where, base=self.base, environ=environ, reached=self._reached(name))

    def _reached(self, name: str) -> Reached:
        camera = self.cameras[name]
        ca_file = self.base / Path(camera.ca_file).expanduser() if camera.ca_file else None
        return Reached(camera.tls, camera.transport, ca_file)

    def ends(self, name: str) -> bool:
        """Whether camera `name` plays a file once, to its end."""
        camera = self.cameras[name]
        try:
            return not camera.loop and self.source_of(name).is_file
        except ConfigurationError:  # the camera itself says what is wrong with it
            return not camera.loop and looks_like_file(camera.source)

    def enabled_cameras(self) -> list[str]:
        return [name for name, camera in self.cameras.items() if camera.enabled]

    def for_child(self, camera: str | None = None) -> Settings:
        """What one child needs to know: of the cameras, whose sources may hold passwords, only its own, or none."""
        own = {} if camera is None else {camera: self.cameras[camera]}
        return replace(self, cameras=own, sync=SyncSettings(), web=WebSettings())

    def variables(self, camera: str | None = None) -> set[str]:
        """The names of the variables in a camera's source, or in all of them."""
        chosen = self.cameras.values() if camera is None else [self.cameras[camera]]
        return {name for one in chosen for name in variables_of(one.source)}

    def to_json(self) -> dict[str, Any]:
        """What a child needs to build the same settings without reading the file again; may hold passwords."""
        return {
            "path": str(self.path) if self.path else None,
            "base": str(self.base),
            "held_run_dir": str(self.held_run_dir) if self.held_run_dir else None,
            "settings": {
                "site": self.site.model_dump(),
                "recognition": self.recognition.model_dump(),
                "cameras": {name: camera.model_dump() for name, camera in self.cameras.items()},
                "sync": self.sync.model_dump(),
                "web": self.web.model_dump(),
            },
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Settings:
        parsed = _File.model_validate(document["settings"])
        path = document["path"]
        settings = _settings(parsed, Path(path) if path else None, Path(document["base"]))
        held = document["held_run_dir"]
        return replace(settings, held_run_dir=Path(held) if held else None)


def find_config(explicit: str | None = None, beside: Path | None = None) -> Path | None:
    """The configuration file: `--config`, `$ROLLCALL_CONFIG`, `site.toml` here, `site.toml` in `beside`; None: there is none.

    Raises ConfigurationError when a file that was asked for by name is missing.
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
    """Read and check `path`; None gives the defaults, relative to the working folder.

    Raises ConfigurationError, mostly a FaultList with every fault in the file: file and key, got, expected, remedy. Nothing else,
    whatever lies there: a site that runs goes on then.
    """
    if path is None:
        return parse_settings({}, None, environ)
    try:
        return parse_settings(read_document(path), path, environ)
    except tomllib.TOMLDecodeError as error:
        raise FaultList([_toml_fault(path, error)]) from error


def parse_settings(
    document: Mapping[str, Any], path: Path | None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Check a TOML document that was read from `path`, with what the environment says instead. Raises FaultList."""
    place, base = path or Path("settings"), path.absolute().parent if path else Path.cwd()
    merged, origins = _with_environment(document, os.environ if environ is None else environ)
    faults: list[RollcallError] = []
    parsed: _File | None = None
    try:
        parsed = _File.model_validate(merged)
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
    return _settings(parsed, path, base)


def _settings(parsed: _File, path: Path | None, base: Path) -> Settings:
    return Settings(path, base, parsed.site, parsed.recognition, parsed.cameras, parsed.sync, parsed.web)


def _with_environment(
    document: Mapping[str, Any], environ: Mapping[str, str]
) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """The document with what the environment says instead, as in the original program, and which keys that is, by variable.

    A text that is no value of its key's type stays as it is: the schema refuses it.
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


def _toml_fault(path: Path, error: tomllib.TOMLDecodeError) -> ConfigurationError:
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
    """One for each key that is wrong. `origins`: keys that the environment has set, and by which variable."""
    faults: dict[str, RollcallError] = {}
    for item in error.errors(include_url=False):
        # A union adds its member's name to the location; the key is what the operator can look for.
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
    """A value as a fault may show it. Of a source, or of what stands where a table with one should, only the type."""
    in_camera = keys[0] == "cameras" and (len(keys) < 3 or keys[2] == "source") if keys else True
    if in_camera or not isinstance(value, str | int | float):
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

    sections: dict[str, type[BaseModel]] = {
        "site": SiteSettings,
        "recognition": RecognitionSettings,
        "cameras": CameraSettings,
        "sync": SyncSettings,
        "web": WebSettings,
    }
    known = list(sections) if len(keys) == 1 else list(sections[keys[0]].model_fields) if keys[0] in sections else []
    close = difflib.get_close_matches(keys[-1], known, n=1)
    return f"perhaps {close[0]}" if close else "one of " + ", ".join(known)


def _camera_name_faults(path: Path, names: list[str]) -> list[RollcallError]:
    faults: list[RollcallError] = []
    seen: dict[str, str] = {}
    for name in names:
        shown = show_source(name)  # an address may have come to stand in a name's place
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


def _cross_faults(path: Path, parsed: _File, base: Path) -> list[RollcallError]:
    """Faults that only several keys together show, or a key and where the file lies."""
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
    if parsed.web.enabled and parsed.web.host not in ("127.0.0.1", "::1", "localhost") and not parsed.web.token_file:
        faults.append(
            ConfigurationError(
                "the dashboard would be open to the network without a token",
                where=f"{path}: [web] token_file",
                got="nothing",
                expected="a file",
                remedy='add token_file, or set host = "127.0.0.1"',
            )
        )
    return faults


def example_toml(model: str | None = None, engine: str | None = None) -> str:
    """The commented site.toml that `init` writes: every key of the schema with its meaning and default."""
    sections: list[tuple[str, type[BaseModel]]] = [
        ("site", SiteSettings),
        ("recognition", RecognitionSettings),
        ("sync", SyncSettings),
        ("web", WebSettings),
    ]
    chosen = {"engine": engine, "model": model}
    lines = [
        "# Rollcall's settings. Lines that begin with # show defaults; remove the # to change one.",
        "# Check this file with: python supervisor.py check",
        "",
    ]
    for title, schema in sections:
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
        "# One section a camera; any key of [recognition] but engine, model and models_dir can be set here too.",
        "# [cameras.entrance]",
    ]
    for key, entry in CameraSettings.model_fields.items():
        if key in _PerCamera.model_fields:
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
    """A value of the right type for a key that has no default of its own."""
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
