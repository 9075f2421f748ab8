"""What runs the models: what was asked for, or one clear error; never the processor in its place without a word."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from shared.errors import ConfigurationError, TemporaryError
from workers.recognition import devices, onnx_session
from workers.recognition.devices import device_fault, devices_to_try, providers_for, runtime_fault
from workers.recognition.onnx_session import open_session, run_session

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.mark.parametrize(
    ("wanted", "available", "expected"),
    [
        ("auto", [_CPU], ["cpu"]),
        ("auto", [_CUDA, _CPU], ["cuda", "cpu"]),
        ("auto", ["CoreMLExecutionProvider", _CPU], ["cpu"]),
        ("cpu", [_CUDA, _CPU], ["cpu"]),
        ("cuda", [_CUDA, _CPU], ["cuda"]),
        ("coreml", ["CoreMLExecutionProvider", _CPU], ["coreml"]),
    ],
)
def test_which_devices_are_tried(wanted: str, available: list[str], expected: list[str]) -> None:
    """Only "auto" has a second choice."""
    assert devices_to_try(wanted, available) == expected


@pytest.mark.parametrize("wanted", ["cuda", "openvino", "coreml"])
def test_what_the_wheel_does_not_have_is_an_error(wanted: str) -> None:
    """It names the package that has it and where the exchange is described."""
    with pytest.raises(ConfigurationError, match=f"can't use {wanted}.*onnxruntime.*an-accelerator") as raised:
        devices_to_try(wanted, [_CPU])
    assert raised.value.exit_code == 78


def test_an_accelerator_has_the_processor_beside_it() -> None:
    """For the nodes of a graph that it can't run; the session's first provider is the accelerator all the same."""
    assert [name for name, _ in providers_for("cuda")] == [_CUDA, _CPU]
    assert [name for name, _ in providers_for("cpu")] == [_CPU]


@pytest.mark.parametrize(
    "text",
    [
        "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0",
        "Failed to allocate memory for requested buffer of size 411041792",
        "BFCArena::AllocateRawInternal Available memory of 0 is smaller than requested bytes of 268435456",
    ],
)
def test_no_memory_is_temporary(text: str) -> None:
    """It is tried again: the exit code is 75."""
    assert isinstance(device_fault("cuda", RuntimeError(text)), TemporaryError)


def test_a_device_that_is_not_there_is_a_fault_of_the_configuration() -> None:
    fault = device_fault("cuda", RuntimeError("CUDA failure 100: no CUDA-capable device is detected"))
    assert isinstance(fault, ConfigurationError)
    assert "no CUDA-capable device" in fault.line()


class _Session:
    """A stand-in for onnxruntime's session on a machine without a GPU: what its calls do is given."""

    def __init__(self, providers: list[str], fails: Exception | None = None) -> None:
        self._providers, self._fails = providers, fails

    def get_providers(self) -> list[str]:
        return self._providers

    def run(self, outputs: Any, inputs: Any) -> list[Any]:
        if self._fails is not None:
            raise self._fails
        return [outputs, inputs]


def _runtime(monkeypatch: pytest.MonkeyPatch, open_: Any) -> list[dict[str, Any]]:
    """Have `open_session` meet an onnxruntime whose sessions `open_` makes. Returns how they were asked for."""
    asked: list[dict[str, Any]] = []

    def session(*_: Any, **given: Any) -> Any:
        asked.append(given)
        return open_()

    options = SimpleNamespace(add_session_config_entry=lambda *_: None)
    fake = SimpleNamespace(SessionOptions=lambda: options, InferenceSession=session)
    native = sys.modules["onnxruntime.capi"] if "onnxruntime.capi" in sys.modules else __import__("onnxruntime").capi
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    monkeypatch.setitem(sys.modules, "onnxruntime.capi", native)
    return asked


def test_a_session_that_fell_back_to_the_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime opens it all the same when a provider's library can't be loaded, and tells only its log."""
    asked = _runtime(monkeypatch, lambda: _Session([_CPU]))
    with pytest.raises(ConfigurationError, match="cuda can't be used"):
        open_session(Path("model.onnx"), threads=1, device="cuda")
    assert asked[0]["enable_fallback"] == 0
    assert asked[0]["providers"][0][0] == _CUDA


def test_a_session_on_the_device_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    _runtime(monkeypatch, lambda: _Session([_CUDA, _CPU]))
    assert devices.device_of(open_session(Path("model.onnx"), threads=1, device="cuda")) == "cuda"


def test_a_device_without_memory_at_the_start_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a damaged model, as which nobody would try it again."""

    def fails() -> _Session:
        raise RuntimeError("CUDA failure 2: out of memory")

    _runtime(monkeypatch, fails)
    with pytest.raises(TemporaryError, match="out of memory"):
        open_session(Path("model.onnx"), threads=1, device="cuda")


@pytest.mark.parametrize("text", ["CUDA failure 2: out of memory", "CUDA failure 999: unknown error", "device lost"])
def test_a_device_that_fails_while_it_runs_is_temporary(text: str) -> None:
    """Whatever it says: it worked before. The process has to start anew."""
    with pytest.raises(TemporaryError, match="tried again"):
        run_session(_Session([_CUDA, _CPU], RuntimeError(text)), None, {})


def test_a_fault_on_the_processor_stays_a_bug() -> None:
    """But for a lack of memory, nothing of it would pass by itself."""
    with pytest.raises(RuntimeError, match="shape"):
        run_session(_Session([_CPU], RuntimeError("a wrong shape")), None, {})
    with pytest.raises(TemporaryError):
        run_session(_Session([_CPU], RuntimeError("std::bad_alloc")), None, {})
    assert onnx_session.run_session(_Session([_CPU]), ["out"], {}) == [["out"], {}]


def test_two_runtimes_are_named() -> None:
    """They have the same files: which one's are there depends on the order of their installation."""
    assert runtime_fault(["onnxruntime"]) is None
    fault = runtime_fault(["onnxruntime-gpu", "onnxruntime"])
    assert fault is not None
    assert "onnxruntime, onnxruntime-gpu" in fault.line()
    assert "an-accelerator" in fault.line()
    assert runtime_fault() is None, "this environment has one"
