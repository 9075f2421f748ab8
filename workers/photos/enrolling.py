"""Enrols photos: embeds the new ones, keeps a copy of each under data/faces, and saves their references in the gallery.

The report names every photo that was refused, with the reason.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError, RollcallError, disk_fault, read_only_fault
from shared.files.durable_folder import sync_folder
from shared.files.private_folder import make_private_folder
from shared.files.run_folder import is_read_only
from shared.photos.metadata import suffix_of
from shared.photos.reading import PHOTO_SUFFIXES, Photo, load_photo, shown
from shared.progress import Progress
from shared.records import NewReference, Reference
from shared.service.access import GalleryClient
from shared.settings.schema import Settings
from workers.photos.embedding import refusal_reason
from workers.photos.look_alikes import MAX_COMPARED, Disagreement, LookAlike, NewReferences, remarks_on
from workers.photos.naming import Found, Told
from workers.photos.one_person import OnePersonCheck
from workers.photos.pool import PhotoReader, PhotoResult, embed_photos
from workers.recognition.engine import Engine

_MAX_ASKED = 20  # people whose references are asked for one by one
_SAVED_AT_ONCE = 64
_HELD_BYTES = 64 << 20  # photos that wait to be saved take no more than this
_MAX_STEM_BYTES = 180  # of a kept photo's name: a file system allows 255, and a digest and the suffix take up to 72


@dataclass
class EnrolmentReport:
    """What became of each photo, as `enrol --json` prints it. `skipped`: files beside the photos that are no photos.

    `unchanged`: how many photos were enrolled already. `set_aside`: photos that are enrolled, and whose references are set aside and stay so;
    `reference` is the stored path or the id. `look_alikes`, `disagrees`: see workers/photos/look_alikes.py.
    """

    enrolled: list[dict[str, str]] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    unchanged: int = 0
    set_aside: list[dict[str, str]] = field(default_factory=list)
    warnings: set[str] = field(default_factory=set)
    look_alikes: list[LookAlike] = field(default_factory=list)
    disagrees: list[Disagreement] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        document = asdict(self)
        del document["warnings"]
        return {**document, "warnings": sorted(self.warnings)} if self.warnings else document

    def refuse(self, photo: Path, reason: str) -> None:
        self.refused.append({"photo": shown(photo), "reason": reason})


@dataclass(frozen=True, eq=False)
class HandedIn:
    """Photos that are in memory, by their paths, and what decodes them; None: a new process for each enrolment."""

    photos: Mapping[Path, Photo]
    reader: PhotoReader | None


@dataclass(frozen=True, eq=False)
class _Ready:
    person: str
    photo: Photo
    embedding: NDArray[np.float32]
    turn: float | None


def enrol_photos(
    found: Found,
    gallery: GalleryClient,
    engine: Engine,
    settings: Settings,
    *,
    user_id: str | None = None,
    respect_marks: bool = False,
    progress: Progress | None = None,
    handed_in: HandedIn | None = None,
) -> EnrolmentReport:
    """Enrol the photos that `people_in` found, and report on each.

    `user_id`: saved with each reference. `respect_marks`: people and photos that were deleted are refused and stay deleted; for
    an enrolment that nobody asked for. `progress` is called with (photos read, photos in all). Raises RollcallError when
    nothing more can be enrolled, such as on a full disk.

    `handed_in`: photos that are in memory already; they are not compared with the whole gallery.
    """
    report = EnrolmentReport()
    for path, reason in found.refused:
        report.refuse(path, reason)
    report.skipped += [{"path": shown(path), "reason": reason} for path, reason in found.skipped]
    enrolment = _Enrolment(
        found, gallery, engine, settings, user_id, report, respect_marks=respect_marks, handed_in=handed_in
    )
    new = enrolment.run(progress)
    if handed_in is None:
        _remark(new, gallery, engine, settings, report)
    return report


def _remark(
    new: NewReferences, gallery: GalleryClient, engine: Engine, settings: Settings, report: EnrolmentReport
) -> None:
    """Report who looks like whom. The photos are already enrolled, so a gallery that can't be read only gives a warning."""
    try:
        report.look_alikes, report.disagrees = remarks_on(new, gallery, settings, engine, report.warnings.add)
    except RollcallError as error:
        report.warnings.add(f"enrolled, but not compared with the others: {error.line()}")
    if new.beyond:
        report.warnings.add(f"the first {MAX_COMPARED} were compared with the others; for all: supervisor.py calibrate")


