"""Draws a calibration as an SVG: the distributions of genuine and strangers' scores, and the thresholds as lines."""

from __future__ import annotations

from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 20, 64, 52
_BINS = 60
_GENUINE, _STRANGERS, _NOW, _PROPOSED = "#0b6e4f", "#c1440e", "#555555", "#1d3c78"
_LABEL_SPACE = 0.72  # of the width; a line further right than this has its label on its left side


def svg(
    genuine: NDArray[np.float32], strangers: NDArray[np.float32], *, now: float, proposed: float, title: str
) -> str:
    """An SVG document: histograms of the `genuine` and `strangers` scores, (n,) and (m,) float32, with the thresholds `now` and
    `proposed` as lines."""
    everything = np.concatenate([genuine, strangers, np.array([now, proposed], np.float32)])
    low = float(np.floor(everything.min() * 20 - 0.5) / 20)
    high = min(1.0, float(np.ceil(everything.max() * 20 + 0.5) / 20))
    edges = np.linspace(low, high, _BINS + 1)
    shares = [np.histogram(one, edges)[0] / max(1, len(one)) for one in (genuine, strangers)]
    most = max(float(one.max()) for one in shares) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="14">{escape(title)}</text>',
        _legend(0, _STRANGERS, f"strangers: best score of {len(strangers)} photos without their person"),
        _legend(1, _GENUINE, f"genuine: best score of {len(genuine)} photos with their person's others"),
        *_axes(low, high, most),
        _steps(edges, shares[1], low, high, most, _STRANGERS),
        _steps(edges, shares[0], low, high, most, _GENUINE),
        _line(now, low, high, _NOW, f"now {now:.3f}", 12, dashes="5 4"),
        _line(proposed, low, high, _PROPOSED, f"proposed {proposed:.3f}", 28, dashes=""),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _x(score: float, low: float, high: float) -> float:
    return _LEFT + (score - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float, most: float) -> float:
    return _HEIGHT - _BOTTOM - share / most * (_HEIGHT - _TOP - _BOTTOM)


def _steps(
    edges: NDArray[np.float64], shares: NDArray[np.float64], low: float, high: float, most: float, colour: str
) -> str:
    points = [(edges[0], 0.0)]
    for left, right, share in zip(edges[:-1], edges[1:], shares, strict=True):
        points += [(left, share), (right, share)]
    points.append((edges[-1], 0.0))
    path = " ".join(f"{_x(float(x), low, high):.1f},{_y(float(y), most):.1f}" for x, y in points)
    return f'<polygon points="{path}" fill="{colour}" fill-opacity="0.3" stroke="{colour}"/>'


def _axes(low: float, high: float, most: float) -> list[str]:
    bottom = _HEIGHT - _BOTTOM
    parts = [f'<line x1="{_LEFT}" y1="{bottom}" x2="{_WIDTH - _RIGHT}" y2="{bottom}" stroke="black"/>']
    step = 0.1 if high - low > 0.4 else 0.02
    for i in range(int(np.ceil(low / step - 1e-6)), int(np.floor(high / step + 1e-6)) + 1):
        x = _x(i * step, low, high)
        parts.append(f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 5}" stroke="black"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{i * step:.2f}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 12}" text-anchor="middle">score (cosine)</text>')
    parts.append(f'<text x="{_LEFT - 6}" y="{_y(most, most) + 4:.1f}" text-anchor="end">{most:.0%}</text>')
    parts.append(f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">0</text>')
    return parts


def _legend(place: int, colour: str, text: str) -> str:
    x = _LEFT + place * 350
    box = f'<rect x="{x}" y="34" width="12" height="12" fill="{colour}" fill-opacity="0.3" stroke="{colour}"/>'
    return f'{box}<text x="{x + 18}" y="45" font-size="11">{escape(text)}</text>'


def _line(score: float, low: float, high: float, colour: str, text: str, down: int, *, dashes: str) -> str:
    x = _x(score, low, high)
    side = ("end", -5) if x > _WIDTH * _LABEL_SPACE else ("start", 5)
    line = f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_HEIGHT - _BOTTOM}" stroke="{colour}" stroke-dasharray="{dashes}"/>'
    label = (
        f'<text x="{x + side[1]:.1f}" y="{_TOP + down}" text-anchor="{side[0]}" fill="{colour}">{escape(text)}</text>'
    )
    return line + label
