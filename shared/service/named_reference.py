"""Which reference of a person a request names, and the answer that tells its state."""

from __future__ import annotations

from pathlib import Path

from shared.errors import RefusedError
from shared.ipc.requests.references import ReferenceState
from shared.person_names import name_of, text_of
from shared.records import Reference
from shared.store.erasure import reference_named
from shared.store.references import list_references
from shared.store.right_references import right_since
from shared.store.set_aside import Aside, count_in_use
from shared.store.store import Store

_MAX_NAMED = 20  # references listed in a refusal


def named_reference(store: Store, data_dir: Path, person: str, photo: str) -> Reference:
    """The reference of a person that `photo` names: by its path or file name, else by its id. Raises RefusedError if there is none."""
    person, photo = name_of(person), text_of(photo) or ""
    rows = list_references(store, person)
    if not rows:
        raise RefusedError("nobody of that name", where=person, remedy="see: supervisor.py people")
    if (found := reference_named(data_dir, rows, photo)) is not None:
        return found
    known = [row.image_path or str(row.id) for row in rows]
    raise RefusedError(
        "no such reference of that person",
        where=person,
        got=photo,
        expected="one of " + ", ".join(known[:_MAX_NAMED]) + (" …" if len(known) > _MAX_NAMED else ""),
        remedy=f"see: supervisor.py people '{person}' --references",
    )


def state_of(store: Store, found: Reference, aside: Aside | None, *, already: bool) -> ReferenceState:
    """The answer about a reference. `aside`: why and since when it is set aside, or was until now."""
    return ReferenceState(
        person=found.person,
        id=found.id,
        photo=found.image_path,
        reason=aside.reason if aside else None,
        since=aside.since if aside else None,
        already=already,
        in_use=count_in_use(store, found.person),
        right_since=right_since(store, found.id),
    )
