"""The demo's scene, seen with the real dlib engine, and what the demo makes of events: table, summary, sheet."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from shared.errors import ConfigurationError, TemporaryError
from shared.events import Sighting
from shared.settings.file import parse_settings
from shared.status import CameraStatus, ChildState, SiteSnapshot
from workers.demo import painting as demo_painting
from workers.demo import scene as demo_scene
from workers.demo.painting import FRAMES, FRAMES_PER_S, HEIGHT, WIDTH, Key, Light, write_clip
from workers.demo.report import DemoReport, percentile, process_memory
from workers.demo.scene import ASTRONAUT, TABLE_STRANGER, Scene, make_scene, truth
from workers.demo.sheet import make_sheet
from workers.demo.view import DemoView, live_table, print_summary

START = datetime(2030, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("demo"))


def _frames(clip: Path, step: int) -> list[tuple[float, Any]]:
    """Every `step`-th frame of a clip with its time in seconds."""
    video = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG)
    found, index = [], 0
    while video.grab():
        if index % step == 0:
            found.append((index / FRAMES_PER_S, video.retrieve()[1]))
        index += 1
    video.release()
    return found


# --- the scene -----------------------------------------------------------------------------------------------------


def test_clips_are_whole_and_their_times_exact(scene: Scene) -> None:
    """Two cameras; every clip can be read to its last frame, and a frame's own time is its number over the rate."""
    assert set(scene.cameras) == {"lounge", "corridor"}
    for clip in scene.cameras.values():
        video = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG)
        shape = [int(video.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
        assert (shape, video.get(cv2.CAP_PROP_FPS)) == ([WIDTH, HEIGHT], FRAMES_PER_S)
        for index in range(FRAMES):
            assert video.grab(), f"{clip.name} ends at frame {index}"
            assert video.get(cv2.CAP_PROP_POS_MSEC) == pytest.approx(1000 * index / FRAMES_PER_S, abs=1)
        assert not video.grab()
        video.release()


def test_the_settings_are_a_valid_site(scene: Scene, tmp_path: Path) -> None:
    """What the scene proposes passes the schema, with the gallery's folder where the photos are."""
    settings = parse_settings(scene.settings(loop=True), tmp_path / "site.toml", {})
    assert settings.enabled_cameras() == list(scene.cameras)
    assert settings.camera("lounge").loop
    assert settings.faces_dir == scene.faces_dir
    assert not parse_settings(scene.settings(), tmp_path / "site.toml", {}).camera("lounge").loop


def test_strangers_are_not_enrolled(scene: Scene) -> None:
    """Five of the six at the table are enrolled, with several photos each; the sixth and the astronaut are not."""
    folders = {folder.name: sorted(folder.glob("*.jpg")) for folder in scene.faces_dir.iterdir()}
    assert set(folders) == set(scene.people)
    assert {name: tuple(photos) for name, photos in folders.items()} == dict(scene.photos)
    assert len(scene.people) == 5
    assert all(len(photos) >= 3 for photos in folders.values())
    assert scene.strangers == (TABLE_STRANGER, ASTRONAUT)


def test_everybody_comes_by(scene: Scene) -> None:
    """Each enrolled person and each stranger is in view of some camera long enough to be judged."""
    assert set(scene.expected["lounge"]) == {*scene.people, TABLE_STRANGER}
    assert ASTRONAUT in scene.expected["corridor"]
    assert ASTRONAUT not in truth("corridor", 0.0)
    assert ASTRONAUT in truth("corridor", 7.0)


def test_who_is_at_knows_place_and_lap(scene: Scene) -> None:
    """A box is somebody's where it overlaps their face, in every lap of a looped clip, and nobody's elsewhere."""
    for who, box in truth("lounge", 6.0).items():
        assert scene.who_is_at("lounge", 6.0, box) == who
        assert scene.who_is_at("lounge", 6.0 + 2 * scene.duration_s, box) == who
    assert scene.who_is_at("lounge", 6.0, (0, 0, 20, 20)) is None


def test_the_engine_tells_everybody_apart(scene: Scene) -> None:
    """dlib finds every face that is whole, names the enrolled rightly and with the margin, and no stranger, ever."""
    pytest.importorskip("dlib", reason="dlib is not installed: pip install -c constraints.txt '.[embedded]'")
    pytest.importorskip("workers.recognizer_dlib")
    from workers.recognizer_dlib import DlibEngine

    engine = DlibEngine(det_size=int(scene.settings()["recognition"]["det_size"]))
    references, names = [], []
    for person, photos in scene.photos.items():
        for photo in photos:
            picture = cv2.imread(str(photo))
            assert picture is not None
            image = picture.astype(np.uint8, copy=False)
            (face,) = engine.detect(image)
            references.append(engine.embed([engine.crop(image, face)])[0])
            names.append(person)
    gallery, seen = np.array(references), set()
    for camera, clip in scene.cameras.items():
        for time_s, frame in _frames(clip, step=21):
            faces = engine.detect(frame)
            found = {scene.who_is_at(camera, time_s, face.box): face for face in faces}
            for who in truth(camera, time_s):
                assert who in found, f"{camera} at {time_s:.2f} s: {who} was not found"
                scores = gallery @ engine.embed([engine.crop(frame, found[who])])[0]
                best = {p: max(s for s, n in zip(scores, names, strict=True) if n == p) for p in scene.people}
                first, second = sorted(best, key=lambda person: -best[person])[:2]
                named = (
                    first if best[first] >= engine.threshold and best[first] - best[second] >= engine.margin else None
                )
                assert named == (who if who in scene.people else None), f"{camera} at {time_s:.2f} s: {who} was {named}"
                seen.add(who)
    assert seen == {*scene.people, *scene.strangers}


def test_a_missing_picture_says_what_to_reinstall() -> None:
    """A wheel without its picture is a configuration fault with the remedy."""
    with pytest.raises(ConfigurationError, match=r"insightface/data/images/none\.jpg.*pip install"):
        demo_scene._picture("insightface", "data/images/none.jpg", (886, 1280))
    with pytest.raises(ConfigurationError, match="no_such_package"):
        demo_scene._picture("no_such_package", "t1.jpg", (886, 1280))


LIGHT = Light(gain=1, swing=0, period_s=1, warmth=0, colour=1, blur_px=1, jpeg_quality=50)
STILL = (Key(0, 0, 0, 0, 0, 1), Key(1, 0, 0, 0, 0, 1))


def test_a_folder_that_takes_no_video_is_said(tmp_path: Path) -> None:
    """Where no clip can be written, the fault names the folder and says what to do."""
    with pytest.raises(TemporaryError, match="missing"):
        write_clip(tmp_path / "missing" / "clip", np.zeros((8, 8, 3), np.uint8), STILL, LIGHT, None)


def test_without_mpeg4_the_clip_is_motion_jpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OpenCV that lacks the first codec writes the clip with the second, as long and as readable."""
    monkeypatch.setattr(demo_painting, "CODECS", (("none", ".mp4"), *demo_painting.CODECS[1:]))
    clip = write_clip(tmp_path / "clip", np.full((HEIGHT, WIDTH, 3), 99, np.uint8), STILL, LIGHT, None)
    assert clip.suffix == ".avi"
    assert [time_s for time_s, _ in _frames(clip, step=FRAMES - 1)] == [0, (FRAMES - 1) / FRAMES_PER_S]


def test_pictures_are_found_without_importing_their_packages() -> None:
    """The scene starts no heavy import: insightface and scikit-image are only located."""
    program = (
        "import sys, workers.demo.scene as d\n"
        "d._picture('insightface', 'data/images/t1.jpg', (886, 1280))\n"
        "d._picture('skimage', 'data/astronaut.png', (512, 512))\n"
        "assert not {'insightface', 'skimage', 'onnxruntime', 'dlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# --- the report ----------------------------------------------------------------------------------------------------


def _event(kind: str, camera: str, who: str, time_s: float, **fields: Any) -> Sighting:
    """An event about `who` as the writer publishes it; what differs from the usual comes in `fields`."""
    common = {"id": 1, "site": "demo", "time": START.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
    if kind.startswith("camera"):
        return Sighting.from_json({**common, "event": kind, "camera": camera})
    track = {"track": 1, "person": who if kind == "named" else None, "score": 0.98, "margin": 0.07, "frames": 3}
    box = [round(side) for side in truth(camera, time_s)[who]]
    seen = {**track, "media_time_s": time_s, "box": box}
    return Sighting.from_json({**common, "event": kind, "camera": camera, **seen, **fields})


@pytest.fixture
def report(scene: Scene) -> DemoReport:
    return DemoReport(scene.expected, scene.people, scene.who_is_at)


def test_the_summary_says_who_was_seen_where(report: DemoReport) -> None:
    """Names with their best score, strangers by what they are, and who is still missing, each at their camera."""
    report.take_event(_event("camera_up", "lounge", "", 0))
    report.take_event(_event("named", "lounge", "Ruby Heart", 1.0, score=0.97))
    report.take_event(_event("named", "lounge", "Ruby Heart", 3.0, score=0.99, track=9))
    report.take_event(_event("unknown", "corridor", ASTRONAUT, 7.0, track=4))
    summary = report.summary(12.3456, {"camera lounge": {"pss_bytes": 5, "rss_bytes": 9}}, "sheet.png")
    lounge, corridor = summary["cameras"]["lounge"], summary["cameras"]["corridor"]
    assert [(s["who"], s["score"], s["media_time_s"], s["events"]) for s in lounge["named"]] == [
        ("Ruby Heart", 0.99, 3.0, 2)
    ]
    assert lounge["missed"] == ["Penny Ante", "Jack Spade", "Ace Diamond", "Clover Day"]
    assert [s["who"] for s in corridor["unknown"]] == [ASTRONAUT]
    assert (summary["event"], summary["seconds"], summary["wrong_names"]) == ("summary", 12.3, [])
    assert (summary["memory_pss_bytes"], summary["sheet"]) == (5, "sheet.png")


def test_a_wrong_name_is_counted(report: DemoReport) -> None:
    """A stranger who is given a name, and a person who is given another's, are wrong names; a right name is none."""
    report.take_event(_event("named", "lounge", "Ruby Heart", 1.0))
    report.take_event(_event("named", "lounge", TABLE_STRANGER, 1.0, person="Ruby Heart"))
    report.take_event(_event("named", "lounge", "Jack Spade", 8.0, person="Ace Diamond"))
    wrong = report.summary(1, {}, None)["wrong_names"]
    assert [(w["is"], w["named"]) for w in wrong] == [(TABLE_STRANGER, "Ruby Heart"), ("Jack Spade", "Ace Diamond")]


def test_a_late_name_outweighs_an_early_unknown(report: DemoReport) -> None:
    """An enrolled person who was unknown at first and named later is not listed as unknown."""
    report.take_event(_event("unknown", "lounge", "Ruby Heart", 1.0))
    report.take_event(_event("named", "lounge", "Ruby Heart", 1.5))
    lounge = report.summary(1, {}, None)["cameras"]["lounge"]
    assert [s["who"] for s in lounge["named"]] == ["Ruby Heart"]
    assert lounge["unknown"] == []


def test_latency_is_from_capture_to_arrival(report: DemoReport) -> None:
    """The percentiles are of arrival less the event's own time, of verdicts only."""
    for number in range(100):
        report.take_event(_event("named", "lounge", "Ruby Heart", 1.0), START + timedelta(milliseconds=number))
    report.take_event(_event("left", "lounge", "Ruby Heart", 1.0, verdict="named"), START + timedelta(hours=1))
    assert report.summary(1, {}, None)["latency_ms"] == {"p50": 50.0, "p95": 95.0, "n": 100}
    assert percentile([], 50) is None


def test_in_view_follows_tracks(report: DemoReport) -> None:
    """Who is named stays in view until the track has left; a camera that comes back begins with nobody."""
    report.take_event(_event("named", "lounge", "Ruby Heart", 1.0, track=1))
    report.take_event(_event("unknown", "lounge", TABLE_STRANGER, 1.0, track=2))
    assert report.cameras()["lounge"].in_view == {1: "Ruby Heart", 2: "unknown"}
    report.take_event(_event("left", "lounge", "Ruby Heart", 1.0, track=1, verdict="named"))
    assert report.cameras()["lounge"].in_view == {2: "unknown"}
    report.take_event(_event("camera_up", "lounge", "", 0))
    assert report.cameras()["lounge"].in_view == {}


def test_events_it_does_not_know_are_ignored(report: DemoReport) -> None:
    """Fields, events and cameras are only ever added: what the report does not know changes nothing."""
    report.take_event(replace(_event("named", "lounge", "Ruby Heart", 1.0), camera="another"))
    report.take_event(Sighting(id=1, event="withdrawn", time=START.isoformat(), camera="lounge"))
    report.take_event(replace(_event("camera_up", "lounge", "", 0), event="applauded", more={"loudness": 3}))
    report.take_status(SiteSnapshot("demo", 1, True, 0.0, cameras={"another": CameraStatus(ChildState.RUNNING)}))
    assert report.sightings() == []


def test_memory_of_processes() -> None:
    """Memory is measured of processes that run; one that has ended is left out."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(30)
    memory = process_memory({"this": os.getpid(), "ended": ended.pid})
    assert set(memory) == {"this"}
    assert (memory["this"]["rss_bytes"] or 0) > 10 << 20
    if sys.platform == "linux":
        assert 0 < (memory["this"]["pss_bytes"] or 0) <= (memory["this"]["rss_bytes"] or 0)


# --- what is shown -------------------------------------------------------------------------------------------------

STATUS = CameraStatus(
    ChildState.RUNNING, up=True, frames_per_s=4.98, faces_per_s=15.2, age_p50_ms=81.4, age_p95_ms=160.2
)


def test_without_a_terminal_lines_are_printed(report: DemoReport) -> None:
    """Piped into a file, each verdict is one plain line: no table, no escape sequences."""
    output = io.StringIO()
    with DemoView(report, Console(file=output, width=60)) as view:
        view.event(_event("camera_up", "corridor", "", 0))
        view.event(_event("named", "corridor", "Jack Spade", 1.0))
        view.event(_event("unknown", "corridor", ASTRONAUT, 7.0, score=0.891))
        view.event(_event("left", "corridor", ASTRONAUT, 7.0, verdict="unknown"))
        view.status(SiteSnapshot("demo", 1, True, 0.0, cameras={"corridor": STATUS}))
    assert output.getvalue().splitlines() == [
        "12:00:00  corridor   up",
        "12:00:00  corridor   named    Jack Spade  (score 0.980, 3 frames)",
        "12:00:00  corridor   unknown  (nearest 0.891, 3 frames)",
    ]


def test_on_a_terminal_a_table_lives(report: DemoReport) -> None:
    """On a terminal a table shows state, rates, age, who is in view, and the last verdicts."""
    output = io.StringIO()
    console = Console(file=output, width=140, force_terminal=True, color_system=None)
    with DemoView(report, console) as view:
        view.event(_event("named", "corridor", "Jack Spade", 1.0))
        view.event(_event("unknown", "corridor", TABLE_STRANGER, 1.0, track=2))
        view.event(_event("unknown", "corridor", ASTRONAUT, 7.0, track=3))
        view.status(SiteSnapshot("demo", 1, True, 0.0, cameras={"corridor": STATUS}))
    text = output.getvalue()
    for shown in ("up", "5.0", "15.2", "81 ms", "Jack Spade, 2 unknown", "unknown, unknown, Jack Spade"):
        assert shown in text
    assert "starting" in text  # the other camera has not been heard of


def test_the_table_survives_an_empty_status(report: DemoReport) -> None:
    """Before the first heartbeat the table stands already, with dashes."""
    output = io.StringIO()
    Console(file=output, width=140).print(live_table(report, 0))
    assert "–" in output.getvalue()


def test_the_summary_can_be_read(report: DemoReport) -> None:
    """The end says who was where, the stranger by what it is, wrong names, rates, memory and where the sheet is."""
    report.take_event(_event("named", "lounge", "Ruby Heart", 1.0), START + timedelta(milliseconds=180))
    report.take_event(_event("unknown", "corridor", ASTRONAUT, 7.0), START + timedelta(milliseconds=180))
    report.take_status(SiteSnapshot("demo", 1, True, 0.0, cameras={"lounge": STATUS}))
    output = io.StringIO()
    summary = report.summary(9, {"camera lounge": {"pss_bytes": 150 << 20, "rss_bytes": 300 << 20}}, "[sheet].png")
    print_summary(summary, Console(file=output, width=100))
    for shown in (
        "Ruby Heart",
        "unknown (astronaut)",
        "not yet named: Penny Ante",
        "Wrong names: 0",
        "p50 180 ms",
        "5.0 frames/s, 15.2 faces/s",
        "150 MiB (PSS), 300 MiB (RSS)",
        "Contact sheet: [sheet].png",
    ):
        assert shown in output.getvalue()


def test_the_sheet_shows_each_sighting_as_it_was_seen(scene: Scene, report: DemoReport, tmp_path: Path) -> None:
    """One tile per camera and person or stranger, cut from the clip at the sighting's own time, also in a later lap."""
    lap = scene.duration_s
    report.take_event(_event("named", "corridor", "Clover Day", 1.0, media_time_s=1.0 + 3 * lap))
    report.take_event(_event("unknown", "corridor", ASTRONAUT, 7.0, track=2))
    path = make_sheet(tmp_path / "sheet.png", report.sightings(), scene.cameras, scene.photos, "5 people")
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    tiles = [sheet[112 : 112 + 220, left : left + 220] for left in (28, 28 + 236)]
    frames = dict(_frames(scene.cameras["corridor"], step=FRAMES_PER_S))
    for tile, (who, time_s) in zip(tiles, (("Clover Day", 1.0), (ASTRONAUT, 7.0)), strict=True):
        x1, y1, x2, y2 = (round(side) for side in truth("corridor", time_s)[who])
        face = cv2.resize(frames[time_s][y1:y2, x1:x2], (110, 110))[8:-8, 8:-8, ::-1].astype(np.float32)
        found = cv2.matchTemplate(tile.astype(np.float32), face, cv2.TM_CCOEFF_NORMED)
        assert float(found.max()) > 0.95, f"the tile does not show {who}"


def test_a_link_in_the_sheets_place_is_not_followed(scene: Scene, tmp_path: Path) -> None:
    """The sheet replaces a link that lies at its path, writes through none, and is for its owner alone."""
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    (tmp_path / "sheet.png").symlink_to(victim)
    path = make_sheet(tmp_path / "sheet.png", [], scene.cameras, scene.photos, "nobody")
    assert victim.read_text(encoding="utf-8") == "precious"
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in tmp_path.iterdir()) == ["sheet.png", "victim"]


def test_a_sheet_of_nobody_and_a_path_that_cannot_be(scene: Scene, tmp_path: Path) -> None:
    """A demo that saw nobody still gets its sheet; a path that can't be written is one clear error."""
    assert make_sheet(tmp_path / "empty.jpg", [], scene.cameras, scene.photos, "nobody").stat().st_size > 0
    for bad in (tmp_path / "missing" / "sheet.png", tmp_path / "sheet.unknown"):
        with pytest.raises(TemporaryError, match="--sheet PATH"):
            make_sheet(bad, [], scene.cameras, scene.photos, "nobody")
