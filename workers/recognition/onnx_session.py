"""Opens onnxruntime sessions with a limited number of threads, and with one exception for every fault of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


class UnfitGraphError(ValueError):
    """onnxruntime can't run the file."""


def open_session(path: Path, *, threads: int, providers: Sequence[str] = ("CPUExecutionProvider",)) -> Any:
    """A session for one ONNX file that uses `threads` CPU threads. Raises UnfitGraphError when onnxruntime can't run the file."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    # By default onnxruntime's threads spin while they wait, which takes cores from other cameras (6 ms of a 34 ms detection).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # onnxruntime's exceptions have no common base class.
    refusals = (
        native.Fail,
        native.InvalidArgument,
        native.InvalidGraph,
        native.InvalidProtobuf,
        native.NoModel,
        native.NoSuchFile,
        native.NotImplemented,
        native.RuntimeException,
        RuntimeError,
    )
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=list(providers))
    except refusals as error:
        raise UnfitGraphError(str(error) or type(error).__name__) from error


def best_providers() -> list[str]:
    """The execution providers to use, best first: CUDA if onnxruntime has it, then the CPU."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
