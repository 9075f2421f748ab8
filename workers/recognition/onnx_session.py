"""Opens and runs onnxruntime sessions: with a limited number of threads, on the device that was asked for, and with one exception for every
fault of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workers.recognition.devices import (
    CPU,
    device_fault,
    device_of,
    is_passing,
    lost_device,
    plugin_devices,
    providers_for,
)


class UnfitGraphError(ValueError):
    """onnxruntime can't run the file."""


def open_session(path: Path, *, threads: int, device: str = CPU) -> Any:
    """A session for one ONNX file that uses `threads` CPU threads. `device`: a key of `devices.PROVIDERS`.

    Raises UnfitGraphError when onnxruntime can't run the file; ConfigurationError or TemporaryError when it can't use the device.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    # By default onnxruntime's threads spin while they wait, which takes cores from other cameras (6 ms of a 34 ms detection).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    unfit, failed = _exceptions()
    if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # CUDA and cuDNN, if they came as Python packages
    plugged, plugin_options = plugin_devices(device, threads)
    if plugged:
        options.add_provider_for_devices(plugged, plugin_options)
    providers = None if plugged else providers_for(device)
    try:
        # Without fallback: with it, a device that fails is silently replaced by the processor, also later, at a run.
        session = onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except unfit as error:
        raise UnfitGraphError(str(error) or type(error).__name__) from error
    except failed as error:
        if device == CPU and not is_passing(str(error)):
            raise UnfitGraphError(str(error) or type(error).__name__) from error
        raise device_fault(device, error) from error
    if device_of(session) != device:
        raise device_fault(device, "onnxruntime could not load its provider; its log says why")
    return session


def run_session(session: Any, outputs: Sequence[str] | None, inputs: Mapping[str, Any]) -> list[Any]:
    """The outputs for these inputs. Raises TemporaryError when the device has no memory left, or is gone."""
    unfit, failed = _exceptions()
    try:
        found: list[Any] = session.run(outputs, inputs)
    except (*unfit, *failed) as error:
        device = device_of(session)
        if device == CPU and not is_passing(str(error)):
            raise
        raise lost_device(device, error) from error
    return found


_Kinds = tuple[type[Exception], ...]


def _exceptions() -> tuple[_Kinds, _Kinds]:
    """onnxruntime's exceptions, which have no common base class: those of a file that is unfit, and those of all else that fails."""
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    unfit: _Kinds = (
        native.InvalidArgument,
        native.InvalidGraph,
        native.InvalidProtobuf,
        native.NoModel,
        native.NoSuchFile,
        native.NotImplemented,
    )
    return unfit, (native.Fail, native.EPFail, native.RuntimeException, RuntimeError, ValueError)
