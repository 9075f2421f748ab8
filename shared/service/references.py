"""Requests on references and the people they belong to: save, delete, count, list, compare."""

from __future__ import annotations

from collections.abc import Sequence

from shared.embeddings import unit_vector
from shared.errors import RefusedError
from shared.ipc.requests.base import Counted, Vectors
from shared.ipc.requests.people import People, PeoplePage
from shared.ipc.requests.references import (
    Compared,
    Cosine,
    Count,
    CoverFound,
    Delete,
    Deleted,
    FindCover,
    FindReferences,
    IsMarked,
    Marked,
    OneSided,
    OneSidedFound,
    OneSidedPerson,
    References,
    ReferencesFound,
    ReferencesPage,
    Save,
    Saved,
)
from shared.person_names import name_of, new_name_of, text_of
from shared.records import MOST_TURN, NewReference, side_of
from shared.service.changes import Changes
from shared.service.negatives import negative_step
from shared.store.corrections import meet
from shared.store.marks import is_marked
from shared.store.people import last_change
from shared.store.references import (
    count_references,
    delete_references,
    find_cover,
    list_people,
    list_references,
    one_sided,
    people_named,
    references_of_ids,
    vector_of,
)
from shared.store.review import different_among
from shared.store.saving import save, save_by_uuid
from shared.store.store import Store

_MAX_WARNINGS = 5
_MAX_FOUND = 2000


def contradiction(sighting: int, person: str) -> str:
    """The warning that a face which was judged wrong resembles references of the person whose it is not."""
    return (
        f"the face of event {sighting}, which was judged not to be {person}, looks like a reference of {person}; "
        f"if it is {person}: supervisor.py wrong --undo {sighting}"
    )


def require_turns(turns: Sequence[float | None]) -> None:
    """Raise RefusedError for a turn that no face has."""
    odd = next((one for one in turns if one is not None and not abs(one) <= MOST_TURN), None)
    if odd is not None:
        raise RefusedError("not a turn of a head", got=odd, expected=f"-{MOST_TURN:g} to {MOST_TURN:g}")


class ReferenceRequests:
    """The requests on one store's references. Call those that change rows inside its transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def save(self, request: Save, changes: Changes) -> Saved:
        """Save references. Raises RefusedError for an unsound name, text or vector, or for embeddings of another model."""
        self._require_fingerprint(request.fingerprint)
        names = {name: new_name_of(name) for name in {row.person_name for row in request.rows}}
        rows = [row._replace(person_name=names[row.person_name]) for row in request.rows]
        for text in {text for row in rows for text in row[1:5]}:
            text_of(text)
        require_turns([row.turn for row in rows])
        return self.add(rows, request.vectors, changes)

    def add(self, rows: Sequence[NewReference], vectors: Vectors, changes: Changes) -> Saved:
        """Save references of sound names, `vectors` (n, dim). A face that was judged wrong and resembles one of them is narrowed to the
        person whose it is not; if it is that very person, the answer warns."""
        saved = save(self._store, rows, vectors)
        if not saved.row_ids:
            return Saved(ids=[], updated=0)
        changes.steps.append((saved, rows))
        met = meet(self._store, [row.person_name for row in rows], saved.vectors)
        changes.steps += negative_step(self._store, met.narrowed)
        warnings = [contradiction(sighting, person) for sighting, person in met.contradicted[:_MAX_WARNINGS]]
        return Saved(ids=saved.row_ids, updated=sum(saved.replaced)).with_warnings(warnings)

    def add_as_given(self, rows: Sequence[NewReference], vectors: Vectors, changes: Changes) -> None:
        """Save references that came from another site, as `add` does. Each is known by its UUID alone."""
        saved = save_by_uuid(self._store, rows, vectors)
        changes.steps.append((saved, rows))
        met = meet(self._store, [row.person_name for row in rows], saved.vectors)
        changes.steps += negative_step(self._store, met.narrowed)

    def _require_fingerprint(self, fingerprint: str | None) -> None:
        """Embeddings whose model is known must come from the gallery's model, which can have been switched since they were made."""
        known = self._store.fingerprint
        if fingerprint is not None and known not in (None, fingerprint):
            raise RefusedError(
                "embeddings of another model",
                got=fingerprint[:12],
                expected=f"{self._store.model} ({known[:12]}…)" if known else "",
                remedy="try again with the gallery's model; see: supervisor.py models",
            )

    def delete(self, request: Delete, changes: Changes) -> Deleted:
        """Delete the references of a person, or of one photo of theirs."""
        deleted = delete_references(self._store, name_of(request.person_name), text_of(request.image_path))
        changes.steps.append(deleted.row_ids)
        return Deleted(deleted=len(deleted.row_ids))

    def count(self, _: Count) -> Counted:
        """How many references are stored."""
        return Counted(count=count_references(self._store))

    def people(self, request: People) -> PeoplePage:
        """One page of the enrolled people, by name."""
        return PeoplePage(
            people=list_people(self._store, request.after, request.limit, request.id, request.name),
            last_change=last_change(self._store),
        )

    def references(self, request: References) -> ReferencesPage:
        """One page of references, by id, of one person or of all."""
        return ReferencesPage(references=list_references(self._store, request.person, request.after_id, request.limit))

    def found(self, request: FindReferences) -> ReferencesFound:
        """Some references by their ids, and their people. Raises RefusedError for too many."""
        if len(request.ids) > _MAX_FOUND:
            raise RefusedError("too many references at once", got=len(request.ids), expected=f"at most {_MAX_FOUND}")
        references = references_of_ids(self._store, request.ids)
        people = people_named(self._store, {one.person for one in references})
        return ReferencesFound(
            references=references,
            people=people,
            different=different_among(self._store, [one.id for one in people if one.id is not None]),
            change_number=self._store.change_number,
        )

    def one_sided(self, _: OneSided) -> OneSidedFound:
        """The people whose photos all show the same side."""
        found = ((row_id, side_of(turn), count) for row_id, turn, count in one_sided(self._store))
        return OneSidedFound(
            people=[OneSidedPerson(row_id, side, count) for row_id, side, count in found if side is not None]
        )

    def cover(self, request: FindCover) -> CoverFound:
        """The reference whose photo stands for a person."""
        is_known, reference = find_cover(self._store, request.id)
        return CoverFound(is_known=is_known, reference=reference)

    def is_marked(self, request: IsMarked) -> Marked:
        """Whether a person, or a photo of theirs, was deleted and not enrolled again since."""
        return Marked(marked=is_marked(self._store, request.person, request.photo_digest))

    def cosine(self, request: Cosine) -> Compared:
        """The cosine between a stored reference and a given vector. Raises RefusedError for an unknown id or another dimension."""
        stored = vector_of(self._store, request.id)
        probe = unit_vector(request.vectors[0], "probe")
        if len(stored) != len(probe):
            raise RefusedError("an embedding of another model", got=len(probe), expected=str(len(stored)))
        return Compared(cosine=float(stored @ probe))
