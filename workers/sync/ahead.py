"""One call on a thread of its own, begun before its result is wanted. The thread ends with the process: nobody has to wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from shared.errors import RollcallError

_Result = TypeVar("_Result")


class Ahead(Generic[_Result]):
    """A call that runs."""

    def __init__(self, call: Callable[[], _Result]) -> None:
        self._call = call
        self._results: list[_Result] = []
        self._fault: RollcallError | None = None
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except RollcallError as error:
            self._fault = error

    def result(self) -> _Result:
        """What the call returned. Waits for it, and raises the RollcallError that it raised."""
        self._thread.join()
        if self._fault is not None:
            raise self._fault
        return self._results[0]
