"""Packs that anybody may use, known by name: where their makers publish the files, and what they are (pack_file.py).

The sums are those that public projects pin. SFace: models/face_recognition_sface of github.com/opencv/opencv_zoo (its Git LFS pointer) and
two programs that fetch it. YuNet: the same zoo's pointer, and a file that we have. AuraFace: three projects that fetch glintr100.onnx from
fal/AuraFace-v1 on Hugging Face agree. fal publishes it together with InsightFace's detector det_10g, which is not free for all uses. So
our pack has YuNet in its place.

No threshold of these packs was measured by us: their files can't be had where we measure.
"""

from __future__ import annotations

from typing import NamedTuple

from workers.recognition.pack_file import DetectorEntry, PackFile, RecogniserEntry
from workers.recognition.pixels import AS_THEY_ARE, Pixels
from workers.recognition.yunet import PIXELS as YUNET_PIXELS

_ZOO = "https://github.com/opencv/opencv_zoo/raw/47534e27c9851bb1128ccc0102f1145e27f23f98/models/"


class PublishedFile(NamedTuple):
    """One file of a pack. `size_bytes`: exactly."""

    name: str
    url: str
    size_bytes: int


class FreePack(NamedTuple):
    says: PackFile
    files: tuple[PublishedFile, PublishedFile]


_YUNET = PublishedFile(
    "face_detection_yunet_2026may.onnx", _ZOO + "face_detection_yunet/face_detection_yunet_2026may.onnx", 229_738
)
_SFACE = PublishedFile(
    "face_recognition_sface_2021dec.onnx",
    _ZOO + "face_recognition_sface/face_recognition_sface_2021dec.onnx",
    38_696_353,
)
_AURAFACE = PublishedFile(
    "glintr100.onnx",
    "https://huggingface.co/fal/AuraFace-v1/resolve/af6d057c9b0ec4071d4c49c80e3539258798b609/glintr100.onnx",
    260_694_151,
)
_YUNET_ENTRY = DetectorEntry(
    _YUNET.name, "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0", "yunet", YUNET_PIXELS
)

FREE_PACKS = {
    "opencv": FreePack(
        PackFile(
            licence="YuNet: MIT; SFace: Apache-2.0",
            commercial_use=True,
            source="https://github.com/opencv/opencv_zoo",
            threshold=0.55,
            margin=0.05,
            measured="not by us: OpenCV's threshold for pairs, 0.363, scaled to galleries",
            detector=_YUNET_ENTRY,
            recogniser=RecogniserEntry(
                _SFACE.name, "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79", 112, 128, AS_THEY_ARE
            ),
        ),
        (_YUNET, _SFACE),
    ),
    "auraface": FreePack(
        PackFile(
            licence="YuNet: MIT; AuraFace: Apache-2.0",
            commercial_use=True,
            source="https://huggingface.co/fal/AuraFace-v1",
            threshold=0.45,
            margin=0.05,
            measured="not by us: the default of its kind of model",
            detector=_YUNET_ENTRY,
            recogniser=RecogniserEntry(
                _AURAFACE.name,
                "a7933ea5330113b01c9b60351d8f4c33003f145d8470ac5f0e52ee2effe25c60",
                112,
                512,
                Pixels(127.5, 127.5),
            ),
        ),
        (_YUNET, _AURAFACE),
    ),
}
