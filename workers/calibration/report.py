"""Writes a calibration as text and as JSON: what was found, what is proposed, and what can't be known from it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.calibration.calibration import Calibration
from workers.calibration.false_matches import rates
from workers.recognition.working_point import Limits, Reason, WorkingPoint

_PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)
_REASONS: dict[Reason, str] = {
    "set by hand": "a threshold set by hand wins over strangers_named",
    "strangers_named": "it follows from strangers_named, the model and this gallery",
    "lowest for the model": "so few people could do with less; it is the lowest threshold for this model",
}
_MAX_NAMED = 0.9  # if the proposal names a smaller share of the genuine probes than this, a note says so
_CURVE_POINTS = 121
_ROOM = 0.02  # beyond both ends of the curve
_SHOWN = 10  # pairs and photos in the readable report


class Names:
    """Names for the gallery's rows in a report: their people, and their photos' stored paths."""

    def __init__(self, persons: NDArray[np.int32], names: list[str], photos: dict[int, str | None]) -> None:
        """`persons`: (n,) each row's index into `names`. `photos`: row → stored path, for the rows that the report names."""
        self._persons, self._names, self._photos = persons, names, photos

    def person(self, index: int) -> str:
        return self._names[index]

    def person_of(self, row: int) -> str:
        return self._names[int(self._persons[row])]

    def photo(self, row: int) -> str | None:
        return self._photos.get(row)


def rows_named(found: Calibration) -> set[int]:
    """The rows whose photos a report names."""
    return {row for pair in found.pairs for row in pair.rows} | {one.row for one in found.disagreeing}


def document(found: Calibration, names: Names) -> dict[str, Any]:
    """The report as `calibrate --json` prints it; scores with four decimals."""
    scores, proposal = found.scores, found.proposal
    twins = set(found.one_person)
    return {
        "references": found.references,
        "people": found.people,
        "single_photo_people": found.single_photo_people,
        "probes": {"asked": found.sampled, "left_out": asdict(found.left_out)},
        "genuine": _distribution(scores.own[scores.genuine], scores.people_among(scores.genuine)),
        "strangers": _distribution(scores.first[scores.strangers], scores.people_among(scores.strangers)),
        "now": _in_force(found, found.now),
        "proposed": {
            **_in_force(found, proposal),
            "wanted_rate": found.wanted,
            "lowest_rate_shown": _rounded(lowest_shown(found), 6),
        },
        "table": [_point(found, one) for one in found.table],
        "curve": [_on_curve(found, float(one)) for one in curve_thresholds(found)],
        "look_alikes": [
            {
                "person": names.person_of(pair.rows[0]),
                "photo": names.photo(pair.rows[0]),
                "looks_like": names.person_of(pair.rows[1]),
                "other_photo": names.photo(pair.rows[1]),
                "score": _rounded(pair.score),
                "one_person": tuple(sorted(pair.people)) in twins,
            }
            for pair in found.pairs
        ],
        "disagrees": [
            {
                "person": names.person_of(one.row),
                "photo": names.photo(one.row),
                "score": _rounded(one.own),
                "looks_like": None if one.other_person is None else names.person(one.other_person),
                "other_score": _rounded(one.other),
            }
            for one in found.disagreeing
        ],
        "notes": notes(found),
    }


def notes(found: Calibration) -> list[str]:
    """Notes on what the figures are based on, and on what they can't show."""
    lines = [f"the limits in force: {_REASONS[found.now.reason]}"]
    strangers = int(found.scores.strangers.sum())
    people = found.scores.people_among(found.scores.strangers)
    lowest = lowest_shown(found)
    if lowest is None:
        lines.append("a false match needs two people: with fewer nothing can be measured, the model's own law holds")
    else:
        lines.append(
            f"{strangers} strangers' photos of {people} people can't show a rate below {lowest:.2g} (3 in {strangers}); "
            f"the law of false matches goes on from there, moved by {found.proposal.strangers.shift:+.3f} for this gallery"
        )
    if found.sampled < found.references:
        lines.append(
            f"only a sample of {found.sampled} of {found.references} references was compared: pairs and photos may be missing; --all compares all"
        )
    if found.single_photo_people:
        lines.append(
            f"{found.single_photo_people} of {found.people} people have one photo: whether they would be named can't be known"
        )
    if found.left_out.copies or found.left_out.disagreeing:
        lines.append(
            f"left out of the figures: {found.left_out.copies} copies of another photo, {found.left_out.disagreeing} that disagree with their person"
        )
    if found.one_person:
        lines.append(
            f"pairs that look like one person under two names, counted as one here: {len(found.one_person)}; "
            "if they are one person, forget one name; if not, use --apart"
        )
    right = rates(found.scores, found.proposal.point).named_right
    if right is not None and right < _MAX_NAMED:
        lines.append(
            f"the proposed limits name {right:.0%} of the photos only: a higher strangers_named (--fmr) names more"
        )
    lines.append(
        "measured on enrolled photos, each by itself: a camera's crops score lower, its votes name fewer strangers"
    )
    return lines


