"""The settings file as the pages see it: read without secrets, changed under a lock, with its last versions.

Its methods read and write files: call them on a thread. Two admins at once: each shows the tag of the text that they changed; under the lock
the file still has to have it.
"""

from __future__ import annotations

import difflib
import hmac
import secrets
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError, FaultList, RefusedError, RollcallError, TemporaryError
from shared.files.folder_lock import FolderLock, LockedError
from shared.files.private_folder import make_private_folder
from shared.settings.editing import Change, replace_file, why_not_writable, with_changes
from shared.settings.file import parse_settings, toml_fault
from shared.settings.masking import changed_secrets, masked_text, unmasked_text
from shared.settings.schema import Settings
from shared.settings.settable import change_faults, locked_faults, source_fault
from shared.settings.sources import HIDDEN, Tls, Transport, place_of, unmasked_source, variables_of
from shared.settings.text import read_bytes, read_toml, text_of
from shared.settings.versions import Version, Versions

_LOCK_S = 5.0
_MAX_LINES = 5000  # forty cameras with a comment for each key take 2,000; more make the comparison slow


class ChangedMeanwhileError(RefusedError):
    """The file is not what whoever changes it has seen."""


@dataclass(frozen=True)
class Draft:
    """A text that may become the file.

    `before`: the file's text. `sent`: the new one without secrets; `document`: the same as values, None if it is no TOML. `text`: with its
    secrets; `settings`: the same, checked; both None if there are faults. `old`: the file's settings. `diff`: from the file to the new text,
    without secrets. `new_secrets`: where it has another secret than the file.
    """

    before: str
    sent: str
    document: dict[str, Any] | None
    faults: list[RollcallError]
    text: str | None = None
    old: Settings | None = None
    settings: Settings | None = None
    diff: str = ""
    new_secrets: Sequence[str] = ()


@dataclass(frozen=True)
class Shown:
    """The file as it is. `text`: without secrets; `document`: the same as values, None if it is not valid TOML; `faults`: of the file."""

    text: str
    tag: str
    document: dict[str, Any] | None
    faults: list[RollcallError]


