"""The limits of a running site: they follow from the risk and the gallery, in every camera at once."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from tests.support.paths import FACES, VIDEOS, needs_data
from tests.support.site_process import SiteProcess, command, command_json
from tests.support.sites import enrol, write_site

pytestmark = needs_data

_CLIP = f'source = "{VIDEOS}/friends_in_video.mp4"\nloop = true'


def _limits(site: SiteProcess, name: str) -> dict[str, Any]:
    camera = site.status()["cameras"][name]
    return {key: camera[key] for key in ("threshold", "threshold_from", "strangers_estimated")}


def test_every_camera_takes_the_limits_that_follow_from_the_gallery_as_it_is(tmp_path: Path) -> None:
    """Six people ask for less than 36 do; two cameras and `calibrate` agree to the last digit shown; what is set by hand stays; another
    risk in site.toml is taken over by SIGHUP."""
    write_site(
        tmp_path,
        {"door": _CLIP, "hall": _CLIP, "yard": f"{_CLIP}\nthreshold = 0.6"},
        "fps = 1.0\nstrangers_named = 0.001",
    )
    enrol(tmp_path, FACES / "friends_enrol")
    with SiteProcess(tmp_path, "--assume-model") as site:
        site.wait_until_ready()
        few = site.wait_for(lambda: (found := _limits(site, "door"))["threshold"] and found, "a camera's limits")
        assert few["threshold_from"] in ("strangers_named", "lowest for the model")
        enrol_answer = command_json(
            tmp_path, "enrol", str(FACES / "lfw_mini"), expect=1
        )  # 19 photos show several people
        assert len(enrol_answer["enrolled"]) > 100
        now = command_json(tmp_path, "calibrate")["now"]
        many = site.wait_for(
            lambda: (found := _limits(site, "door"))["threshold"] == now["threshold"] and found,
            "calibrate's limits of the larger gallery",
        )
        site.wait_for(lambda: _limits(site, "hall") == many, "the same limits in the other camera")
        assert many["threshold"] > few["threshold"]
        assert many["threshold_from"] == now["basis"] == "strangers_named"
        assert abs(many["strangers_estimated"] - 0.001) < 1e-5
        by_hand = _limits(site, "yard")
        assert (by_hand["threshold"], by_hand["threshold_from"]) == (0.6, "set by hand")
        text = (tmp_path / "site.toml").read_text()
        (tmp_path / "site.toml").write_text(text.replace("strangers_named = 0.001", "strangers_named = 0.01"))
        site.process.send_signal(signal.SIGHUP)
        lax = site.wait_for(
            lambda: (found := _limits(site, "door"))["threshold"] not in (None, many["threshold"]) and found,
            "the limits of another risk",
        )
        assert lax["threshold"] < many["threshold"]
        assert abs(lax["strangers_estimated"] - 0.01) < 1e-4


def test_a_threshold_that_names_strangers_is_said_wherever_somebody_looks(tmp_path: Path) -> None:
    """A threshold set by hand that is too low for this gallery, though not far below the model's own: the camera logs it at its start,
    `check` warns of it, with the site running; `status` shows each camera's threshold and where it comes from."""
    write_site(tmp_path, {"door": f"{_CLIP}\nthreshold = 0.36", "hall": _CLIP}, "fps = 1.0\nstrangers_named = 0.001")
    command_json(tmp_path, "enrol", str(FACES / "lfw_mini"), expect=1)  # 19 photos show several people
    warning = "camera door: with this gallery, threshold 0.36 names an estimated share of 0."
    with SiteProcess(tmp_path) as site:
        site.wait_until_ready()
        site.wait_for_log(warning)
        found = site.wait_for(lambda: (found := _limits(site, "hall"))["threshold"] and found, "a camera's limits")
        said = command(tmp_path, "check").stderr
        assert warning in said
        assert "camera hall" not in said
        shown = {line.split()[0]: line for line in command(tmp_path, "status").stdout.splitlines()}
        assert "threshold 0.360 (set by hand)" in shown["door"]
        assert f"threshold {found['threshold']:.3f} (strangers_named)" in shown["hall"]
