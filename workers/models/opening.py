"""The configured engine, opened: the one place that chooses between the recognisers."""

from __future__ import annotations

from shared.settings.schema import Settings
from workers.recognition.engine import Engine


def open_engine(settings: Settings, *, det_size: int, threads: int, least_face_px: int | None = None) -> Engine:
    """The configured engine, ready to run within `threads` CPU threads. `least_face_px`: narrower faces need not be found.

    Raises ConfigurationError when its package or its model is missing or unfit, with what to put where.
    """
    if settings.recognition.engine == "dlib":
        from workers.recognizer_dlib import DlibEngine

        return DlibEngine(det_size=det_size)
    from workers.recognizer_arcface import ArcFaceEngine

    pack = settings.models_dir / settings.model
    return ArcFaceEngine(pack, det_size=det_size, threads=threads, least_face_px=least_face_px)
