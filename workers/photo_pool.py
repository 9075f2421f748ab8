"""Many photos to embeddings, on every core: processes with an engine each, since one engine keeps one core busy."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.errors import RefusedError
from shared.settings import Settings
from workers.child import die_with_parent
from workers.engines import Engine, open_engine
from workers.enrolment import embed_photo, enrolment_gate, refusal_reason
from workers.quality import Gate

_FEW = 6  # photos: below it a process's start costs more than it saves
_QUEUED_PER_PROCESS = 4

_engine: Engine | None = None
_gate: Gate | None = None


@dataclass(frozen=True)
class PhotoResult:
    """One photo's outcome: its `embedding` (dim,) float32, or the `reason` why there is none."""

    photo: Path
    embedding: NDArray[np.float32] | None
    reason: str | None


def embed_photos(
    settings: Settings, engine: Engine, photos: Iterable[Path], *, gated: bool = False
) -> Iterator[PhotoResult]:
    """The photos' results as they are ready, in any order; `engine` embeds a few, processes of their own many.

    `gated`: refuse what is unfit to become a reference; without, photos that are references already are embedded anew.
    """
    listed = list(photos)
    processes = min(os.cpu_count() or 1, max(1, len(listed) // _FEW))
    if processes == 1:
        for photo in listed:
            yield _embed(engine, photo, _gate_for(engine, settings) if gated else None)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, _open, (settings.to_json(), os.getpid(), gated)) as pool:
        remaining = iter(listed)
        pending: set[Future[PhotoResult]] = set()
        while True:
            while len(pending) < processes * _QUEUED_PER_PROCESS and (following := next(remaining, None)) is not None:
                pending.add(pool.submit(_embed_in_process, following))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def _open(document: dict[str, object], parent: int, gated: bool) -> None:
    global _engine, _gate  # noqa: PLW0603  # a pool's processes keep their engine between photos
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the command, which ends the pool
    die_with_parent(parent)
    settings = Settings.from_json(document)
    _engine = open_engine(settings, det_size=settings.recognition.det_size, threads=1)
    _gate = _gate_for(_engine, settings) if gated else None


def _gate_for(engine: Engine, settings: Settings) -> Gate:
    return enrolment_gate(engine, settings.recognition.min_face_px)


def _embed_in_process(photo: Path) -> PhotoResult:
    assert _engine is not None  # _open ran first
    return _embed(_engine, photo, _gate)


def _embed(engine: Engine, photo: Path, gate: Gate | None) -> PhotoResult:
    try:
        return PhotoResult(photo, embed_photo(engine, photo, gate).embedding, None)
    except RefusedError as error:
        return PhotoResult(photo, None, refusal_reason(error))
