"""Scenes whose truth is known to the frame, watched by a camera's whole pipeline with the test data's model pack.

ROLLCALL_SCENES=N plays N rounds, each with other people enrolled, other places and other backgrounds.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.errors import RefusedError
from shared.settings.camera_task import EffectiveCamera, LivenessMode
from shared.settings.file import parse_settings
from tests.support.events import told
from tests.support.liveness_graph import write_blue_rim
from tests.support.paths import FACES, SMALL_PACK, needs_data
from tests.support.photo_faces import Cast, PhotoFaces
from tests.support.scene_scripts import (
    SCRIPTS,
    Script,
    Stage,
    cut,
    cut_in_one_room,
    empty_corridor,
    leaves_and_returns,
    photo_held_up,
    several_with_strangers,
    stranger_stays,
)
from tests.support.scene_truth import Tally, judge, whose
from tests.support.scenes import FRAMES_PER_S, Scene
from tests.support.site_process import SiteProcess
from tests.support.sites import enrol, write_site
from workers.photos.embedding import embed_photo
from workers.pipeline.pipeline import CameraPipeline
from workers.recognition.engine import Engine
from workers.recognition.liveness import FILE_NAME, open_liveness

pytestmark = needs_data

ROUNDS = int(os.environ.get("ROLLCALL_SCENES", "1"))
# A visit may fall into two sightings where its face was hidden, blurred or turned for too long; over all scenes together
# no more than this many sightings a visit, and never more than _MAX_SIGHTINGS for one.
_SIGHTINGS_PER_VISIT = 1.1
_MAX_SIGHTINGS = 2
_CROWD = 1000

Crowd = Sequence[tuple[str, NDArray[np.float32]]]


@pytest.fixture(scope="module")
def engine() -> Engine:
    from workers.recognizer_arcface import ArcFaceEngine

    return ArcFaceEngine(SMALL_PACK, det_size=640, threads=1)


@pytest.fixture(scope="module")
def cast_of() -> Callable[[int], Cast]:
    from workers.recognizer_arcface import ArcFaceEngine

    faces = PhotoFaces(ArcFaceEngine(SMALL_PACK, det_size=320, threads=1))
    return cache(lambda seed: Cast(faces, seed))


def camera(**settings: object) -> EffectiveCamera:
    """Every other setting at its default, on a file that is not real-time."""
    document = {"cameras": {"scene": {"source": "scene.avi", "realtime": False, **settings}}}
    return parse_settings(document, Path("site.toml"), {}).camera("scene")


def watch(scene: Scene, engine: Engine, cast: Cast, beside: Crowd = ()) -> list[dict[str, Any]]:
    """The events of a scene with the cast's people enrolled, and those of `beside`."""
    gallery = cast.gallery()
    for person, embedding in beside:
        gallery.enrol(person, embedding)
    pipeline = CameraPipeline(camera(), engine, gallery)
    events = [event for frame in scene.play() for event in told(pipeline.process(frame))]
    return events + told(pipeline.finish())


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    """A thousand real people who are in no scene, with one photo each."""
    from workers.recognizer_arcface import ArcFaceEngine

    engine = ArcFaceEngine(SMALL_PACK, det_size=320, threads=2)
    people = [next(iter(sorted(folder.iterdir()))) for folder in sorted((FACES / "lfw_dev" / "people").iterdir())]
    others = sorted((FACES / "lfw_dev" / "strangers").iterdir())
    found: list[tuple[str, NDArray[np.float32]]] = []
    for photo in (*people, *others):
        with contextlib.suppress(RefusedError):  # several people in the picture
            found.append((photo.stem, embed_photo(engine, photo).embedding))
        if len(found) == _CROWD:
            break
    assert len(found) == _CROWD
    return found


# Every scene is played once, however many tests ask for it.
Outcome = Callable[[Script, int], tuple[Scene, Tally]]


@pytest.fixture(scope="module")
def outcome(engine: Engine, cast_of: Callable[[int], Cast]) -> Outcome:
    @cache
    def play(script: Script, seed: int) -> tuple[Scene, Tally]:
        scene = script(Stage(cast_of(seed), 1000 * seed + SCRIPTS.index(script)))
        tally = judge(scene, watch(scene, engine, cast_of(seed)))
        print(f"{seed} {scene.name:22} {tally.line()}")
        return scene, tally

    return play