class _Enrolment:
    """One run over the photos. Each is read once; a new one is embedded, kept and saved."""

    def __init__(
        self,
        found: Found,
        gallery: GalleryClient,
        engine: Engine,
        settings: Settings,
        user_id: str | None,
        report: EnrolmentReport,
        *,
        respect_marks: bool,
        handed_in: HandedIn | None,
    ) -> None:
        self._handed_in = handed_in or HandedIn({}, None)
        self._gallery, self._engine, self._settings = gallery, engine, settings
        self._user_id, self._report, self._respect_marks = user_id, report, respect_marks
        self._people: dict[Path, list[str]] = {}
        for person, path in found.pairs:
            self._people.setdefault(path, []).append(person)
        self._known: set[tuple[str, str | None]] = set()
        self._aside: dict[
            tuple[str, str | None], str
        ] = {}  # (person, digest or stored path) → the reference that is set aside
        for row in _references_of({person for person, _ in found.pairs}, gallery):
            self._known.add((row.person, row.photo_digest))
            if row.set_aside_since is not None:
                named = row.image_path or str(row.id)
                self._aside |= {(row.person, row.photo_digest): named, (row.person, named): named}
        self._first: dict[tuple[str, str], Path] = {}  # (person, digest) → the first photo with these in this run
        self._again: list[tuple[Path, tuple[str, str]]] = []  # further photos with the same (person, digest)
        self._wanted: dict[Path, list[str]] = {}
        self._check = OnePersonCheck(found.named_by_file, engine.threshold)
        self._ready: list[_Ready] = []
        self._new = NewReferences()

    def run(self, progress: Progress | None) -> NewReferences:
        """Enrol all photos. Returns the references that were saved."""
        count = len(self._people)
        photos = self._new_photos(progress, count)
        reader = self._handed_in.reader
        for result in embed_photos(self._settings, self._engine, photos, count, gated=True, reader=reader):
            if result.embedding is None:
                self._report.refuse(result.photo.path, result.reason or "no embedding")
                continue
            self._take(self._check.offer(result))
        self._take(self._check.rest())
        self._save()
        self._settle_repeated()
        if progress is not None:
            progress(count, count)
        return self._new

    def _new_photos(self, progress: Progress | None, count: int) -> Iterator[Photo]:
        """Read the photos one by one, and yield those that are new for at least one person."""
        for done, (path, people) in enumerate(self._people.items()):
            if progress is not None:
                progress(done, count)
            try:
                photo = self._handed_in.photos.get(path) or load_photo(_with_utf8_name(path))
            except RefusedError as error:
                self._report.refuse(path, refusal_reason(error))
                continue
            wanted = [person for person in people if self._is_wanted(person, photo)]
            if wanted:
                self._wanted[path] = wanted
                yield photo

    def _is_wanted(self, person: str, photo: Photo) -> bool:
        """Whether `person` is to be enrolled with this photo. If not, the report says why."""
        digest = photo.digest
        place = self._settings.faces_dir / person
        if os.path.lexists(place) and not place.is_dir():
            self._report.refuse(
                photo.path, f"{place} is in the way, where {person}'s photos are kept; remedy: move that file elsewhere"
            )
            return False
        # Older rows and marks hold the digest of the whole file: metadata was not yet removed from kept photos then.
        digests = dict.fromkeys((digest, photo.file_digest))
        for one in digests:
            if (person, one) in self._known:
                self._report.unchanged += 1
                self._tell_if_aside(person, one, photo.path)
                return False
        if (person, digest) in self._first:
            self._again.append((photo.path, (person, digest)))
            return False
        if self._respect_marks and any(self._gallery.is_marked(person, one) for one in digests):
            reason = f"{person} was deleted here; to enrol again on purpose: supervisor.py enrol"
            self._report.refuse(photo.path, reason)
            return False
        self._first[person, digest] = photo.path
        return True

    def _tell_if_aside(self, person: str, known_by: str, photo: Path) -> None:
        """Report a photo whose reference is set aside: enrolling it again does not bring it back. `known_by`: its digest or stored path."""
        reference = self._aside.get((person, known_by))
        if reference is not None:
            self._report.set_aside.append({"person": person, "photo": shown(photo), "reference": reference})

    def _take(self, judged: list[PhotoResult]) -> None:
        """Take results that `OnePersonCheck` has decided: report the refused ones, and save the others once there are enough."""
        for result in judged:
            path = result.photo.path
            if result.embedding is None:
                self._report.refuse(path, result.reason or "no embedding")
                continue
            self._ready += [
                _Ready(person, result.photo, result.embedding, result.turn) for person in self._wanted[path]
            ]
        if len(self._ready) >= _SAVED_AT_ONCE or sum(len(one.photo.data) for one in self._ready) > _HELD_BYTES:
            self._save()

    def _save(self) -> None:
        """Keep the photos, then save their references. In this order, a row never names a photo that is not whole on the disk."""
        kept: list[tuple[_Ready, Path, bool]] = []
        ready, self._ready = self._ready, []
        try:
            for one in ready:
                kept.append((one, *_keep(one, self._settings)))
            if not kept:
                return
            _sync_folders({path.parent for _, path, copied in kept if copied}, self._settings)
            rows = [
                NewReference(
                    one.person,
                    path.relative_to(self._settings.data_dir).as_posix(),
                    self._user_id,
                    photo_digest=one.photo.digest,
                    turn=one.turn,
                )
                for one, path, _ in kept
            ]
            vectors = np.stack([one.embedding for one, _, _ in kept])
            answer = self._gallery.save(rows, vectors, self._engine.fingerprint)
        except BaseException:
            for _, path, copied in kept:
                if copied:
                    path.unlink(missing_ok=True)
            raise
        if answer.warning:
            self._report.warnings.add(answer.warning)
        for (one, _, _), row, row_id in zip(kept, rows, answer.ids, strict=True):
            self._report.enrolled.append({"person": one.person, "photo": shown(one.photo.path)})
            self._tell_if_aside(one.person, row.image_path or "", one.photo.path)
            self._new.add(one.person, one.photo.path, row_id, one.embedding)

    def _settle_repeated(self) -> None:
        """Report on copies of a photo within this run: unchanged if the first copy was enrolled, else refused for its reason."""
        reasons = {one["photo"]: one["reason"] for one in self._report.refused}
        for path, key in self._again:
            reason = reasons.get(shown(self._first[key]))
            if reason is None:
                self._report.unchanged += 1
            else:
                self._report.refuse(path, reason)


