"""Opens the configured engine. Only this module chooses between the recognisers; a recogniser imports its library when it is
constructed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shared.settings.engine_choice import EngineChoice, unfit_for_dlib
from workers import recognizer_dlib
from workers.recognition.engine import Engine
from workers.recognition.pack import read_pack

if TYPE_CHECKING:
    from workers.recognizer_arcface import ArcFaceEngine
    from workers.recognizer_dlib import DlibEngine


def engine_class(choice: EngineChoice) -> type[ArcFaceEngine] | type[DlibEngine]:
    """The class of the configured engine: its `points` and `appearance` can be read without loading a model."""
    if choice.engine == recognizer_dlib.ENGINE:
        return recognizer_dlib.DlibEngine
    from workers.recognizer_arcface import ArcFaceEngine  # onnxruntime

    return ArcFaceEngine


class OwnPoint(NamedTuple):
    """What is known of the configured model without loading it: the fingerprint, and its own threshold and margin, raw cosines."""

    fingerprint: str
    threshold: float
    margin: float


def own_point(choice: EngineChoice) -> OwnPoint:
    """The configured model's own threshold and margin. Raises ConfigurationError when it is missing or unfit."""
    if choice.engine == recognizer_dlib.ENGINE:
        return OwnPoint(recognizer_dlib.dlib_fingerprint(), recognizer_dlib.THRESHOLD, recognizer_dlib.MARGIN)
    from workers.recognizer_arcface import working_point

    pack = read_pack((choice.models_dir / choice.model).absolute())
    threshold, margin, _ = working_point(pack)
    return OwnPoint(pack.fingerprint(), threshold, margin)


def open_engine(
    choice: EngineChoice,
    *,
    det_size: int,
    threads: int,
    least_face_px: int | None = None,
    device: str | None = None,
) -> Engine:
    """The configured engine, ready to run with `threads` CPU threads.

    `det_size`: the longer side of the detector's input, pixels. `least_face_px`: narrower faces need not be found. `device`: what runs it;
    None: what the settings say.
    Raises ConfigurationError when its package, its model or its device is missing or unfit; the remedy says what to put where.
    """
    device = choice.device if device is None else device
    if choice.engine == recognizer_dlib.ENGINE:
        if (fault := unfit_for_dlib(choice)) is not None:
            raise fault
        return recognizer_dlib.DlibEngine(det_size=det_size)
    from workers.recognizer_arcface import ArcFaceEngine

    pack = choice.models_dir / choice.model
    return ArcFaceEngine(pack, det_size=det_size, threads=threads, least_face_px=least_face_px, device=device)
