"""Requests on the gallery's model: stamp the gallery with it, stage another model's embeddings, switch to that model."""

from __future__ import annotations

from shared.errors import RefusedError
from shared.ipc.requests.base import Done
from shared.ipc.requests.model import Stage, Staged, Stamp, Switched, SwitchModel, Unstage
from shared.ipc.requests.sync import ElsewhereReferences, FromElsewhere
from shared.person_names import name_of
from shared.service.changes import Changes
from shared.service.references import require_turns
from shared.store import people, staging, synced
from shared.store.corrections import faces_of_model_only
from shared.store.references import count_references
from shared.store.sighting_crops import drop_lost_crops
from shared.store.sighting_probes import probes_of_model_only
from shared.store.store import Store
from shared.strangers.strangers import Strangers


class ModelRequests:
    """The requests on one store's model. Call them inside its transaction."""

    def __init__(self, store: Store, strangers: Strangers) -> None:
        self._store, self._strangers = store, strangers

    def from_elsewhere(self, _: FromElsewhere) -> ElsewhereReferences:
        """The references that came from other sites. They need no photo here: those sites embed them anew, and they come again."""
        return ElsewhereReferences(ids=synced.from_elsewhere(self._store))

    def stage(self, request: Stage, _: Changes) -> Staged:
        """Store another model's embeddings beside the ones in use. Raises RefusedError for a turn that is none."""
        require_turns(request.turns)
        staged = staging.stage(
            self._store, request.ids, request.changes, request.vectors, request.fingerprint, request.turns
        )
        return Staged(staged=staged)

    def unstage(self, _: Unstage, __: Changes) -> Done:
        """Delete all staged embeddings."""
        staging.unstage(self._store)
        return Done()

    def switch(self, request: SwitchModel, changes: Changes) -> Switched:
        """Switch to the staged model. If a reference that is not in `leave_out` was not staged, return which, and change nothing."""
        waiting = sorted({*staging.not_staged(self._store, request.model.fingerprint)} - {*request.leave_out})
        if waiting:
            return Switched(switched=False, not_staged=waiting)
        left_out = staging.switch_model(self._store, request.model)
        changes.republish = True
        strangers = self._strangers.of_model_only(request.model.fingerprint)
        faces, probes = self._faces_of_model_only(request.model.fingerprint)
        merges = people.drop_undo_of_old_model(self._store)
        warnings = [
            f"{count} {what} were dropped: the new model can't know them by the old one's embeddings"
            for count, what in (
                (strangers, "strangers"),
                (faces, "faces that were judged wrong"),
                (probes, "faces of sightings that could be corrected"),
            )
            if count
        ]
        if merges:
            warnings.append(
                f"{merges} merges can't be undone any more: one of two references of a photo was kept with the old model"
            )
        answer = Switched(switched=True, references=count_references(self._store), left_out=left_out)
        return answer.with_warnings(warnings)

    def _faces_of_model_only(self, fingerprint: str) -> tuple[int, int]:
        """Drop the faces of corrections and the probes of other models. There is no photo of them to embed anew. Returns how many.

        The crops of these sightings go, too: without an embedding they could not be found when their person is forgotten.
        """
        faces, probes = faces_of_model_only(self._store, fingerprint), probes_of_model_only(self._store, fingerprint)
        drop_lost_crops(self._store)
        return faces, probes

    def stamp(self, request: Stamp, changes: Changes) -> Done:
        """Note which model the embeddings come from. Raises RefusedError if they have another dimension than the model's."""
        dim = self._store.dim
        if dim is not None and dim != request.model.dim and count_references(self._store):
            raise RefusedError(
                "a model of another dimension",
                got=request.model.dim,
                expected=str(dim),
                remedy="models use NAME embeds anew",
            )
        for text in (request.model.label, request.model.fingerprint):
            name_of(text)
        self._store.stamp(request.model)
        self._strangers.of_model_only(request.model.fingerprint)
        self._faces_of_model_only(request.model.fingerprint)
        changes.republish = True
        return Done()
