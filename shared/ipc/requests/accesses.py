"""Requests and answers: who may use the web part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from shared.ipc.requests.base import Answer, Counted, Done, Request
from shared.ipc.requests.checking import Many
from shared.records import Access, AccessKind, Role


@dataclass(frozen=True, kw_only=True)
class AccessAnswer(Answer):
    access: Access


@dataclass(frozen=True)
class AddAccess(Request[AccessAnswer]):
    """Let a browser, a program or a person in. `secret`: its hash, see store/accesses.py. `lasts_s`: seconds; None: for ever. `session_s`:
    of a link or a password, how long a session lasts."""

    op: ClassVar[str] = "add_access"
    answer: ClassVar[type[Any]] = AccessAnswer
    id: str
    kind: AccessKind
    role: Role
    label: str
    secret: str
    lasts_s: float | None
    cameras: list[str] | None = None
    parent: str | None = None
    session_s: float | None = None


@dataclass(frozen=True)
class UseLink(Request[AccessAnswer]):
    """Sign in with a link, which is used up by it. `link`, `secret`: its id, and the hash of the secret that was shown.

    `session`, `session_secret`: the id of the session, and the hash of its secret. The session has the link's role and cameras, and lasts
    as long as the link says.
    """

    op: ClassVar[str] = "use_link"
    answer: ClassVar[type[Any]] = AccessAnswer
    link: str
    secret: str
    session: str
    session_secret: str


@dataclass(frozen=True, kw_only=True)
class AccessFound(Answer):
    """`secret`: the hash of the access's secret. Both are None if there is no such access, or if it is over."""

    access: Access | None
    secret: str | None


@dataclass(frozen=True)
class FindAccess(Request[AccessFound]):
    op: ClassVar[str] = "find_access"
    answer: ClassVar[type[Any]] = AccessFound
    id: str


@dataclass(frozen=True, kw_only=True)
class AccessesPage(Answer):
    accesses: list[Access]


@dataclass(frozen=True)
class Accesses(Request[AccessesPage]):
    """List the accesses that are not over, the oldest first."""

    op: ClassVar[str] = "accesses"
    answer: ClassVar[type[Any]] = AccessesPage


@dataclass(frozen=True)
class RevokeAccess(Request[Counted]):
    """Take an access back, and the sessions that were signed in with it. The answer is how many there were."""

    op: ClassVar[str] = "revoke_access"
    answer: ClassVar[type[Any]] = Counted
    id: str


@dataclass(frozen=True)
class AccessesUsed(Request[Done]):
    """Note that these accesses were used."""

    op: ClassVar[str] = "accesses_used"
    answer: ClassVar[type[Any]] = Done
    ids: Many[str]