@pytest.fixture(scope="module")
def total(outcome: Outcome) -> Tally:
    tally = Tally()
    for seed in range(ROUNDS):
        for script in SCRIPTS:
            tally.add(outcome(script, seed)[1])
    print(f"all: {tally.line()}")
    return tally


every_scene = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
every_seed = pytest.mark.parametrize("seed", range(ROUNDS))


@every_seed
@every_scene
def test_nobody_is_called_by_another_name(outcome: Outcome, script: Script, seed: int) -> None:
    """In every scene each name that is reported is that of whose face is in its box: no stranger's, nobody else's."""
    assert outcome(script, seed)[1].wrong == []


@pytest.mark.timeout(400)
@every_seed
@pytest.mark.parametrize("script", [several_with_strangers, stranger_stays], ids=lambda script: script.__name__)
def test_nobody_is_called_by_another_name_with_a_thousand_people_beside(
    engine: Engine, cast_of: Callable[[int], Cast], crowd: Crowd, script: Script, seed: int
) -> None:
    """The limits rise with the gallery: no stranger gets a name of the thousand either, and those who are enrolled still get theirs."""
    scene = script(Stage(cast_of(seed), 1000 * seed + SCRIPTS.index(script)))
    tally = judge(scene, watch(scene, engine, cast_of(seed), crowd))
    print(f"{seed} {scene.name:22} {tally.line()}")
    assert tally.wrong == []
    assert tally.named_s >= 0.8 * tally.seconds, tally.line()


@every_seed
@pytest.mark.parametrize("script", [cut, cut_in_one_room], ids=lambda script: script.__name__)
def test_no_track_goes_on_over_a_cut(outcome: Outcome, script: Script, seed: int) -> None:
    """Whoever stands where another stood a frame ago is another sighting."""
    assert outcome(script, seed)[1].across_cuts == []


@pytest.mark.timeout(60 + 120 * ROUNDS)
def test_nine_tenths_of_the_person_seconds_are_named(total: Tally) -> None:
    """Of the time that enrolled people can be seen, all scenes together, from the first frame on."""
    assert total.seconds > 150 * ROUNDS
    assert total.named_s >= 0.9 * total.seconds, total.line()


@pytest.mark.timeout(60 + 120 * ROUNDS)
def test_a_visit_is_one_sighting(total: Tally) -> None:
    """None is missed; all together there are at most 1.1 sightings a visit, and two at most for any."""
    assert min(total.sightings) >= 1, total.line()
    assert max(total.sightings) <= _MAX_SIGHTINGS, total.line()
    assert sum(total.sightings) <= _SIGHTINGS_PER_VISIT * len(total.sightings), total.line()


@pytest.mark.timeout(60 + 120 * ROUNDS)
def test_sightings_are_of_somebody(total: Tally) -> None:
    """Faces that nobody has make up less than a hundredth of the sightings."""
    assert len(total.ghosts) <= 0.01 * len(total.sightings) + 1, total.line()


@pytest.mark.timeout(60 + 120 * ROUNDS)
def test_strangers_end_unknown(total: Tally) -> None:
    """Nine of ten at least; the others uncertain, none with a name."""
    sightings = sum(total.strangers.values())
    assert sightings >= 8 * ROUNDS
    assert total.strangers["named"] == 0
    assert total.strangers["unknown"] >= 0.9 * sightings


@every_seed
def test_person_who_returns_is_seen_twice(outcome: Outcome, seed: int) -> None:
    """Four seconds away make two visits, each of one sighting, of somebody known as of a stranger."""
    assert outcome(leaves_and_returns, seed)[1].sightings == [1, 1, 1, 1]


@every_seed
def test_stranger_who_stays_is_one_stranger(outcome: Outcome, seed: int) -> None:
    """Twenty seconds, other looks every three: no lucky crop makes a name of it."""
    assert outcome(stranger_stays, seed)[1].strangers == {"unknown": 2}


@every_seed
def test_empty_corridor_says_nothing(engine: Engine, cast_of: Callable[[int], Cast], seed: int) -> None:
    """Light that changes and things that pass are no event at all."""
    scene = empty_corridor(Stage(cast_of(seed), 1000 * seed + SCRIPTS.index(empty_corridor)))
    assert watch(scene, engine, cast_of(seed)) == []


