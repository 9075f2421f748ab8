"""Turns one camera's frames into sightings: detect, track, judge the crops' quality, embed, match, vote.

It starts no process, has no queue, and uses a clock only to measure its own speed. With `realtime = false` all decisions
use the file's own time, so the same file gives the same answer every time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from shared.embeddings import as_text
from shared.errors import RefusedError
from shared.events import Event, iso_time, new_event
from shared.ipc.view import LiveTrack
from shared.settings.camera_task import EffectiveCamera
from workers.capture.cadence import Cadence
from workers.capture.capture import Frame
from workers.pipeline.face_figures import FaceFigures
from workers.pipeline.figures import Figures
from workers.pipeline.frame_selection import FrameSelection
from workers.pipeline.scene_change import SceneChange
from workers.pipeline.stages import Stages
from workers.pipeline.thumbnail import face_thumbnail
from workers.pipeline.track_state import TrackState
from workers.pipeline.tracking import Observation, Pair, Proposal, Track, Tracker
from workers.pipeline.voting import Ballot, Crop, Decision, Rules
from workers.recognition.engine import Engine, Face, Image, Vectors
from workers.recognition.face_picture import face_picture, picture_text
from workers.recognition.liveness import Liveness
from workers.recognition.mirroring import with_mirrors
from workers.recognition.quality import Gate, Quality
from workers.recognition.working_point import Limits, limits

if TYPE_CHECKING:
    from shared.gallery.match import Candidate
    from shared.gallery.tail import Tail

_MAX_CROPS = 8  # crops embedded per frame; with more faces, they take turns
_NEAR_MARGINS = (
    2  # below the threshold: a crop that scores so much, and names nobody, is embedded with its mirror image, too
)
_MIRRORED_FOR_VOTES = (
    4  # of a track so many crops for each vote; later ones change little, and a large recogniser takes long
)
_LOST_AFTER_S = 1.5
# Frames without the face until a track is lost. It counts where frames are so rare that 1.5 s would be a single frame.
_FRAMES_UNTIL_LOST = 2.5


class Gallery(Protocol):
    """The part of `shared.gallery.reader.GalleryReader` that the pipeline uses."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def tail(self) -> Tail: ...
    def refresh(self) -> bool: ...
    def match(self, probes: Vectors, k: int = 2) -> list[list[Candidate]]: ...