def _references_of(people: set[str], gallery: GalleryClient) -> Iterator[Reference]:
    """The references of these people; of everybody if there are many: that is fewer questions then."""
    if len(people) > _MAX_ASKED:
        yield from gallery.references()
        return
    for person in people:
        yield from gallery.references(person)


def _with_utf8_name(path: Path) -> Path:
    """The path itself. Raises RefusedError if its file name is not UTF-8: a row in the database must hold the name."""
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise RefusedError(
            "the file's name has bytes that are not UTF-8", got=shown(path.name), remedy="rename the file"
        ) from error
    return path


def _keep(one: _Ready, settings: Settings) -> tuple[Path, bool]:
    """Keep the photo under data/faces/<person>, whole and without metadata, and flush it to the disk.

    Returns its path, and whether it was written now. A photo that lies there already stays as it is. Raises RollcallError
    when it can't be written.
    """
    folder = settings.faces_dir / one.person
    path = one.photo.path
    if path.resolve().parent == folder.resolve():
        return folder / path.name, False
    if is_read_only(settings.data_dir):
        raise read_only_fault(settings.data_dir)
    for part in (settings.data_dir, settings.faces_dir, folder):
        make_private_folder(part)
    target = folder / _kept_name(one.photo)
    named = target
    for digits in (8, 64):  # if another photo has this file name, add so many digits of the photo's digest
        if _is_another(target, one.photo):
            target = folder / f"{named.stem}-{one.photo.digest[:digits]}{named.suffix}"
    if target.exists():
        return target, False
    half = folder / f".{one.photo.digest[:16]}.new"
    try:
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor has no path
            os.fchmod(descriptor, 0o600)
            file.write(one.photo.data)
            file.flush()
            os.fsync(descriptor)
        half.replace(target)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise disk_fault(error, target) from error
    return target, True


def _kept_name(photo: Photo) -> str:
    """The file's own name, short enough for every file system, with a suffix that names its format."""
    stem = photo.path.stem.encode()[:_MAX_STEM_BYTES].decode("utf-8", "ignore")
    suffix = photo.path.suffix
    if suffix.lower() not in PHOTO_SUFFIXES:
        suffix = suffix_of(photo.data)
    return stem + suffix


def _is_another(target: Path, photo: Photo) -> bool:
    """Whether something other than this photo lies at `target`."""
    if not os.path.lexists(target):
        return False
    try:
        return load_photo(target).digest != photo.digest
    except RefusedError:
        return True


def _sync_folders(folders: set[Path], settings: Settings) -> None:
    """Flush renames in `folders`, and the folders themselves, to the disk."""
    for folder in (*sorted(folders), *((settings.faces_dir, settings.data_dir) if folders else ())):
        try:
            sync_folder(folder)
        except OSError as error:
            raise disk_fault(error, folder) from error


def require_somebody(found: Found, where: str) -> None:
    """Raise RefusedError when the paths hold no photo at all, not even one that was refused."""
    if not found.pairs and not found.refused:
        raise RefusedError(
            "no photos found",
            where=where,
            got=skipped_line(found.skipped) or "nothing",
            expected="photos, or folders of them (each sub-folder a person)",
            remedy="see docs/operating.md#enrol-people",
        )


def set_aside_lines(photos: list[dict[str, str]], most: int) -> list[str]:
    """The photos whose references stay set aside, a line each: the first `most`, then one line with the number of the others."""
    lines = [
        f"{one['photo']} of {one['person']} is set aside, and faces are not compared with it; to use it again: supervisor.py people "
        + shlex.join([one["person"], "--restore", one["reference"]])
        for one in photos[:most]
    ]
    return lines + (
        [f"and {len(photos) - most} more are set aside; for all: enrol --json"] if len(photos) > most else []
    )


def skipped_line(skipped: list[Told]) -> str:
    """One line with the number of skipped files and the first few of them; empty if there are none."""
    if not skipped:
        return ""
    first = ", ".join(f"{shown(path)} ({reason})" for path, reason in skipped[:_MAX_SKIPPED])
    return f"{len(skipped)} skipped: {first}" + (" …" if len(skipped) > _MAX_SKIPPED else "")


_MAX_SKIPPED = 5
