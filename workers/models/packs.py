"""The model packs of a site: which are installed, and how one is installed from the network, a ZIP or a folder.

A pack appears in models_dir whole or not at all: it is copied to a staging folder, tried there, and then renamed. Only its
detection and its recognition model are copied, so that nothing else is ever loaded. Only the owner can read them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, rmtree
from tempfile import mkdtemp
from time import time
from typing import NamedTuple

from shared.errors import ConfigurationError, RefusedError, disk_fault
from shared.files.durable_folder import sync_folder
from shared.photos.reading import shown
from shared.settings.schema import Settings
from workers import recognizer_dlib
from workers.models.download import DownloadProgress, fetch_files, fetch_zip, unpack_zip
from workers.models.trial import fault_of_pack
from workers.recognition.fingerprint import file_sha256
from workers.recognition.free_packs import FREE_PACKS
from workers.recognition.pack import ENGINE, PACK_NAME, PUBLISHED, Pack, missing_pack, read_pack, require_published
from workers.recognition.pack_file import PACK_FILE


class _Terms(NamedTuple):
    """`commercial_use`: None: not known. `measured`: where the pack's threshold comes from."""

    licence: str
    commercial_use: bool | None
    measured: str


_DEFAULT_POINT = "the small test pack's, which is weaker"
_INSIGHTFACE = _Terms("InsightFace pretrained models: for non-commercial research only", False, _DEFAULT_POINT)
_UNKNOWN = _Terms("not known; models trained by InsightFace are for non-commercial research only", None, _DEFAULT_POINT)
_DLIB = _Terms(
    "dlib's models: public domain (CC0 1.0), free for any use", True, "on photos of LFW (docs/measurements.md)"
)

_STAGING = ".installing-"
_STALE_S = 86400.0  # an older staging folder was left behind by an installation that was killed


@dataclass(frozen=True)
class InstalledPack:
    """One installed model. `fault`: why it can't be used, in words; then `fingerprint` is empty. An empty `fault`: it can.

    `dim` is None if only running the model shows it. `size_bytes`: of all files in the folder. `commercial_use`: whether the licence allows
    it; None: not known. `measured`: where the model's own threshold comes from.
    """

    name: str
    engine: str
    fingerprint: str
    dim: int | None
    licence: str
    commercial_use: bool | None
    measured: str
    size_bytes: int
    path: Path
    fault: str = ""


def installed_packs(models_dir: Path) -> list[InstalledPack]:
    """Every pack in `models_dir`, sorted by name, faulty packs included; then dlib, if it is installed."""
    folders = sorted(models_dir.iterdir()) if models_dir.is_dir() else []
    packs = [_described(folder) for folder in folders if folder.is_dir() and not folder.name.startswith(".")]
    with suppress(ConfigurationError):  # dlib is an extra: not to have it is no fault
        packs.append(_dlib_pack())
    return packs


def describe(folder: Path) -> InstalledPack:
    """The insightface pack in `folder`. Raises ConfigurationError when it is missing or unfit."""
    pack = read_pack(folder)
    says = pack.says
    terms = None if says is None else _Terms(says.licence, says.commercial_use, says.measured)
    dim = pack.recognition.dim if says is None else says.recogniser.dim
    return _installed(folder, pack.fingerprint(), dim, terms)


def ensure_pack(settings: Settings, progress: DownloadProgress | None = None) -> InstalledPack:
    """Make sure that the configured model is installed, and fetch it if it is missing. `prepare` calls this before any other
    worker starts.

    An installed pack is checked by its graphs and its digest (less than a second), not by running it. Raises
    ConfigurationError when it is unfit, or when it is missing and can't be fetched (the remedy says what to put where);
    TemporaryError when the disk is full.
    """
    if settings.recognition.engine == recognizer_dlib.ENGINE:
        return installed_pack(settings)
    if not PACK_NAME.fullmatch(settings.model):
        raise ConfigurationError(
            "is no name of a model pack",
            where="[recognition] model",
            got=settings.model,
            expected="letters, digits, . _ -",
            remedy="name a folder in models_dir",
        )
    if (settings.models_dir / settings.model).is_dir():
        return installed_pack(settings)
    return install(settings.model, settings.models_dir, progress)


def installed_pack(settings: Settings) -> InstalledPack:
    """The configured model, if it is installed. Raises ConfigurationError when it is missing or unfit."""
    if settings.recognition.engine == recognizer_dlib.ENGINE:
        return _dlib_pack()
    return describe(settings.models_dir / settings.model)


def install(source: Path | str, models_dir: Path, progress: DownloadProgress | None = None) -> InstalledPack:
    """Install a pack in `models_dir`. `source`: a folder or a ZIP on disk, or the name of a published pack, which is fetched from
    insightface's model zoo.

    The pack gets the name of the folder or the ZIP, in which the models may lie one folder down. A published name that is
    installed already is not fetched again. Fetched files must be the published ones. `progress` is called with (bytes so far,
    bytes in all or None) during a download.

    Raises RefusedError when the source is no folder, ZIP or valid name, or when another pack of that name is installed;
    ConfigurationError when the pack is unfit or can't be fetched; TemporaryError when the disk is full.
    """
    path = Path(source).expanduser()
    name = _pack_name(path)
    target = models_dir / name
    fetched = not path.exists()
    if fetched and target.exists():
        return describe(target)
    if fetched and name not in PUBLISHED and name not in FREE_PACKS:
        raise missing_pack(target, f"no pack of this name is known, but {', '.join([*FREE_PACKS, *PUBLISHED])}")
    with _disk_faults(models_dir), _staging(models_dir) as staging:
        folder = _source_folder(path, target, staging, progress)
        fresh = staging / name
        pack = _read_as(path, folder)
        if fetched and name in PUBLISHED:
            require_published(target, pack)
        _copy_models(pack, fresh)
        if target.exists():
            return _same_as_installed(fresh, target)
        _try(fresh, path)
        fresh.replace(target)
        sync_folder(models_dir)
    return describe(target)