@every_seed
def test_rooms_hold_no_face(engine: Engine, cast_of: Callable[[int], Cast], seed: int) -> None:
    """What is drawn by chance is not taken for a face: every face in a scene is one that the truth knows."""
    for i, script in enumerate(SCRIPTS):
        for shot in script(Stage(cast_of(seed), 1000 * seed + i)).shots:
            assert engine.detect(shot.background) == [], script.__name__


def test_scene_plays_the_same_every_time(cast_of: Callable[[int], Cast]) -> None:
    """Frames and truth are functions of seed and time."""
    one, other = (leaves_and_returns(Stage(cast_of(0), 7)) for _ in range(2))
    for number in (0, 30, 200):
        assert np.array_equal(one.render(number), other.render(number))
        truths = [
            [(where.actor.person, where.box, where.visible) for where in scene.truth(number / FRAMES_PER_S)]
            for scene in (one, other)
        ]
        assert truths[0] == truths[1]


def test_truth_is_where_the_faces_are(engine: Engine, cast_of: Callable[[int], Cast]) -> None:
    """The boxes that a detector gives in a frame lie on those of the truth, and the other way about."""
    scene = several_with_strangers(Stage(cast_of(0), 1))
    for number in (60, 120):
        found = [face.box for face in engine.detect(scene.render(number))]
        known = [where.box for where in scene.truth(number / FRAMES_PER_S)]
        assert len(found) == len(known) == 5
        for box in known:
            nearest = min(found, key=lambda one: np.abs(np.subtract(one, box)).sum())
            assert np.abs(np.subtract(nearest, box)).max() < 0.2 * (box[2] - box[0])


@pytest.mark.parametrize("mode", ["off", "observe", "require"])
def test_photo_held_up(tmp_path: Path, engine: Engine, cast_of: Callable[[int], Cast], mode: LivenessMode) -> None:
    """Named with liveness off; named and told to be a spoof by `observe`; refused by `require`, which names who is alive."""
    scene = photo_held_up(Stage(cast_of(0), 11))
    liveness = open_liveness(write_blue_rim(tmp_path / FILE_NAME).parent, mode, threads=1, points=engine.points)
    pipeline = CameraPipeline(camera(liveness=mode), engine, cast_of(0).gallery(), liveness=liveness)
    events = [event for frame in scene.play() for event in told(pipeline.process(frame))] + told(pipeline.finish())
    alive, shown = (
        [event for event in events if whose(scene, event) is actor and event["event"] in ("named", "left")]
        for actor in scene.actors
    )
    assert len(alive) + len(shown) == len(events)
    names = [scene.actors[0].person, scene.actors[1].person]
    assert [(event["event"], event["person"]) for event in alive] == [("named", names[0]), ("left", names[0])]
    if mode == "require":
        assert [(event["event"], event["person"], event["verdict"]) for event in shown] == [("left", None, "uncertain")]
    else:
        assert [(event["event"], event["person"]) for event in shown] == [("named", names[1]), ("left", names[1])]
    if mode == "off":
        assert not any("liveness" in event for event in events)
    else:
        assert (alive[-1]["liveness"]["verdict"], shown[-1]["liveness"]["verdict"]) == ("live", "spoof")
        assert alive[-1]["liveness"]["score"] > 0.9
        assert shown[-1]["liveness"]["score"] < 0.1


def test_scene_as_a_film_on_a_real_site(tmp_path: Path, cast_of: Callable[[int], Cast]) -> None:
    """The same truth through a file, a decoder, the real processes and the command line: the right two names, each visit once."""
    cast = cast_of(0)
    scene = leaves_and_returns(Stage(cast, 3))
    scene.write(tmp_path / "scene.avi")
    write_site(tmp_path, {"hall": 'source = "scene.avi"\nrealtime = false'})
    enrol(tmp_path, cast.copy_photos(tmp_path / "people"))
    with SiteProcess(tmp_path, "--until-ended") as site:
        assert site.wait(90) == 0
    tally = judge(scene, [event for event in site.events if event["track"] is not None])
    assert (tally.wrong, tally.ghosts, tally.sightings) == ([], [], [1, 1, 1, 1]), tally.line()
    assert tally.named_s >= 0.85 * tally.seconds
    assert tally.strangers == {"unknown": 2}
