"""What runs the models: the processor, or an accelerator that the installed onnxruntime has an execution provider for.

What was asked for and is not there is an error. onnxruntime itself would go on with the processor, and say so only in its own log.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Collection
from typing import Any

from shared.errors import ConfigurationError, RollcallError, TemporaryError

CPU, AUTO = "cpu", "auto"
PROVIDERS = {
    CPU: "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
# What "auto" takes, best first. Not Core ML: it is in every wheel for macOS, and compiles anew for each size of picture.
_TAKEN_BY_AUTO = ("cuda", "openvino")
# The input's size differs from camera to camera: an exhaustive search for the best algorithm would take seconds for each new one.
_OPTIONS: dict[str, dict[str, str]] = {
    "cuda": {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"},
}
_WHEELS = {"cuda": "onnxruntime-gpu", "openvino": "onnxruntime-ep-openvino", "coreml": "onnxruntime"}
# A package beside onnxruntime that brings a provider as a plug-in, and the kinds of devices in it, best first.
_PLUGIN, _PLUGIN_NAME, _PLUGIN_DEVICES = "onnxruntime_ep_openvino", "rollcall-openvino", ("GPU", "CPU")
_EXCHANGE = "docs/operating.md#an-accelerator says how the wheel is exchanged"
# Parts of what onnxruntime says, in lower case, when a device has no memory left, or is gone.
_PASSING = ("out of memory", "failed to allocate", "smaller than requested", "bad_alloc", "bad allocation")


def providers_for(device: str) -> list[tuple[str, dict[str, str]]]:
    """The execution providers for a device, best first, as onnxruntime takes them. The processor runs what an accelerator can't."""
    chosen = [device] if device == CPU else [device, CPU]
    return [(PROVIDERS[one], _OPTIONS.get(one, {})) for one in chosen]


def use_plugins() -> list[str]:
    """Register the providers that are installed as plug-ins, once in a process. Returns all execution providers that there are."""
    import onnxruntime

    names: list[str] = onnxruntime.get_available_providers()
    if PROVIDERS["openvino"] in names or importlib.util.find_spec(_PLUGIN) is None:
        return names
    plugin = importlib.import_module(_PLUGIN)
    try:
        onnxruntime.register_execution_provider_library(_PLUGIN_NAME, plugin.get_library_path())
    except (AttributeError, RuntimeError, OSError):  # an onnxruntime that is too old for it, or a library that it lacks
        return names
    return list(onnxruntime.get_available_providers())


def plugin_devices(device: str, threads: int) -> tuple[list[Any], dict[str, str]]:
    """The devices of a plug-in's provider for `device`, and its options; none if the provider is none of a plug-in's.

    `threads`: how many it may use on the processor.
    """
    import onnxruntime

    if device != "openvino" or not hasattr(onnxruntime, "get_ep_devices"):
        return [], {}
    found = [one for one in onnxruntime.get_ep_devices() if one.ep_name == PROVIDERS[device]]
    for kind in _PLUGIN_DEVICES:
        chosen = [one for one in found if one.ep_metadata.get("ov_device", "").partition(".")[0] == kind]
        if chosen:
            # By itself OpenVINO computes with half the digits where a processor can do so: embeddings then differ by a cosine of .001.
            wanted = {"INFERENCE_PRECISION_HINT": "f32"}
            if kind == "CPU":
                wanted["INFERENCE_NUM_THREADS"] = str(threads)
            return chosen[:1], {"load_config": json.dumps({kind: wanted})}
    return [], {}


def devices_here(wanted: str, engine: str) -> list[str]:
    """The devices that this machine's onnxruntime may use for the setting `wanted`, best first. `engine`: dlib runs on the processor only.

    Raises ConfigurationError when there is none that was asked for.
    """
    if engine == "dlib":
        return [CPU]
    return devices_to_try(wanted, use_plugins())


def devices_to_try(wanted: str, available: Collection[str]) -> list[str]:
    """The devices to try for the setting `wanted`, best first. `available`: the execution providers of the installed onnxruntime.

    Raises ConfigurationError when it has none for the device that was asked for.
    """
    if wanted == AUTO:
        return [*(device for device in _TAKEN_BY_AUTO if PROVIDERS[device] in available), CPU]
    if PROVIDERS[wanted] not in available:
        raise ConfigurationError(
            f"the installed onnxruntime can't use {wanted}",
            where="[recognition] device",
            got=", ".join(sorted(available)),
            expected=f"{PROVIDERS[wanted]}, which the package {_WHEELS[wanted]} has",
            remedy=f'{_EXCHANGE}; or set device = "auto" or "cpu"',
        )
    return [wanted]


def device_fault(device: str, error: Exception | str) -> RollcallError:
    """The error for a device that could not be used. Without memory, or gone: temporary. Never there: a fault of the configuration."""
    text = (str(error) or type(error).__name__).splitlines()[0][:300]
    if device == CPU or is_passing(text):
        return TemporaryError(
            f"the models could not be run on {device}",
            where="[recognition] device",
            got=text,
            remedy="it is tried again; if it stays so: fewer cameras, a smaller model, or free the device's memory",
        )
    return ConfigurationError(
        f"{device} can't be used",
        where="[recognition] device",
        got=text,
        expected="a device with its driver and libraries, which the service may open",
        remedy='docs/operating.md#an-accelerator lists what it needs; or set device = "auto" or "cpu"',
    )


def is_passing(text: str) -> bool:
    """Whether onnxruntime's message tells of a lack of memory, which may pass."""
    return any(part in text.lower() for part in _PASSING)


def lost_device(device: str, error: Exception) -> TemporaryError:
    """The error for a device that worked and then failed: it has no memory left, or is gone. The process has to start anew."""
    return TemporaryError(
        f"the models could not be run on {device}",
        where="[recognition] device",
        got=(str(error) or type(error).__name__).splitlines()[0][:300],
        remedy="it is tried again; if it stays so, look at the device and its memory",
    )


def installed_runtimes() -> list[str]:
    """The installed packages that bring onnxruntime. They overwrite each other's files, so there must be one."""
    from importlib.metadata import distributions  # with zipfile and email; a camera with a shared engine runs no model

    names = {str(one.metadata["Name"] or "").lower().replace("_", "-") for one in distributions()}
    return sorted(
        name for name in names if name == "onnxruntime" or (name.startswith("onnxruntime-") and _is_runtime(name))
    )


def _is_runtime(name: str) -> bool:
    """Whether a package with such a name brings the module `onnxruntime`, and not something beside it."""
    return name.removeprefix("onnxruntime-") in (
        "gpu",
        "openvino",
        "directml",
        "silicon",
        "rocm",
        "migraphx",
        "qnn",
        "training",
    )


def runtime_fault(runtimes: Collection[str] | None = None) -> ConfigurationError | None:
    """The error for several installed runtimes, or None. `runtimes`: their packages; None: those that are installed."""
    found = installed_runtimes() if runtimes is None else sorted(runtimes)
    if len(found) < 2:
        return None
    return ConfigurationError(
        "several packages bring onnxruntime, and overwrite each other's files",
        where="[recognition] device",
        got=", ".join(found),
        expected="one of them",
        remedy=f"uninstall all of them, and install one again: {_EXCHANGE}",
    )


def device_of(session: Any) -> str:
    """The device that an onnxruntime session uses first."""
    first = session.get_providers()[0]
    return next((device for device, provider in PROVIDERS.items() if provider == first), first)
