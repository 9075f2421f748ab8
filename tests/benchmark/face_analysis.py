"""What most projects run, for `tests.benchmark.cameras`: every frame through insightface's FaceAnalysis, argmax, a threshold.

`python -m tests.benchmark.face_analysis CLIP GALLERY`: prints one JSON object. GALLERY: a folder of photos, or of folders of them.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from tests.benchmark.timing import one_thread
from tests.support.paths import SMALL_PACK

_THRESHOLD, _MARGIN = 0.45, 0.05


def main(clip: str, gallery: str) -> None:
    one_thread()
    warnings.filterwarnings("ignore", category=FutureWarning)
    cv2.setNumThreads(1)
    analysis = _analysis()
    people = _people(analysis, Path(gallery))
    video, frames = cv2.VideoCapture(clip, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1]), []
    began = time.process_time()
    while True:
        ok, image = video.read()
        if not ok:
            break
        faces = [_name(people, face.normed_embedding) for face in analysis.get(image)]
        frames.append((video.get(cv2.CAP_PROP_POS_MSEC) / 1000, [name for name in faces if name]))
    spent_s = time.process_time() - began
    pss_mb = psutil.Process().memory_full_info().pss / 1e6
    sys.stdout.write(json.dumps({"cpu_s": spent_s, "pss_mb": pss_mb, "frames": frames}) + "\n")


def _analysis() -> Any:
    import onnxruntime
    from insightface.app import FaceAnalysis

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    tasks = ["detection", "recognition"]
    analysis = FaceAnalysis(
        str(SMALL_PACK), allowed_modules=tasks, providers=["CPUExecutionProvider"], sess_options=options
    )
    analysis.prepare(0, det_size=(640, 640))
    return analysis


def _people(analysis: Any, gallery: Path) -> dict[str, Any]:
    """Name to references (n, dim): of each photo the largest face."""
    found: dict[str, list[Any]] = {}
    for photo in sorted(path for path in gallery.rglob("*") if path.is_file()):
        faces = analysis.get(cv2.imread(str(photo)))
        name = photo.stem if photo.parent == gallery else photo.parent.name
        if faces:
            largest = max(faces, key=lambda face: (face.bbox[2] - face.bbox[0]) * (face.bbox[3] - face.bbox[1]))
            found.setdefault(name, []).append(largest.normed_embedding)
    return {name: np.stack(embeddings) for name, embeddings in found.items()}


def _name(people: dict[str, Any], probe: Any) -> str | None:
    scores = sorted(((float((references @ probe).max()), name) for name, references in people.items()), reverse=True)
    if scores[0][0] < _THRESHOLD or (len(scores) > 1 and scores[0][0] - scores[1][0] < _MARGIN):
        return None
    return scores[0][1]


if __name__ == "__main__":
    main(*sys.argv[1:])
