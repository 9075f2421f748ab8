"""The schema of site.toml, and the checked settings of a site.

The schema is the only description of a setting. Validation and the commented file that `init` writes come from it, and a test holds
the table of docs/settings.md against it. Unknown keys are errors: if a misspelt `threshold` were ignored, strangers would be named.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
)

from shared.errors import ConfigurationError
from shared.files.run_folder import run_folder
from shared.settings.camera_task import Decode, EffectiveCamera, Flip, LivenessMode, Rotation, source_of
from shared.settings.engine_choice import EngineChoice
from shared.settings.sources import (
    Source,
    Tls,
    Transport,
    looks_like_file,
    variables_of,
    why_no_source,
)
from shared.settings.variables import filled_in, variables_in

LOOPBACK = ("127.0.0.1", "::1", "localhost")
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
    except ValueError:  # the port is not a number, or a bracket is not closed
        sound = False
    if not sound or parts.username is not None or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError(expected)
    return text


def _host(text: str) -> str:
    if re.search(r"[\s\x00-\x1f\x7f/]", text) and not re.fullmatch(r"unix:[^\x00-\x1f\x7f]+", text):
        raise ValueError("an address or a name of this machine, or unix:PATH")
    return text


def _host_without_path(text: str) -> str:
    if re.search(r"[\s\x00-\x1f\x7f/]", text) or text.startswith("unix:"):
        raise ValueError("an address or a name of this machine")
    return text


def _base_path(text: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9_.~-]+)*", text) or "/." in text:
        raise ValueError('"", or a path like /rollcall: letters, digits, "_", "-", "~", no "/" at the end')
    return text


def _host_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[?[0-9A-Fa-f:]+\]?", text):
        raise ValueError("a name or an address as browsers show it, without a port")
    if ":" not in text:
        return text.lower()
    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        raise ValueError("an address like 2001:db8::7") from None


def _network(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError("an address like 192.0.2.7, or a network like 192.0.2.0/24") from None


def _mongodb_uri(text: str) -> str:
    if not re.match(r"(?:mongodb(?:\+srv)?://|\$\{[A-Za-z_][A-Za-z0-9_]*\})", text) or re.search(
        r"[\s\x00-\x1f\x7f]", text
    ):
        raise ValueError("mongodb://… or mongodb+srv://…, or ${NAME} for one")
    return text


Text = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
PathText = Annotated[Text, AfterValidator(_usable_path)]
HttpAddress = Annotated[Text, AfterValidator(_http_address)]
Cosine = Annotated[float, Field(ge=0.0, le=1.0)]
# Less is no promise that anybody can keep: in a large gallery the threshold would reach 1, and nobody would ever be named.
LEAST_STRANGERS_NAMED, MOST_STRANGERS_NAMED = 1e-6, 0.1
DecodeDevice = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{2,20}$")]
Device = Literal["auto", "cpu", "cuda", "openvino", "coreml"]
PerCent = Annotated[float, Field(ge=0.0, le=100.0)]
Box = Annotated[list[PerCent], Field(min_length=4, max_length=4)]


class _Section(BaseModel):
    # `hide_input_in_errors`: a printed ValidationError must not show a value, since a source may hold a password.
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
        description="strangers and their crops are deleted this many days after they were first seen; 0: nothing of a stranger is kept. "
        "Above 0, templates of people who did not agree are kept: settle the legal basis or their consent first (GDPR Art. 9)",
    )
    keep_crops_days: int = Field(
        default=7,
        ge=0,
        le=3650,
        description="so long a sighting that named somebody, or nearly did, keeps the face as a small picture, and as numbers, so that you "
        "can correct it (wrong, right); 0 keeps none. Pictures of those who were not named follow keep_unknowns_days",
    )
    keep_corrections_days: int = Field(
        default=365, ge=1, le=3650, description="corrections expire this many days after they were made"
    )


class PerCamera(_Section):
    """The keys of [recognition] that a camera can set for itself. If a camera leaves a key out, the value of [recognition] counts."""

    threshold: Cosine | None = Field(
        default=None, description="lowest cosine that names somebody; default: it follows from strangers_named"
    )
    margin: Cosine | None = Field(
        default=None, description="how far the best person must be ahead of the second; default: the model's own"
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
    liveness: LivenessMode = Field(
        default="off",
        description="off, observe (sightings say whether a face is alive) or require (only such a face is named)",
    )


class RecognitionSettings(PerCamera):
    """[recognition]"""

    strangers_named: float = Field(
        default=0.001,
        ge=LEAST_STRANGERS_NAMED,
        le=MOST_STRANGERS_NAMED,
        description="of strangers seen (a track, a photo), the share that may get a name; the threshold follows from it and from the gallery",
    )

    engine: Literal["insightface", "dlib"] = Field(default="insightface", description="insightface or dlib")
    model: Text | None = Field(
        default=None,
        description="model pack, a folder in models_dir; default: buffalo_l for insightface; dlib has one of its own",
    )
    models_dir: PathText | None = Field(
        default=None, description="where model packs are; relative to this file; default: data_dir/models"
    )
    device: Device = Field(
        default="auto",
        description="what runs the models: cpu, cuda, openvino or coreml, if the installed onnxruntime has it; auto: an accelerator if there "
        "is one, else the cpu",
    )
    shared_engine: Literal["auto"] | bool = Field(
        default="auto",
        description="true: one process runs the models for all cameras; false: each camera runs its own; auto: one process with an accelerator, "
        "with a large model, or from eight cameras on",
    )


class CameraSettings(PerCamera):
    """[cameras.NAME]"""

    source: Text | Annotated[int, Field(ge=0, le=255)] = Field(
        repr=False,
        description="rtsp(s)://…, http(s)://…, a video file, /dev/videoN or N; ${NAME} comes from the environment or a credential",
    )
    enabled: bool = Field(default=True, description="false: the camera is not started")
    loop: bool = Field(default=False, description="a file starts again when it ends")
    realtime: bool = Field(
        default=True,
        description="true: a file plays at its own speed, and only the newest frame is kept; false: every frame is read, as fast as possible",
    )

    tls: Tls = Field(
        default="verify",
        description="verify: an https or rtsps camera must prove its identity; insecure: any machine that answers gets the password",
    )
    ca_file: PathText | None = Field(
        default=None,
        description="PEM file of certificates that verify a TLS camera; relative to this file; default: the system's",
    )
    transport: Transport = Field(default="tcp", description="how an rtsp stream travels: tcp or udp")
    rotate: Rotation = Field(default=0, description="degrees the picture is turned clockwise")
    flip: Flip = Field(default="none", description="none, horizontal or vertical: the turned picture is mirrored")
    ignore: Annotated[list[Box], Field(max_length=32)] = Field(
        default=[],
        description="boxes [x1, y1, x2, y2] in per cent of the turned and mirrored picture; faces whose middle lies in a box are not judged",
    )

    decode: Decode = Field(
        default="on_demand",
        description="on_demand: while nothing moves, only keyframes are decoded; always: every picture",
    )
    decode_device: DecodeDevice = Field(
        default="cpu",
        description="what decodes: cpu, auto (the first device that is there), or cuda, qsv, vaapi, drm, amf, … if this FFmpeg has it; "
        "without it the cpu decodes",
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
            raise ValueError(expected)  # pydantic makes it a fault; the text holds no value
        return source


class SyncSettings(_Section):
    """[sync]"""

    enabled: bool = Field(default=False, description="exchange the gallery with other sites")
    interval_s: float = Field(default=300.0, gt=0, le=86400, description="seconds between exchanges")
    backend: HttpAddress = Field(default="http://localhost:5000/api", description="http(s)://… of the backend")
    token_file: PathText | None = Field(
        default=None, description="file that holds the backend's token; relative to this file"
    )
    key_file: PathText | None = Field(
        default=None,
        description="file with the key that all sites share: with it a person who is forgotten at one is forgotten at all; relative to this file",
    )
    ca_file: PathText | None = Field(
        default=None,
        description="PEM file of who signed the backend's certificate, if it is not publicly known; relative to this file",
    )
    insecure: bool = Field(
        default=False,
        description="send the token over plain http beyond this machine, for everybody on the way to read",
    )

    @property
    def is_in_the_clear(self) -> bool:
        """Whether what is sent crosses a network unencrypted."""
        address = urlsplit(self.backend)
        return address.scheme == "http" and address.hostname not in LOOPBACK


class WebSettings(_Section):
    """[web]"""

    enabled: bool = Field(default=False, description="dashboard, local API and metrics")
    host: Annotated[Text, AfterValidator(_host)] = Field(
        default="127.0.0.1",
        description="address to listen on, or unix:PATH; beyond loopback it needs a certificate, or a proxy that has one",
    )
    port: int = Field(default=8480, ge=1, le=65535, description="port to listen on")
    base_path: Annotated[str, AfterValidator(_base_path)] = Field(
        default="", description="path before all addresses, behind a proxy that passes it on; like /rollcall"
    )
    certificate: PathText | None = Field(
        default=None, description="PEM file of the TLS certificate, with those that sign it; relative to this file"
    )
    key: PathText | None = Field(default=None, description="PEM file of its private key; relative to this file")
    hosts: Annotated[list[Annotated[str, AfterValidator(_host_name)]], Field(max_length=64)] = Field(
        default=[],
        description="names under which browsers reach this machine, beside localhost and the address in host; others are refused",
    )
    proxies: Annotated[list[Annotated[str, AfterValidator(_network)]], Field(max_length=64)] = Field(
        default=[], description="addresses of proxies whose X-Forwarded-For and -Proto are believed"
    )

    @property
    def unix_path(self) -> str | None:
        """The path of the socket to listen on, as it is written; None: an address and a port."""
        return self.host.removeprefix("unix:") if self.host.startswith("unix:") else None


class BackendSettings(_Section):
    """[backend]"""

    enabled: bool = Field(
        default=False, description="this machine is the hub: the API in front of MongoDB that sites sync with"
    )
    mongodb_uri: Annotated[Text, AfterValidator(_mongodb_uri)] = Field(
        default="${MONGODB_URI}",
        repr=False,
        description="mongodb://… or mongodb+srv://… of the database; ${NAME} comes from the environment or a credential",
    )
    host: Annotated[Text, AfterValidator(_host_without_path)] = Field(
        default="127.0.0.1",
        description="address to listen on; beyond loopback it needs tokens, and a certificate or a proxy that has one",
    )
    port: int = Field(default=5000, ge=1, le=65535, description="port to listen on")
    certificate: PathText | None = Field(
        default=None, description="PEM file of the TLS certificate, with those that sign it; relative to this file"
    )
    key: PathText | None = Field(default=None, description="PEM file of its private key; relative to this file")
    proxies: Annotated[list[Annotated[str, AfterValidator(_network)]], Field(max_length=64)] = Field(
        default=[], description="addresses of proxies whose X-Forwarded-For and -Proto are believed"
    )
    max_body_bytes: int = Field(
        default=8 << 20, ge=64 << 10, le=256 << 20, description="the largest request, unpacked; larger ones are refused"
    )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in LOOPBACK


# The sections of the file; "cameras" is that of any camera.
SECTIONS: dict[str, type[BaseModel]] = {
    "site": SiteSettings,
    "recognition": RecognitionSettings,
    "cameras": CameraSettings,
    "sync": SyncSettings,
    "web": WebSettings,
    "backend": BackendSettings,
}


class File(_Section):
    site: SiteSettings = Field(default_factory=SiteSettings)
    recognition: RecognitionSettings = Field(default_factory=RecognitionSettings)
    cameras: dict[str, CameraSettings] = Field(default_factory=dict)
    sync: SyncSettings = Field(default_factory=SyncSettings)
    web: WebSettings = Field(default_factory=WebSettings)
    backend: BackendSettings = Field(default_factory=BackendSettings)


_OF_ONE_PROCESS = ("sync", "web", "backend")


@dataclass(frozen=True)
class Settings:
    """A whole, valid configuration. `path`: the file that it was read from; None: the defaults. `base`: the folder that relative paths are
    relative to. The paths of the properties are absolute.
    """

    path: Path | None
    base: Path
    site: SiteSettings
    recognition: RecognitionSettings
    cameras: Mapping[str, CameraSettings]
    sync: SyncSettings
    web: WebSettings
    backend: BackendSettings
    held_run_dir: Path | None = None  # the run folder of the running site, given to its processes; None: find it

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
        """The folder with the socket of the site and its lock files. Raises ConfigurationError, see `run_folder`."""
        return self.held_run_dir or run_folder(self.data_dir)

    @property
    def copies_dir(self) -> Path:
        """The folder that a backup is copied to before it is restored. It is always on the site's disk."""
        return self.data_dir / "run"

    @property
    def models_dir(self) -> Path:
        chosen = self.recognition.models_dir
        return self.base / Path(chosen).expanduser() if chosen else self.data_dir / "models"

    @property
    def model(self) -> str:
        """The name of the model pack. The dlib engine has only one model."""
        if self.recognition.engine == "dlib":
            return "dlib"
        return self.recognition.model or "buffalo_l"

    @property
    def model_label(self) -> str:
        """The name of the configured model in the store and the block: "engine/pack"."""
        return self.engine_choice.label

    @property
    def engine_choice(self) -> EngineChoice:
        chosen = self.recognition
        return EngineChoice(chosen.engine, self.model, self.models_dir, chosen.device, chosen.shared_engine)

    def camera(self, name: str) -> EffectiveCamera:
        """The complete settings of camera `name`. Raises KeyError."""
        own = self.cameras[name]
        common = {key: getattr(self.recognition, key) for key in PerCamera.model_fields}
        left_out = common.keys() - own.model_fields_set
        filled = {**dict(own), **{key: common[key] for key in left_out}}
        return EffectiveCamera(**filled, name=name, strangers_named=self.recognition.strangers_named)

    def source_of(self, name: str, environ: Mapping[str, str] | None = None) -> Source:
        """The source of camera `name`, see `camera_task.source_of`."""
        return source_of(self.camera(name), self.path, self.base, environ)

    def ends(self, name: str) -> bool:
        """Whether camera `name` plays a file once, to its end."""
        camera = self.cameras[name]
        try:
            return not camera.loop and self.source_of(name).is_file
        except ConfigurationError:  # the camera process reports the fault
            return not camera.loop and looks_like_file(camera.source)

    def enabled_cameras(self) -> list[str]:
        return [name for name, camera in self.cameras.items() if camera.enabled]

    def for_child(self, sections: Collection[str] = ()) -> Settings:
        """The settings that a child gets that is no camera. Some hold passwords, so it has no camera's, and of the sections that are about one
        process only those that it needs."""
        emptied = {name: type(getattr(self, name))() for name in _OF_ONE_PROCESS if name not in sections}
        return replace(self, cameras={}, **emptied)

    def sync_path(self, text: str | None) -> Path | None:
        """The path of a file that [sync] names."""
        return None if text is None else self.base / Path(text).expanduser()

    def mongodb_uri(self, environ: Mapping[str, str] | None = None) -> str:
        """The address of the hub's database, with its variables filled in. Raises ConfigurationError without a value."""
        return filled_in(self.backend.mongodb_uri, f"{self.path or 'settings'}: [backend] mongodb_uri", environ)

    def variables(self, camera: str | None = None) -> set[str]:
        """The names of the variables in the source of one camera, or of all cameras."""
        chosen = self.cameras.values() if camera is None else [self.cameras[camera]]
        return {name for one in chosen for name in variables_of(one.source)}

    def backend_variables(self) -> set[str]:
        """The names of the variables in the address of the hub's database."""
        return set(variables_in(self.backend.mongodb_uri))

    def to_json(self) -> dict[str, Any]:
        """Everything from which a child builds the same settings without reading the file again. May hold passwords."""
        return {
            "path": str(self.path) if self.path else None,
            "base": str(self.base),
            "held_run_dir": str(self.held_run_dir) if self.held_run_dir else None,
            "settings": {
                "site": self.site.model_dump(),
                "recognition": self.recognition.model_dump(),
                "cameras": {name: camera.model_dump(exclude_unset=True) for name, camera in self.cameras.items()},
                "sync": self.sync.model_dump(),
                "web": self.web.model_dump(),
                "backend": self.backend.model_dump(),
            },
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Settings:
        parsed = File.model_validate(document["settings"])
        path = document["path"]
        settings = settings_of(parsed, Path(path) if path else None, Path(document["base"]))
        held = document["held_run_dir"]
        return replace(settings, held_run_dir=Path(held) if held else None)


def settings_of(parsed: File, path: Path | None, base: Path) -> Settings:
    """Make settings from a checked file. `base`: the folder that relative paths are relative to."""
    return Settings(
        path, base, parsed.site, parsed.recognition, parsed.cameras, parsed.sync, parsed.web, parsed.backend
    )
