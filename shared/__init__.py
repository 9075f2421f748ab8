"""What every Rollcall process shares: settings, the store, the gallery block, the match. Knows no worker."""

import os

# Nothing leaves the box unasked, and nothing is left in HOME. Libraries read these when they are loaded, so they are set
# here: every process of ours imports `shared` before any library, also one that was started by hand, and passes them on.
# onnxruntime from 1.29 on reports to its maker by default, with a device id and a database in HOME; this variable is its
# full opt-out (https://github.com/microsoft/onnxruntime/pull/27379).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# OpenCV keeps what it compiles for OpenCL in ~/.cache/opencv; nothing here computes with OpenCL.
os.environ["OPENCV_OPENCL_CACHE_ENABLE"] = "0"
# A dependency may bring albumentations, which asks the network for a newer version of itself when it is imported.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