def text(found: Calibration, names: Names) -> list[str]:
    """The report as readable lines."""
    lines = [f"{found.references} references of {found.people} people", *(f"  {line}" for line in notes(found)), ""]
    lines += _percentile_lines(found)
    lines += ["  threshold  margin  strangers named (at most)  named right   wrong  uncertain  unknown"]
    marks = {found.proposal.point: "proposed", found.now.point: "now"}
    if found.proposal.point == found.now.point:
        marks = {found.now.point: "now and proposed"}
    points = sorted({*found.table, *marks}, key=lambda one: (one.threshold, one.margin))
    lines += [_table_line(found, one, marks.get(one, "")) for one in points]
    if found.pairs:
        lines += ["", "people who look most alike"]
        lines += [
            f"  {pair.score:.2f}  {names.person_of(pair.rows[0])} ({names.photo(pair.rows[0]) or 'no photo kept'})"
            f" and {names.person_of(pair.rows[1])} ({names.photo(pair.rows[1]) or 'no photo kept'})"
            + ("  one person under two names?" if tuple(sorted(pair.people)) in found.one_person else "")
            for pair in found.pairs[:_SHOWN]
        ]
    if found.disagreeing:
        lines += ["", f"photos that disagree with their person: {len(found.disagreeing)}"]
        lines += [
            f"  {one.own:.2f}  {names.person_of(one.row)} ({names.photo(one.row) or 'no photo kept'})"
            + ("" if one.other_person is None else f"; {one.other:.2f} with {names.person(one.other_person)}")
            for one in found.disagreeing[:_SHOWN]
        ]
        lines += ["  to set such a photo aside: python supervisor.py people NAME --set-aside PHOTO"]
    point = found.proposal.point
    lines += ["", f"strangers_named = {found.wanted:g} gives, in this gallery as it is now:"]
    return [*lines, f"  threshold {point.threshold:.3f}", f"  margin {point.margin:g}"]


def curve_thresholds(found: Calibration) -> NDArray[np.float64]:
    """The thresholds of the curve, in equal steps: from where most strangers would be named to where most people would not."""
    scores = found.scores
    now, proposed = found.now.point.threshold, found.proposal.point.threshold
    strangers, genuine = scores.first[scores.strangers], scores.own[scores.genuine]
    low, high = [now, proposed], [now, proposed]
    if len(strangers):
        low.append(float(np.percentile(strangers, 25)))
    if len(genuine):
        high.append(float(np.percentile(genuine, 75)))
    return np.linspace(max(0.0, min(low) - _ROOM), min(1.0, max(high) + _ROOM), _CURVE_POINTS)


def _on_curve(found: Calibration, threshold: float) -> dict[str, Any]:
    point = WorkingPoint(round(threshold, 4), found.now.point.margin)
    return {**_point(found, point), "strangers_estimated": _rounded(found.now.strangers.share_reaching(threshold), 9)}


def lowest_shown(found: Calibration) -> float | None:
    """The lowest rate of strangers named that the probes can prove, 3/N; None without probes."""
    strangers = int(found.scores.strangers.sum())
    return 3 / strangers if strangers else None


def _percentile_lines(found: Calibration) -> list[str]:
    scores = found.scores
    rows = (("strangers", scores.first[scores.strangers]), ("genuine", scores.own[scores.genuine]))
    lines = [f"  {'percentile':<12}" + "".join(f"{one:>7}" for one in _PERCENTILES)]
    for kind, values in rows:
        shown = [f"{value:7.3f}" for value in np.percentile(values, _PERCENTILES)] if len(values) else ["   none"]
        lines.append(f"  {kind:<12}" + "".join(shown))
    return [*lines, ""]


def _table_line(found: Calibration, point: WorkingPoint, mark: str) -> str:
    got = rates(found.scores, point)
    cells = [_percent(got.named_right, 11), _percent(got.named_wrong, 8), _percent(got.uncertain, 11)]
    strangers = f"{_percent(got.strangers_named, 15)} ({_percent(got.strangers_at_most, 7)})"
    line = f"  {point.threshold:9.3f}  {point.margin:6.3f} {strangers}  {''.join(cells)}{_percent(got.unknown, 9)}"
    return f"{line}  {mark}".rstrip()


def _percent(value: float | None, width: int) -> str:
    return f"{'-' if value is None else f'{value:.2%}':>{width}}"


def _point(found: Calibration, point: WorkingPoint) -> dict[str, Any]:
    got = {name: _rounded(value, 6) for name, value in asdict(rates(found.scores, point)).items()}
    return {"threshold": _rounded(point.threshold), "margin": point.margin, **got}


def _in_force(found: Calibration, one: Limits) -> dict[str, Any]:
    estimated = one.strangers.share_reaching(one.point.threshold)
    return {**_point(found, one.point), "basis": one.reason, "strangers_estimated": _rounded(estimated, 6)}


def _distribution(values: NDArray[np.float32], people: int) -> dict[str, Any]:
    """The number of scores, their percentiles, and their histogram."""
    counts, edges = np.histogram(values, np.round(np.arange(-1.0, 1.0001, 0.02), 2))
    used = np.flatnonzero(counts)
    bins = slice(used[0], used[-1] + 1) if len(used) else slice(0, 0)
    return {
        "count": len(values),
        "people": people,
        "percentiles": {str(p): _rounded(float(np.percentile(values, p))) for p in _PERCENTILES} if len(values) else {},
        "histogram": {
            "bin_width": 0.02,
            "from": _rounded(float(edges[bins][0])) if len(used) else None,
            "counts": counts[bins].tolist(),
        },
    }


def _rounded(value: float | None, decimals: int = 4) -> float | None:
    return None if value is None else round(value, decimals)
