"""What all Rollcall processes share: settings, the store, the gallery block, the match and more. It imports no worker."""

import os

# No library may send data from this machine unasked, or leave files in HOME. Libraries read these variables when they are loaded. So they
# are set here: every process of ours imports `shared` before any library, even if it was started by hand. Children inherit them.
# From version 1.29 on, onnxruntime reports to its maker by default, with a device id and a database in HOME. This variable switches all
# of that off (https://github.com/microsoft/onnxruntime/pull/27379).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# OpenCV stores what it compiles for OpenCL in ~/.cache/opencv. Nothing here computes with OpenCL.
os.environ["OPENCV_OPENCL_CACHE_ENABLE"] = "0"
# A dependency may install albumentations. When that is imported, it asks the network for a newer version of itself.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
