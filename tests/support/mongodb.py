"""A server that speaks MongoDB's protocol, for tests: the one of $MONGODB_TEST_URI, or else FerretDB in a folder of its own.

FerretDB keeps its data in SQLite. tests/support/ferretdb has its source; `.ci/run` builds it and names the program in $ROLLCALL_FERRETDB. By
hand: `cd tests/support/ferretdb && go build -o /tmp/ferretdb . && export ROLLCALL_FERRETDB=/tmp/ferretdb`.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from pymongo import MongoClient

from tests.support.web_site import free_port

URI_VARIABLE, PROGRAM_VARIABLE = "MONGODB_TEST_URI", "ROLLCALL_FERRETDB"
_START_S = 60.0
_TRY_EVERY_S = 0.05
needs_mongodb = pytest.mark.skipif(
    not (os.environ.get(URI_VARIABLE) or os.environ.get(PROGRAM_VARIABLE)),
    reason=f"no database: set ${URI_VARIABLE}, or ${PROGRAM_VARIABLE} to a program built in tests/support/ferretdb",
)


class FerretDb:
    """One process of FerretDB on the files of a folder. It listens when `with` begins, and what it was told outlives it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        program = os.environ[PROGRAM_VARIABLE]
        self._process = subprocess.Popen(
            [program, f"127.0.0.1:{self.port}", str(self._folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + _START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert self._process.poll() is None, "FerretDB ended at its start"
                assert time.monotonic() < end, "FerretDB does not listen"
                self._tick()
            else:
                return self

    def _tick(self) -> None:
        """Let it go on for a moment; it says nothing that one could wait for."""
        assert self._process is not None
        try:
            self._process.wait(_TRY_EVERY_S)
        except subprocess.TimeoutExpired:
            return

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


@contextmanager
def mongodb(folder: Path) -> Iterator[str]:
    """The address of an empty database. It is dropped at the end."""
    name = f"rollcall_{secrets.token_hex(6)}"
    given = os.environ.get(URI_VARIABLE)
    if given is None:
        with FerretDb(folder) as server:
            yield f"mongodb://127.0.0.1:{server.port}/{name}"
        return
    head, mark, options = given.partition("?")
    base = "/".join(head.split("/")[:3])
    uri = f"{base}/{name}{mark}{options}"
    try:
        yield uri
    finally:
        client: MongoClient[dict[str, Any]] = MongoClient(uri)
        client.drop_database(name)
        client.close()
