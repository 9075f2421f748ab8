"""Whether decoding on demand loses anybody: composed scenes as a camera sends them, decoded on demand and whole, in one run.

`python -m tests.benchmark.on_demand [--rounds 1] [--clips] [--json]`: needs the test data. Each scene begins with 14 empty seconds, so that
the camera is asleep when somebody comes. It is sent in no time, so the answer is the same on any machine. `--clips` plays the test data's
films in place of the scenes, which have people from the first picture on.

- seconds: of enrolled people in view, by the scene's truth (no figure for films); named_s: of them named, by the tracks' ends;
- wrong: names that are not those of whose face it is; decoded: share of the pictures; asleep_s: so long only keyframes were decoded.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.settings.file import parse_settings
from tests.benchmark.report import print_report
from tests.support.brute_gallery import BruteGallery
from tests.support.camera_streams import FRAMES_PER_S as FILM_FRAMES_PER_S
from tests.support.camera_streams import busy_stream, scene_stream
from tests.support.paths import FACES, SMALL_PACK
from tests.support.photo_faces import Cast, PhotoFaces
from tests.support.scene_scripts import SCRIPTS, Stage
from tests.support.scene_truth import judge
from tests.support.scenes import FRAMES_PER_S
from tests.support.watched_stream import Watched, watch_stream
from workers.capture.decode_policy import DecodePolicy
from workers.photos.embedding import embed_photo
from workers.pipeline.pipeline import CameraPipeline
from workers.recognition.engine import Engine

_EMPTY_S = 14.0
_CAMERA = parse_settings(
    {"cameras": {"camera": {"source": "stream.ts", "realtime": False}}}, Path("site.toml"), {}
).camera("camera")


def _policies() -> Iterator[tuple[str, DecodePolicy | None]]:
    yield "on demand", DecodePolicy(_CAMERA.min_face_px)
    yield "everything", None


def _figures(watched: Watched) -> dict[str, Any]:
    return {
        "decoded": round(watched.decoded / watched.packets, 3),
        "asleep_s": round(watched.asleep_s, 1),
    }


def play_scenes(engine: Engine, rounds: int) -> list[dict[str, Any]]:
    """A line for each scene and candidate, and one for all scenes."""
    faces = PhotoFaces(engine)
    results: list[dict[str, Any]] = []
    for seed in range(rounds):
        cast = Cast(faces, seed)
        for number, script in enumerate(SCRIPTS):
            scene = script(Stage(cast, 1000 * seed + number)).after(_EMPTY_S)
            with tempfile.TemporaryDirectory() as folder:
                pictures = map(scene.render, range(scene.frames))
                path = scene_stream(Path(folder) / "scene.ts", pictures, FRAMES_PER_S)
                for candidate, policy in _policies():
                    watched = watch_stream(path, CameraPipeline(_CAMERA, engine, cast.gallery()), policy, FRAMES_PER_S)
                    tally = judge(scene, watched.events)
                    named = {"seconds": round(tally.seconds, 1), "named_s": round(tally.named_s, 1)}
                    missed = tally.sightings.count(0)
                    line = {"case": f"{seed} {scene.name}", "candidate": candidate, **named, "visits_missed": missed}
                    results.append({**line, "wrong": len(tally.wrong), **_figures(watched)})
    return results + _in_all(results)


def _in_all(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lines = []
    for candidate in dict.fromkeys(result["candidate"] for result in results):
        own = [result for result in results if result["candidate"] == candidate]
        sums = {key: round(sum(one[key] for one in own), 1) for key in ("seconds", "named_s", "visits_missed", "wrong")}
        share = round(sum(one["decoded"] for one in own) / len(own), 3)
        asleep = round(sum(one["asleep_s"] for one in own), 1)
        lines.append({"case": "all", "candidate": candidate, **sums, "decoded": share, "asleep_s": asleep})
    return lines


def play_clips(engine: Engine) -> list[dict[str, Any]]:
    """The film with seven people, as a camera sends it."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        path = busy_stream(Path(folder) / "film.mp4", 1280, 720)
        for candidate, policy in _policies():
            gallery = BruteGallery(engine.fingerprint)
            for person in sorted((FACES / "friends_enrol").iterdir()):
                for photo in sorted(person.iterdir()):
                    gallery.enrol(person.name, embed_photo(engine, photo).embedding)
            watched = watch_stream(path, CameraPipeline(_CAMERA, engine, gallery), policy, FILM_FRAMES_PER_S)
            left = [event for event in watched.events if event["event"] == "left" and event["verdict"] == "named"]
            named_s = round(sum(event["duration_s"] for event in left), 1)
            names = len({event["person"] for event in left})
            line = {"case": "friends", "candidate": candidate, "named_s": named_s, "names": names}
            results.append({**line, **_figures(watched)})
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="each with other people, places and backgrounds")
    parser.add_argument("--clips", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    from workers.recognizer_arcface import ArcFaceEngine

    engine = ArcFaceEngine(SMALL_PACK, det_size=640, threads=1)
    results = play_clips(engine) if arguments.clips else play_scenes(engine, arguments.rounds)
    print_report(results, as_json=arguments.json)


if __name__ == "__main__":
    main()
