"""Every request that the writer takes, by its name on the wire, and the reading of one.

The table is a list that one can read. It could fill itself, as each class is defined or from the files in the folder. But then what the writer
answers would depend on what was imported before, or on what lies in a folder. A test finds a request that the table lacks.
Only the process that reads requests imports this module, and with it all requests. A process that sends some imports their modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.errors import UsageError
from shared.ipc.requests.accesses import Accesses, AccessesUsed, AddAccess, FindAccess, RevokeAccess, UseLink
from shared.ipc.requests.base import Request
from shared.ipc.requests.corrections import Corrections, ForgetCorrection, Right, UndoCorrection, Wrong
from shared.ipc.requests.forgetting import Forget
from shared.ipc.requests.gallery import Info, Restore
from shared.ipc.requests.model import Stage, Stamp, SwitchModel, Unstage
from shared.ipc.requests.people import Merge, People, Rename, UndoPeople
from shared.ipc.requests.references import (
    BringBack,
    Cosine,
    Count,
    Delete,
    FindCover,
    FindReferences,
    IsMarked,
    MarkReference,
    OneSided,
    References,
    RightReferences,
    Save,
    SetAside,
)
from shared.ipc.requests.review import (
    DifferentPeople,
    HeedStranger,
    IgnoreStranger,
    MarkDifferent,
    Review,
    UndoDifferent,
)
from shared.ipc.requests.sightings import FindCrop, FindSightings, Follow, Record, Sightings
from shared.ipc.requests.site import PutStatus, Status
from shared.ipc.requests.strangers import ForgetStranger, NameStranger, Strangers
from shared.ipc.requests.sync import (
    BeginAnew,
    CountUnshown,
    Exchanged,
    FollowChanges,
    FromElsewhere,
    Outgoing,
    OutgoingPlain,
    OutgoingSightings,
    Resend,
    Sent,
    SentPlain,
    SentSightings,
    SetBack,
    SyncStatus,
    TakeIn,
    TakeInPlain,
)

REQUESTS: dict[str, type[Request[Any]]] = {
    one.op: one
    for one in (
        Save, Delete, Count, References, FindReferences, FindCover, IsMarked, Cosine, SetAside, BringBack, MarkReference, RightReferences, OneSided,
        People, Rename, Merge, UndoPeople,
        Forget,
        Strangers, ForgetStranger, NameStranger,
        Review, MarkDifferent, DifferentPeople, UndoDifferent, IgnoreStranger, HeedStranger,
        Record, Sightings, FindSightings, FindCrop, Follow,
        Wrong, Right, UndoCorrection, Corrections, ForgetCorrection,
        AddAccess, UseLink, FindAccess, Accesses, RevokeAccess, AccessesUsed,
        Outgoing, Sent, Resend, SetBack, BeginAnew, TakeIn, TakeInPlain, OutgoingPlain, SentPlain, CountUnshown,
        OutgoingSightings, SentSightings, Exchanged, SyncStatus, FollowChanges, FromElsewhere,
        Stage, Unstage, SwitchModel, Stamp,
        Info, Restore,
        Status, PutStatus,
    )
}  # fmt: skip  # each subject begins a line


def request_of(document: Mapping[str, Any], blob: bytes | memoryview) -> Request[Any]:
    """The request in a message. Raises UsageError if there is no such operation, or if the arguments do not fit it."""
    op = document.get("op")
    kind = REQUESTS.get(op) if isinstance(op, str) else None
    if kind is None:
        raise UsageError("no such operation", got=repr(op)[:80], expected=", ".join(sorted(REQUESTS)))
    return kind.from_wire(document.get("arguments", {}), blob)