class CameraPipeline:
    """Takes frames in order and returns sightings: events without the `id` and `site`, which the writer adds."""

    def __init__(
        self,
        settings: EffectiveCamera,
        engine: Engine,
        gallery: Gallery,
        *,
        liveness: Liveness | None = None,
        keep_unknowns: bool = False,
        keep_probes: bool = False,
        stages: Stages | None = None,
    ) -> None:
        """`liveness`: the liveness model, if the settings ask for it. `keep_unknowns`: sightings of strangers carry `traces`,
        by which the writer recognises them when they come again. `keep_probes`: sightings of people who were named, or nearly,
        carry the embedding that decided, so that a person can correct them, and a small picture of the face. Those of nobody carry a
        picture only with `keep_unknowns`. `stages`: where what each stage costs is counted."""
        self._settings = settings
        self._gallery = gallery
        self._file_time = False  # True once a frame of a file with `realtime = false` has brought the file's time
        self._cadence = Cadence(settings.fps)
        self._selection = FrameSelection(settings.fps)
        self._scene = SceneChange()
        self._liveness, self._keep_unknowns, self._keep_probes = liveness, keep_unknowns, keep_probes
        self._lap = 0
        # The last frame, searched or not: time_s, wall time, media time.
        self._last_frame = (float("-inf"), 0.0, cast("float | None", None))
        self._states: dict[int, TrackState] = {}
        self.figures = Figures()
        self._faces = FaceFigures()
        self._stages = stages or Stages()
        self._take_engine(engine)
        lost_after_s = max(_LOST_AFTER_S, _FRAMES_UNTIL_LOST / settings.fps)
        self._tracker = Tracker(engine.appearance, lost_after_s=lost_after_s)

    def _take_engine(self, engine: Engine) -> None:
        self._engine = engine
        self._gate = Gate(self._settings.min_face_px, engine.points)
        self._take_limits()

    def _take_limits(self) -> None:
        """Take the limits that follow from the gallery as it is now."""
        settings = self._settings
        self.limits: Limits = limits(
            self._engine, self._gallery.tail, settings.strangers_named, settings.threshold, settings.margin
        )
        point = self.limits.point
        self._rules = Rules(point.threshold, point.margin, settings.votes, self._engine.threshold)

    @property
    def in_view(self) -> bool:
        """Whether somebody is in view."""
        return bool(self._states)

    @property
    def model_changed(self) -> bool:
        """Whether the gallery holds another model's embeddings. Until `use_engine` is called, frames are not searched."""
        return self._gallery.fingerprint not in ("", self._engine.fingerprint)  # "": nobody was ever enrolled

    def use_engine(self, engine: Engine, liveness: Liveness | None = None) -> None:
        """Go on with another model, between two frames. The tracks go on; their embeddings and votes are dropped."""
        self._take_engine(engine)
        self._liveness = liveness
        self._tracker.use_appearance(engine.appearance)
        for state in self._states.values():
            state.begin_anew(self._rules)

    def process(self, frame: Frame) -> list[Event]:
        """Process a frame, if it is due, and return the new events."""
        taken_at = time.monotonic()
        self._file_time = not self._settings.realtime and frame.media_time_s is not None
        time_s = self._time_of(frame)
        if not self._cadence.due(time_s):
            return []
        events = self._gallery_news(time_s, frame.wall_time)
        if self.model_changed:
            return events
        change = self._scene.compare(frame.image)
        scene_ended = change.cut or frame.lap != self._lap
        self._lap = frame.lap
        if scene_ended:
            self._extend_to_cut()
        ended = self._tracker.end_all() if scene_ended else self._tracker.end_lost(time_s)
        events += self._leave(ended, frame.wall_time)
        self._last_frame = (time_s, frame.wall_time, frame.media_time_s)
        undecided = any(
            state.is_undecided(time_s, self._rules) or state.track.last_s < self._selection.searched_s
            for state in self._states.values()
        )
        in_view = bool(self._states)
        if self._selection.wants(time_s, cut=scene_ended, moved=change.moved, in_view=in_view, undecided=undecided):
            self._scene.mark()
            with self._stages.measured("detect"):
                found = self._engine.detect(frame.image)
            faces = [face for face in found if not self._is_ignored(face, frame.image)]
            events += self._identify(frame, faces, time_s)
            self.figures.add(
                captured_at=frame.captured_at, taken_at=taken_at, done_at=time.monotonic(), faces=len(faces)
            )
        return events

    def unobserved(self, seconds: float) -> None:
        """Nothing could be searched for so long. Nobody in view is lost by that."""
        if not self._file_time:
            self._tracker.forgive(seconds)

    def idle(self, now_s: float, wall_time: float) -> list[Event]:
        """Call this while no frame comes: returns what changed with the gallery, and the tracks that are lost by now."""
        if self._file_time:
            return []  # with `realtime = false` time passes only from frame to frame
        events = self._gallery_news(now_s, wall_time)
        return events + self._leave(self._tracker.end_lost(now_s), wall_time)

    def finish(self) -> list[Event]:
        """End every track; no frame comes after. A person who was just forgotten is not in these last sightings either."""
        self._follow_gallery()
        return self._leave(self._tracker.end_all(), time.time())

    def stats(self) -> dict[str, Any]:
        """The pipeline's fields of CameraStatus, by name."""
        point = self.limits.point
        return {
            "model": self._engine.model_id.label,
            **self.figures.latest(),
            **self._stages.latest(),
            **self._faces.latest(),
            "tracks": len(self._states),
            "threshold": round(point.threshold, 4),
            "margin": round(point.margin, 4),
            "threshold_from": self.limits.reason,
            "strangers_estimated": round(self.limits.strangers.share_reaching(point.threshold), 6),
        }

    def live_tracks(self) -> list[LiveTrack]:
        """The faces that were found in the last searched frame, for somebody who looks on."""
        return [
            self._live_track(state)
            for state in self._states.values()
            if state.track.last_s >= self._selection.searched_s
        ]

    def _live_track(self, state: TrackState) -> LiveTrack:
        decision = state.decision()
        return LiveTrack(
            track=state.track.number,
            box=[round(side) for side in state.track.box],
            verdict=decision.verdict,
            person=decision.person,
            score=_rounded(decision.score),
            margin=_rounded(decision.margin),
            votes=state.ballot.votes,
            votes_needed=self._rules.votes,
            refused=list(state.refused),
        )

    def _time_of(self, frame: Frame) -> float:
        return frame.media_time_s if self._file_time and frame.media_time_s is not None else frame.captured_at

    # -- a searched frame ---------------------------------------------------------------------------------------------

    def _identify(self, frame: Frame, faces: Sequence[Face], time_s: float) -> list[Event]:
        """Join the faces to tracks, embed and match the crops that are worth it, let them vote. Returns the new events."""
        thumbnails = [face_thumbnail(frame.image, face.box) for face in faces]
        proposals = self._tracker.propose([face.box for face in faces], time_s, thumbnails)
        crops, refused = self._good_crops(frame.image, faces, proposals, time_s)
        embeddings = self._embed({index: crop for index, (crop, _) in crops.items()})
        observations = [
            Observation(face.box, embeddings.get(index), index in crops and crops[index][1].clear, thumbnails[index])
            for index, face in enumerate(faces)
        ]
        pairs = self._tracker.update(observations, time_s)
        alive = self._liveness.score(frame.image, [faces[index] for index in embeddings]) if self._liveness else []
        live_scores = dict(zip(embeddings, alive, strict=False))  # empty if liveness is off
        answers = self._match_faces(pairs, embeddings, crops)
        for track, index in pairs:
            state = self._states.get(track.number) or self._begin_state(track, frame, time_s)
            state.see(frame.wall_time, frame.media_time_s)
            if index in crops or index in refused:
                state.judge(float(faces[index].width), refused.get(index, ()))
            if index in embeddings:
                state.embedded_s = time_s
                picture = face_picture(frame.image, faces[index].box) if self._keep_probes else None
                crop = Crop(crops[index][1].value, embeddings[index], answers[index], crops[index][1].clear, picture)
                live_score = live_scores.get(index)
                state.live.add(live_score)
                if not state.live.is_worthless(self._settings.liveness, live_score):
                    state.ballot.add(crop)
                if self._keep_unknowns and crop.clear and crop.names(self._rules) is None:
                    state.best_crops.offer(crop.quality, crop.embedding, frame.image, faces[index].box)
        self._match_means([self._states[track.number] for track, index in pairs if index in embeddings])
        return self._news(time_s, frame.wall_time)

    def _is_ignored(self, face: Face, image: Image) -> bool:
        """Whether the face's centre lies in one of the settings' `ignore` boxes: a poster, a television, a street."""
        left, top, right, bottom = face.box
        x, y = 50 * (left + right) / image.shape[1], 50 * (top + bottom) / image.shape[0]
        return any(x1 <= x <= x2 and y1 <= y <= y2 for x1, y1, x2, y2 in self._settings.ignore)

    def _extend_to_cut(self) -> None:
        """Extend the tracks of the last search to the scene's last frame: the people stayed, though it was not searched."""
        time_s, wall_time, media_time_s = self._last_frame
        for state in self._states.values():
            if state.track.last_s >= self._selection.searched_s:
                state.track.last_s = max(state.track.last_s, time_s)
                state.see(wall_time, media_time_s)

    def _begin_state(self, track: Track, frame: Frame, time_s: float) -> TrackState:
        state = TrackState(track, Ballot(self._rules, time_s), frame.wall_time, self._settings.liveness)
        self._states[track.number] = state
        return state

    def _good_crops(
        self, image: Image, faces: Sequence[Face], proposals: Sequence[Proposal], time_s: float
    ) -> tuple[dict[int, tuple[Image, Quality]], dict[int, list[str]]]:
        """The crops to embed, by the face's index: those that are due and pass the quality gate, at most `_MAX_CROPS`. And of those that are due
        and don't, the parts of quality that refuse them.

        Crops that decide which track a face belongs to come first, then tracks without a name, then those whose last
        embedding is oldest.
        """
        wanted = []
        refused: dict[int, list[str]] = {}
        for index, (face, (track, doubtful, changed)) in enumerate(zip(faces, proposals, strict=True)):
            state = self._states.get(track.number) if track else None
            due = state is None or changed or state.wants_crop(time_s, self._rules)
            if not (due or doubtful):
                continue
            if reasons := self._gate.refuses(face):
                refused[index] = reasons
            else:
                known = (state.ballot.named is not None, state.embedded_s) if state else (False, float("-inf"))
                wanted.append((not doubtful, *known, index))
        good: dict[int, tuple[Image, Quality]] = {}
        for *_, index in sorted(wanted)[:_MAX_CROPS]:
            crop = self._engine.crop(image, faces[index])
            quality = self._gate.judge(faces[index], crop, image)
            if quality.refused:
                refused[index] = quality.refused
            else:
                good[index] = crop, quality
        return good, refused

    def _embed(self, crops: dict[int, Image]) -> dict[int, Vectors]:
        try:
            with self._stages.measured("embed", len(crops)):
                rows = self._engine.embed(list(crops.values()))
        except RefusedError:  # a crop without an embedding is dropped, like one that the quality gate refuses
            return self._embed_each(crops)
        self.figures.embedded += len(crops)
        return dict(zip(crops, rows, strict=True))

    def _embed_each(self, crops: dict[int, Image]) -> dict[int, Vectors]:
        embeddings = {}
        for index, crop in crops.items():
            try:
                embeddings[index] = self._engine.embed([crop])[0]
            except RefusedError:
                continue
        return embeddings

    def _match(self, embeddings: Sequence[Vectors]) -> Iterator[Sequence[Candidate]]:
        with self._stages.measured("match", bool(embeddings)):
            answers = self._gallery.match(np.stack(embeddings)) if embeddings else []
        return iter([self._rules.standing(candidates) for candidates in answers])

    def _match_faces(
        self, pairs: Sequence[Pair], embeddings: dict[int, Vectors], crops: dict[int, tuple[Image, Quality]]
    ) -> dict[int, Sequence[Candidate]]:
        """What each embedded face matches. A face that is near a name is embedded anew together with its mirror image; `embeddings` then
        has that."""
        found = [pair.face for pair in pairs if pair.face in embeddings]
        answers = dict(zip(found, self._match([embeddings[index] for index in found]), strict=True))
        near = [pair.face for pair in pairs if pair.face in answers and self._may_decide(pair, answers[pair.face])]
        if near and self._engine.mirrors:
            alone = np.stack([embeddings[index] for index in near])
            both = self._with_mirrors([crops[index][0] for index in near], alone)
            embeddings |= zip(near, both, strict=True)
            answers |= zip(near, self._match(list(both)), strict=True)
        return answers

    def _with_mirrors(self, crops: list[Image], alone: Vectors) -> Vectors:
        try:
            with self._stages.measured("embed", len(crops)):
                return with_mirrors(self._engine, crops, alone)
        except RefusedError:  # a mirror image without an embedding: the crops' own count
            return alone

    def _may_decide(self, pair: Pair, candidates: Sequence[Candidate]) -> bool:
        """Whether the mean with the mirror image may bring a name: the track has none after a few crops, and this crop alone comes near one."""
        state, rules = self._states.get(pair.track.number), self._rules
        ballot = state.ballot if state is not None else None
        if ballot is not None and (ballot.named is not None or ballot.total >= _MIRRORED_FOR_VOTES * rules.votes):
            return False
        if not candidates or rules.names(candidates) is not None:
            return False
        return candidates[0].score >= rules.threshold - _NEAR_MARGINS * rules.margin

    def _match_means(self, states: Sequence[TrackState]) -> None:
        """Match the mean of each of these tracks' crops, where it can bring a name."""
        probes = [(state.ballot, mean) for state in states if (mean := state.ballot.mean_probe()) is not None]
        answers = self._match([mean for _, mean in probes])
        for (ballot, mean), candidates in zip(probes, answers, strict=True):
            ballot.take_mean(mean, candidates)

    # -- reporting ----------------------------------------------------------------------------------------------------

    def _gallery_news(self, time_s: float, wall_time: float) -> list[Event]:
        return self._news(time_s, wall_time) if self._follow_gallery() else []

    def _follow_gallery(self) -> bool:
        """If the gallery has changed (a person was enrolled or forgotten), match the kept crops again. Whether it did."""
        if not self._gallery.refresh() or self.model_changed:
            return False
        self._take_limits()
        for state in self._states.values():
            answers = list(self._match([crop.embedding for crop in state.ballot.matched()]))
            state.ballot.rematch(answers, self._rules)
        return True

    def _news(self, time_s: float, wall_time: float) -> list[Event]:
        return [
            self._event(news.report, wall_time, state, news.decision)
            for state in self._states.values()
            for news in state.news(time_s)
        ]

    def _leave(self, tracks: Iterable[Track], wall_time: float) -> list[Event]:
        events = []
        for track in tracks:
            state = self._states.pop(track.number)
            state.end()
            if track.seen < 2 and state.ballot.told is None:
                continue  # seen in a single frame: such a detection is as often a pattern as a face
            self._faces.add(state.width_px, state.why_never_used)
            decision = state.decision()
            events.append(
                replace(
                    self._event("left", wall_time, state, decision),
                    started=iso_time(state.started_at),
                    ended=iso_time(state.ended_at),
                    duration_s=round(track.last_s - track.first_s, 3),
                )
            )
        return events

    def _event(self, kind: str, wall_time: float, state: TrackState, decision: Decision) -> Event:
        event = new_event(
            self._settings.name,
            kind,
            wall_time,
            user_id=decision.user_id,
            media_time_s=None if state.media_time_s is None else round(state.media_time_s, 3),
            track=state.track.number,
            person=decision.person,
            score=_rounded(decision.score),
            margin=_rounded(decision.margin),
            confidence=None if decision.agreed is None else round(self.limits.strangers.confidence(decision.agreed), 6),
            frames=state.track.seen,
            box=[round(side) for side in state.track.box],
            liveness=None if self._liveness is None else state.live.to_json(),
            verdict=decision.verdict if kind in ("left", "withdrawn") else None,
        )
        if decision.verdict == "unknown" and kind != "withdrawn" and (traces := state.best_crops.traces()):
            event = replace(
                event,
                traces=[trace.to_json() for trace in traces],
                fingerprint=self._engine.fingerprint,
                alike=self._engine.threshold,
                picture=self._text_of(state.best_crops.picture()) if self._keep_probes else None,
            )
        if self._keep_probes and kind != "withdrawn" and (crop := state.deciding_crop(decision)) is not None:
            event = replace(
                event,
                probe=as_text(crop.embedding),
                nearest=crop.candidates[0].person,
                clear=crop.clear,
                fingerprint=self._engine.fingerprint,
                alike=self._engine.threshold,
                picture=self._text_of(crop.picture) if decision.person or self._keep_unknowns else None,
            )
        return event

    @staticmethod
    def _text_of(picture: bytes | None) -> str | None:
        return None if picture is None else picture_text(picture)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