class SettingsDesk:
    """The settings of one site."""

    def __init__(self, settings: Settings) -> None:
        self._path, self._settings = settings.path, settings
        self._versions = Versions(settings.data_dir)
        # Without a key that nobody knows, a tag would tell whoever tries passwords whether one is right.
        self._key = secrets.token_bytes(32)

    @property
    def path(self) -> Path:
        """Raises ConfigurationError without a file."""
        if (fault := why_not_writable(self._path)) is not None and self._path is None:
            raise fault
        assert self._path is not None  # said above
        return self._path

    def why_read_only(self) -> RollcallError | None:
        """Why the settings can't be changed from here; None if they can."""
        return why_not_writable(self._path)

    def show(self) -> Shown:
        """Raises ConfigurationError if the file can't be read as text."""
        text, tag = self._read()
        faults: list[RollcallError] = []
        document = None
        try:
            document = read_toml(masked_text(text), str(self.path))
            parse_settings(read_toml(text, str(self.path)), self.path)
        except tomllib.TOMLDecodeError as error:
            faults = [toml_fault(self.path, error)]
        except ConfigurationError as error:
            faults = _all_of(error)
        return Shown(masked_text(text), tag, document, faults)

    def draft_of(self, given: str | None, changes: Sequence[Change]) -> Draft:
        """What would become of the file: with a whole text without secrets, or the file's, and with changes in it. Raises ConfigurationError."""
        return self._drafted(self._read()[0], given, changes)

    def save(self, given: str | None, changes: Sequence[Change], tag: str, by: str) -> Draft:
        """Put a text into the file, if it has no fault. The draft says what came of it.

        Raises ChangedMeanwhileError if the file has another tag than `tag`; RollcallError if it can't be written.
        """
        return self._saved(tag, by, lambda text: self._drafted(text, given, changes))

    def versions(self) -> list[tuple[Version, bool]]:
        """The versions that are kept, newest first, and whether each is what the file is now."""
        text = self._read()[0]
        return [(one, one.text == text) for one in self._versions.listed()]

    def version(self, number: int) -> tuple[Version, Draft] | None:
        """A version, and what would become of the file with it; None: there is no such version."""
        version = self._versions.find(number)
        return None if version is None else (version, self._reverted(self._read()[0], version))

    def revert(self, number: int, tag: str, by: str) -> Draft | None:
        """As `save`, with the text of a version, its own secrets included; None: there is no such version."""
        version = self._versions.find(number)
        return None if version is None else self._saved(tag, by, lambda text: self._reverted(text, version))

    def source_to_test(self, given: str, camera: str | None, tls: Tls, transport: Transport) -> dict[str, Any]:
        """What workers/camera_test/process.py needs to open a source: `given`, with the secrets of that of `camera` where it has HIDDEN.

        Raises RefusedError for a source that can't be set from here, or that can't be tested.
        """
        text = self._read()[0]
        settings = self._settings_of(text)
        known = settings.cameras.get(camera) if settings is not None and camera is not None else None
        source: str | None = given
        keeps = HIDDEN in given
        if keeps:
            is_text = known is not None and isinstance(known.source, str)
            source = unmasked_source(given, str(known.source)) if known is not None and is_text else None
        if source is None or (keeps and known is not None and tls == "insecure" != known.tls):
            raise RefusedError(
                f"{HIDDEN} stands for a secret of another camera, host or way to reach it",
                where="source",
                remedy="type the password",
            )
        if variables_of(source):
            raise RefusedError(
                "a variable's value is known to the camera only",
                where="source",
                got="${" + variables_of(source)[0] + "}",
                remedy="type the password for the test, or save it and see the camera's state",
            )
        fault = source_fault(source, self._own_ports(text), "source")
        if fault is not None:
            raise RefusedError(fault.what, where="source", got=fault.got, expected=fault.expected, remedy=fault.remedy)
        same_place = known is not None and place_of(str(known.source)) == place_of(source)
        ca_file = known.ca_file if known is not None and same_place else None
        own = self._settings
        return {
            "settings": own.for_child().to_json(),
            "source": source,
            "tls": tls,
            "transport": transport,
            "ca_file": str(own.base / Path(ca_file).expanduser()) if ca_file else None,
            "own_ports": sorted(self._own_ports(text)),
        }

    def _read(self) -> tuple[str, str]:
        raw = read_bytes(self.path)
        return text_of(raw, self.path), hmac.digest(self._key, raw, "sha256").hex()[:32]

    def _saved(self, tag: str, by: str, make: Callable[[str], Draft]) -> Draft:
        if (fault := self.why_read_only()) is not None:
            raise fault
        make_private_folder(self._versions.folder)
        lock = FolderLock(self._versions.folder / "lock")
        try:
            lock.acquire(_LOCK_S)
        except LockedError as error:
            raise TemporaryError("somebody else changes the settings just now", remedy="try again") from error
        try:
            text, known_as = self._read()
            if not hmac.compare_digest(known_as, tag):
                raise ChangedMeanwhileError(
                    "the settings were changed meanwhile",
                    where=str(self.path),
                    remedy="load them anew, and change them again",
                )
            draft = make(text)
            if draft.text is None or draft.text == text:
                return draft
            newest = next(iter(self._versions.listed()), None)
            if newest is None or newest.text != text:
                self._versions.add(text, None)
            self._versions.add(draft.text, by)
            if self._read()[1] != known_as:  # an editor, which knows no lock
                raise ChangedMeanwhileError("the settings were changed meanwhile", where=str(self.path))
            replace_file(self.path, draft.text)
            return draft
        finally:
            lock.release()

    def _drafted(self, before: str, given: str | None, changes: Sequence[Change]) -> Draft:
        where = str(self.path)
        sent = masked_text(before) if given is None else given
        if given is not None and "\r\n" not in given and "\r\n" in before:
            sent = given.replace("\n", "\r\n")  # a browser's text field has made them so
        document = None
        try:
            if sent.count("\n") > _MAX_LINES:
                raise ConfigurationError("too many lines", where=where, expected=f"at most {_MAX_LINES}")
            document = read_toml(sent, where)
            sent = with_changes(sent, changes, where) if changes else sent
            document = read_toml(sent, where)
            text, faults = unmasked_text(sent, before, where)
            if not faults:
                old, new = read_toml(before, where), read_toml(text, where)
                faults = change_faults(old, new, document, own_ports=self._own_ports(before), where=where)
        except tomllib.TOMLDecodeError as error:
            return Draft(before, sent, document, [toml_fault(self.path, error)])
        except ConfigurationError as error:
            return Draft(before, sent, document, _all_of(error))
        return self._checked(Draft(before, sent, document, faults), text)

    def _reverted(self, before: str, version: Version) -> Draft:
        where, sent = str(self.path), masked_text(version.text)
        try:
            document = read_toml(sent, where)
            faults = locked_faults(read_toml(before, where), read_toml(version.text, where), where)
        except tomllib.TOMLDecodeError as error:
            return Draft(before, sent, None, [toml_fault(self.path, error)])
        except ConfigurationError as error:
            return Draft(before, sent, None, _all_of(error))
        return self._checked(Draft(before, sent, document, faults), version.text)

    def _checked(self, draft: Draft, text: str) -> Draft:
        """The draft with all that is known of its whole text."""
        where, before, faults = str(self.path), draft.before, draft.faults
        settings = None
        try:
            settings = parse_settings(read_toml(text, where), self.path)
        except ConfigurationError as error:
            known = {one.where for one in faults}
            faults = [*faults, *(one for one in _all_of(error) if one.where not in known)]
        old_lines, new_lines = (masked_text(one).splitlines(keepends=True) for one in (before, text))
        diff = "".join(difflib.unified_diff(old_lines, new_lines, "before", "after", n=2))
        if faults or settings is None:
            return replace(draft, faults=faults, diff=diff)
        return replace(
            draft,
            text=text,
            old=self._settings_of(before),
            settings=settings,
            diff=diff,
            new_secrets=changed_secrets(before, text, where),
        )

    def _settings_of(self, text: str) -> Settings | None:
        """The settings of a text; None if it is not valid, as after somebody edited the file."""
        try:
            return parse_settings(read_toml(text, str(self.path)), self.path)
        except (tomllib.TOMLDecodeError, ConfigurationError):
            return None

    def _own_ports(self, before: str) -> set[int]:
        """The ports that this site listens on."""
        settings = self._settings_of(before)
        hub = {settings.backend.port} if settings is not None and settings.backend.enabled else set()
        return {self._settings.web.port, *hub}


def _all_of(error: RollcallError) -> list[RollcallError]:
    return error.faults if isinstance(error, FaultList) else [error]
