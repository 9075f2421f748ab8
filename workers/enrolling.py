"""Photos into the gallery: what is new is embedded, kept under data/faces and saved; what is refused is named."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError, RollcallError, disk_fault
from shared.settings import Settings
from shared.site_access import Site, all_references
from shared.store_opening import make_private_folder
from shared.writer_client import save_rows
from workers.engines import Engine
from workers.photo_pool import embed_photos
from workers.progress import Progress
from workers.remarks import MOST_COMPARED, NewReferences, Remark, remarks_on

_SAVED_AT_ONCE = 64


@dataclass
class EnrolmentReport:
    """What became of each photo; as `enrol --json` says it."""

    enrolled: list[dict[str, str]] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    unchanged: int = 0
    warnings: set[str] = field(default_factory=set)
    look_alikes: list[Remark] = field(default_factory=list)
    disagrees: list[Remark] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {"enrolled": self.enrolled, "refused": self.refused, "unchanged": self.unchanged}
        document |= {"look_alikes": self.look_alikes, "disagrees": self.disagrees}
        return {**document, "warnings": sorted(self.warnings)} if self.warnings else document


@dataclass(frozen=True)
class _Ready:
    person: str
    photo: Path
    digest: str
    embedding: NDArray[np.float32]


def enrol_photos(
    pairs: list[tuple[str, Path]],
    site: Site,
    engine: Engine,
    settings: Settings,
    *,
    user_id: str | None = None,
    respect_marks: bool = False,
    progress: Progress | None = None,
) -> EnrolmentReport:
    """Enrol (person, photo) pairs. `respect_marks`: people and photos that were deleted stay so, since nobody asked for them."""
    report = EnrolmentReport()
    known = {(row["person"], row["photo_digest"]) for row in all_references(site)}
    wanted: dict[Path, list[tuple[str, str]]] = {}
    for person, photo in pairs:
        digest = _digest(photo)
        if digest is not None and (person, digest) in known:
            report.unchanged += 1
        elif (
            digest is not None
            and respect_marks
            and site.call("is_marked", person=person, photo_digest=digest)["marked"]
        ):
            _refuse(report, photo, f"{person} was deleted here; to enrol again on purpose: supervisor.py enrol")
        else:
            wanted.setdefault(photo, []).append((person, digest or ""))
            known.add((person, digest or str(photo)))
    new = _embed_and_save(wanted, site, engine, settings, user_id, report, progress)
    _remark(new, site, engine, settings, report)
    return report


def _remark(new: NewReferences, site: Site, engine: Engine, settings: Settings, report: EnrolmentReport) -> None:
    """Point out who looks like whom. The photos are enrolled by now: a gallery that can't be read is only a warning."""
    try:
        report.look_alikes, report.disagrees = remarks_on(new, site, settings, engine)
    except RollcallError as error:
        report.warnings.add(f"enrolled, but not compared with the others: {error.line()}")
    if new.beyond:
        report.warnings.add(
            f"the first {MOST_COMPARED} were compared with the others; for all: supervisor.py calibrate"
        )


def _embed_and_save(  # the halves of enrol_photos share its whole context
    wanted: dict[Path, list[tuple[str, str]]],
    site: Site,
    engine: Engine,
    settings: Settings,
    user_id: str | None,
    report: EnrolmentReport,
    progress: Progress | None,
) -> NewReferences:
    ready: list[_Ready] = []
    new = NewReferences()
    for done, result in enumerate(embed_photos(settings, engine, wanted, gated=True), 1):
        if result.embedding is None:
            _refuse(report, result.photo, result.reason or "no embedding")
        else:
            ready += [_Ready(person, result.photo, digest, result.embedding) for person, digest in wanted[result.photo]]
        if len(ready) >= _SAVED_AT_ONCE or done == len(wanted):
            ids = _save(ready, site, engine.fingerprint, settings, user_id, report)
            for one, row_id in zip(ready, ids, strict=True):
                new.add(one.person, one.photo, row_id, one.embedding)
            ready = []
        if progress is not None:
            progress(done, len(wanted))
    return new


def _save(
    ready: list[_Ready],
    site: Site,
    fingerprint: str,
    settings: Settings,
    user_id: str | None,
    report: EnrolmentReport,
) -> list[int]:
    """Keep the photos, then save the references: a row never names a photo that is not there. The rows' ids, in order."""
    if not ready:
        return []
    kept: list[tuple[Path, bool]] = []
    try:
        for one in ready:
            kept.append(_keep(one, settings))
        rows = [
            {
                "person_name": one.person,
                "image_path": path.relative_to(settings.data_dir).as_posix(),
                "user_id": user_id,
                "photo_digest": one.digest,
            }
            for one, (path, _) in zip(ready, kept, strict=True)
        ]
        blob = np.stack([one.embedding for one in ready]).astype("<f4").tobytes()
        answer = site.call("save", blob, rows=save_rows(rows), fingerprint=fingerprint)
    except BaseException:
        for path, copied in kept:
            if copied:
                path.unlink(missing_ok=True)
        raise
    if "warning" in answer:
        report.warnings.add(answer["warning"])
    report.enrolled += [{"person": one.person, "photo": str(one.photo)} for one in ready]
    ids: list[int] = answer["ids"]
    return ids


def _keep(one: _Ready, settings: Settings) -> tuple[Path, bool]:
    """The photo's place under data/faces/<person>, and whether it was copied there now."""
    folder = settings.faces_dir / one.person
    if one.photo.resolve().parent == folder.resolve():
        return folder / one.photo.name, False
    for part in (settings.data_dir, settings.faces_dir, folder):
        make_private_folder(part)
    target = folder / one.photo.name
    if target.exists() and _digest(target) != one.digest:
        target = folder / f"{one.photo.stem}-{one.digest[:8]}{one.photo.suffix}"  # another photo of the same file name
    if target.exists():
        return target, False
    half = folder / f".{target.name}.new"
    try:
        shutil.copyfile(one.photo, half)
        half.chmod(0o600)
        half.replace(target)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise disk_fault(error, target) from error
    return target, True


def _digest(photo: Path) -> str | None:
    """SHA-256 of the photo's bytes; None when it can't be read, which reading it will explain."""
    try:
        with photo.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if photo.is_file() else None
    except OSError:
        return None


def _refuse(report: EnrolmentReport, photo: Path, reason: str) -> None:
    report.refused.append({"photo": str(photo), "reason": reason})


def require_somebody(pairs: list[tuple[str, Path]], where: str) -> None:
    """Raises RefusedError when the paths held no photo at all."""
    if not pairs:
        raise RefusedError(
            "no photos found",
            where=where,
            expected="photos, or folders of them (each sub-folder a person)",
            remedy="see README, Enrol",
        )