def _pack_name(path: Path) -> str:
    """The name of the pack from `path`. Raises RefusedError when it is no valid name, or when nothing lies at the path."""
    if path.is_dir():
        name = path.resolve().name
    elif path.suffix.lower() == ".zip":
        name = path.stem
    else:
        name = str(path)
    if not path.exists() and (path.suffix.lower() == ".zip" or os.sep in str(path)):
        raise RefusedError("no such folder or ZIP", where=shown(path), expected="a model pack's folder, ZIP or name")
    if not PACK_NAME.fullmatch(name):
        raise RefusedError(
            "can't be the name of a model pack",
            got=ascii(name),
            expected="letters, digits, . _ -",
            remedy="rename the folder or ZIP",
        )
    return name


def _source_folder(path: Path, target: Path, staging: Path, progress: DownloadProgress | None) -> Path:
    """Fetch and unpack the source if needed. Returns the folder that holds its .onnx files."""
    if not path.exists() and target.name in FREE_PACKS:
        folder = staging / "fetched" / target.name
        folder.mkdir(parents=True)
        fetch_files(target, folder, progress)
        return folder
    folder = path
    if not path.is_dir():
        folder = staging / "unpacked"
        folder.mkdir()
        if not path.exists():
            path = staging / "fetched.zip"
            fetch_zip(target, path, progress)
        unpack_zip(path, folder)
    if any(folder.glob("*.onnx")):
        return folder
    below = sorted({model.parent for model in folder.glob("*/*.onnx")})
    return below[0] if len(below) == 1 else folder


def _read_as(path: Path, folder: Path) -> Pack:
    """Read the pack in `folder`. Errors name `path`, which is the source that the operator gave."""
    try:
        return read_pack(folder)
    except ConfigurationError as error:
        where = error.where.replace(str(folder), shown(path))
        raise ConfigurationError(
            error.what, where=where, got=error.got, expected=error.expected, remedy="install another pack"
        ) from error


def _copy_models(pack: Pack, fresh: Path) -> None:
    fresh.mkdir(mode=0o700)
    notes = [pack.folder / PACK_FILE] if (pack.folder / PACK_FILE).exists() else []
    for source in (pack.detection.path, pack.recognition.path, *notes):
        copy = fresh / source.name
        copyfile(source, copy)
        copy.chmod(0o600)
        with copy.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(fresh)


def _same_as_installed(fresh: Path, target: Path) -> InstalledPack:
    """The pack installed at `target`, if it holds the same models as `fresh`. Raises RefusedError if it does not."""
    wanted = {file_sha256(file) for file in fresh.iterdir()}
    present = {file_sha256(file) for file in target.iterdir() if file.is_file()} if target.is_dir() else set()
    if not wanted <= present:
        raise RefusedError(
            "another model pack of this name is installed",
            where=shown(target),
            remedy="rename the folder or ZIP that you install from, or remove the installed pack's folder first",
        )
    return describe(target)


def _try(folder: Path, source: Path) -> None:
    """Run the pack once, in a process of its own with limits (`workers.models.trial`). Raises ConfigurationError when it fails."""
    fault = fault_of_pack(folder)
    if fault:
        raise ConfigurationError(
            "the model pack does not run",
            where=shown(source),
            got=fault,
            remedy="fetch or copy it again, or use another",
        )


def _described(folder: Path) -> InstalledPack:
    try:
        return describe(folder)
    except ConfigurationError as error:
        return _installed(folder, "", None, fault=error.line())


def _installed(
    folder: Path, fingerprint: str, dim: int | None, terms: _Terms | None = None, fault: str = ""
) -> InstalledPack:
    terms = terms or (_INSIGHTFACE if folder.name in PUBLISHED else _UNKNOWN)
    size_bytes = sum(file.lstat().st_size for file in folder.iterdir())
    return InstalledPack(folder.name, ENGINE, fingerprint, dim, *terms, size_bytes, folder, fault)


def _dlib_pack() -> InstalledPack:
    """dlib, described like a pack. Raises ConfigurationError when it is not installed."""
    recognizer_dlib.require_dlib()
    files = recognizer_dlib.weight_files()
    return InstalledPack(
        name=recognizer_dlib.ENGINE,
        engine=recognizer_dlib.ENGINE,
        fingerprint=recognizer_dlib.dlib_fingerprint(),
        dim=recognizer_dlib.DIM,
        **_DLIB._asdict(),
        size_bytes=sum(file.stat().st_size for file in files),
        path=files[0].parent,
    )


@contextmanager
def _staging(models_dir: Path) -> Iterator[Path]:
    """A folder of mode 0700 beside the packs, removed afterwards."""
    models_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in models_dir.glob(_STAGING + "*"):
        if time() - left.stat().st_mtime > _STALE_S:
            rmtree(left, ignore_errors=True)
    folder = Path(mkdtemp(prefix=_STAGING, dir=models_dir))
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)


@contextmanager
def _disk_faults(models_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_fault(error, shown(error.filename or models_dir)) from error
