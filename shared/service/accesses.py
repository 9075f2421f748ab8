"""Requests of who may use the web part."""

from __future__ import annotations

import hmac
import re

from shared.errors import RefusedError, UsageError
from shared.ipc.requests.accesses import (
    AccessAnswer,
    Accesses,
    AccessesPage,
    AccessesUsed,
    AccessFound,
    AddAccess,
    FindAccess,
    RevokeAccess,
    UseLink,
)
from shared.ipc.requests.base import Counted, Done
from shared.person_names import text_of
from shared.records import Access, AccessKind
from shared.service.changes import Changes
from shared.store import accesses
from shared.store.store import Store

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_SECRET = re.compile(r"sha256:[0-9a-f]{64}|scrypt:[0-9a-f]{32}:[0-9a-f]{64}")
_MAX_DAYS = 3650
_DAY_S = 86400.0


class AccessRequests:
    """The requests on one store. Call those that write inside its transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, request: AddAccess, changes: Changes) -> AccessAnswer:  # noqa: ARG002  # nothing is published
        """Raises RefusedError for an id that is taken or can't be one, too long a time, too many accesses, or a parent that is taken back."""
        label = (text_of(request.label) or "").strip()
        if not _ID.fullmatch(request.id) or not 0 < len(label) <= accesses.MAX_LABEL_CHARACTERS:
            raise RefusedError(
                "not a name for an access",
                expected=f"1 to 64 letters, digits, '.', '_', '-' or '@'; a label of at most {accesses.MAX_LABEL_CHARACTERS} characters",
                remedy="choose another name",
            )
        for seconds in (request.lasts_s, request.session_s):
            if seconds is not None and not 0 < seconds <= _MAX_DAYS * _DAY_S:
                raise RefusedError("not a time", got=f"{seconds:.0f} s", expected=f"at most {_MAX_DAYS} days, above 0")
        if not _SECRET.fullmatch(request.secret):
            raise UsageError("not the hash of a secret", where=request.op)
        if request.parent is not None and accesses.access_of(self._store, request.parent) is None:
            raise RefusedError("it was taken back meanwhile", where=request.parent, remedy="sign in in another way")
        again = accesses.access_of(self._store, request.id)
        if again is not None and again[0].kind is request.kind and hmac.compare_digest(again[1], request.secret):
            return AccessAnswer(access=again[0])  # the answer to the first request was lost
        access = Access(
            request.id,
            request.kind,
            request.role,
            label,
            request.cameras,
            accesses.time_after(0.0),
            None if request.lasts_s is None else accesses.time_after(request.lasts_s),
            parent=request.parent,
            session_s=request.session_s,
        )
        accesses.note_access(self._store, access, request.secret)
        return AccessAnswer(access=access)

    def use_link(self, request: UseLink, changes: Changes) -> AccessAnswer:  # noqa: ARG002  # as above
        """Raises RefusedError if there is no such link: it never was, is over, or was used."""
        again = accesses.access_of(self._store, request.session)
        if again is not None and hmac.compare_digest(again[1], request.session_secret):
            return AccessAnswer(access=again[0])  # the answer to the first request was lost
        found = accesses.access_of(self._store, request.link)
        known = found[1] if found else ""
        if not hmac.compare_digest(known, request.secret) or found is None or found[0].kind is not AccessKind.LINK:
            raise RefusedError(
                "this link is not valid",
                expected="a link that was not used yet, and is at most ten minutes old",
                remedy="make another: supervisor.py web login",
            )
        link = found[0]
        if not _ID.fullmatch(request.session) or not _SECRET.fullmatch(request.session_secret):
            raise UsageError("not a session", where=request.op)
        accesses.remove_accesses(self._store, [link.id])
        session = Access(
            request.session,
            AccessKind.SESSION,
            link.role,
            link.label,
            link.cameras,
            accesses.time_after(0.0),
            accesses.time_after(link.session_s or _DAY_S),
            parent=link.id,
        )
        accesses.note_access(self._store, session, request.session_secret)
        return AccessAnswer(access=session)

    def revoke(self, request: RevokeAccess, changes: Changes) -> Counted:  # noqa: ARG002  # as above
        return Counted(count=accesses.remove_accesses(self._store, [request.id]))

    def used(self, request: AccessesUsed, changes: Changes) -> Done:  # noqa: ARG002  # as above
        accesses.note_used(self._store, request.ids)
        return Done()

    def found(self, request: FindAccess) -> AccessFound:
        access, secret = accesses.access_of(self._store, request.id) or (None, None)
        return AccessFound(access=access, secret=secret)

    def listed(self, request: Accesses) -> AccessesPage:  # noqa: ARG002  # it has no fields
        return AccessesPage(accesses=accesses.list_accesses(self._store))
