"""The process that owns the models: it searches pictures and embeds crops for all cameras of a site.

Cameras hand it pictures in memory that they share with it (shared/inference/slot.py), and take turns (workers/sharing/turns.py). So the
weights are in memory once, whatever the number of cameras, and an accelerator gets the crops of all cameras in one batch.

The main thread accepts cameras and hears their bells; as many threads as there are processors do the work, each with one request or batch
at a time. On a processor that gives more searches than several threads for one. The main thread's heartbeat says that the work goes on: it
stops when one piece of work takes too long. Then the supervisor replaces this process, and cameras ask again.

`python -m workers.inference --config site.toml`
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import selectors
import socket
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

# The threads of this process are its own; BLAS must not start others. numpy reads these variables when it is imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import cv2  # noqa: E402  # see above
import numpy as np  # noqa: E402

from shared.errors import EXIT_DONE, ConfigurationError, TemporaryError  # noqa: E402
from shared.files.identity import identity  # noqa: E402
from shared.files.private_folder import make_private_folder  # noqa: E402
from shared.inference import link  # noqa: E402
from shared.inference.slot import FACE_FLOATS, Answer, Kind, Outcome, SlotFault  # noqa: E402
from shared.ipc import wire  # noqa: E402
from shared.process.machine import usable_cpus  # noqa: E402
from shared.settings.schema import Settings  # noqa: E402
from shared.status import ChildState, InferenceStatus  # noqa: E402
from shared.supervision.child import Child, run_child  # noqa: E402
from shared.supervision.child_settings import settings_of  # noqa: E402
from workers.recognition.liveness import FILE_NAME, LivenessModel  # noqa: E402
from workers.recognition.pack import ENGINE, PACK_NAME  # noqa: E402
from workers.recognition.recogniser import MAX_CROPS_AT_ONCE  # noqa: E402
from workers.recognizer_arcface import ArcFaceEngine  # noqa: E402
from workers.sharing.figures import Figures  # noqa: E402
from workers.sharing.members import Member  # noqa: E402
from workers.sharing.models import SharedModel  # noqa: E402
from workers.sharing.turns import Turn, Turns  # noqa: E402

# With more threads than this, Python's own work for each request becomes the limit.
_MAX_THREADS = 16
# On a processor a batch is no faster than its crops one after another, and others wait for the whole of it.
_CROPS_ON_CPU = 4
_MAX_MEMBERS = 256
_TURN_S = 1.0
_HUNG_S = 20.0  # one piece of work takes less than a second, and less than ten on the slowest machine
_BACKLOG = 64

_log = logging.getLogger("rollcall.inference")


class Inference:
    """One site's inference process."""

    def __init__(self, settings: Settings, child: Child) -> None:
        self._settings, self._child = settings, child
        self._threads = min(_MAX_THREADS, usable_cpus())
        self._models: dict[str, SharedModel] = {}
        self._liveness: LivenessModel | None = None  # loaded for the first camera that asks for it
        self._members: set[Member] = set()
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        self._listener: socket.socket | None = None
        self._path = link.socket_path(settings.run_dir)
        self._file: tuple[int, int] | None = None
        self._news = threading.Condition()  # guards the next four
        self._turns: Turns[Member] = Turns(_CROPS_ON_CPU)
        self._busy_since: dict[int, float] = {}  # by the thread's number
        self._stopping = False
        self._figures = Figures()
        self._fault: str | None = None

    def run(self) -> int:
        """Work until a stop is asked for. Returns the exit code.

        Raises ConfigurationError when the model or the device is missing or unfit; TemporaryError when the device has no memory left, or is
        gone.
        """
        self._child.on_stop(self._wake)
        self._heartbeat(ChildState.LOADING)
        try:
            model = self._load(self._settings.model_label)
            self._turns = Turns(MAX_CROPS_AT_ONCE if model.is_on_accelerator else _CROPS_ON_CPU)
            _log.info(
                "%s runs on %s for all cameras, with %d threads", model.label, model.description.device, self._threads
            )
            self._listen()
            self._serve()
        except (TemporaryError, MemoryError) as error:
            fault = error if isinstance(error, TemporaryError) else TemporaryError("the machine has no memory left")
            self._fault = fault.line()[:300]
            self._heartbeat(ChildState.LOADING)
            raise fault from error
        finally:
            self._end()
        return EXIT_DONE

    def _serve(self) -> None:
        with ThreadPoolExecutor(self._threads, thread_name_prefix="inference") as pool:
            working = [pool.submit(self._work, number) for number in range(self._threads)]
            try:
                while not self._child.stopping:
                    self._turn()
                    _raise_faults(working)
            finally:
                with self._news:
                    self._stopping = True
                    self._news.notify_all()

    def _turn(self) -> None:
        for key, _ in self._selector.select(_TURN_S):
            if isinstance(key.data, Member):
                self._hear(key.data)
            elif key.fileobj is self._listener:
                self._accept()
            else:
                with contextlib.suppress(BlockingIOError):
                    self._wake_reader.recv(4096)
        if identity(self._path) != self._file:
            _log.error("THE INFERENCE PROCESS'S SOCKET WAS REMOVED by somebody else and is made anew: %s", self._path)
            self._stop_listening()
            self._listen()
        if not self._hangs():
            self._heartbeat(ChildState.RUNNING)

    def _hangs(self) -> bool:
        with self._news:
            return any(time.monotonic() - began > _HUNG_S for began in self._busy_since.values())

    def _heartbeat(self, state: ChildState) -> None:
        model = next(iter(self._models.values()), None)
        with self._news:
            figures = self._figures.latest(time.monotonic())
        status = InferenceStatus(
            state=state,
            device=model.description.device if model else None,
            model=model.label if model else None,
            threads=self._threads,
            cameras=sum(member.slot is not None for member in self._members),
            fault=self._fault,
            **figures,
        )
        self._child.heartbeat(status)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_writer.send(b"x")

    # --- cameras ---------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        make_private_folder(self._settings.run_dir)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            with wire.address(self._path) as where:
                listener.bind(where)
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        self._listener, self._file = listener, identity(self._path)
        self._selector.register(listener, selectors.EVENT_READ, None)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _end(self) -> None:
        self._stop_listening()
        if self._file is not None and identity(self._path) == self._file:
            with contextlib.suppress(OSError):  # a read-only disk keeps the file: nobody listens there
                self._path.unlink()
        for member in list(self._members):
            self._drop(member)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it is gone again, or there is no descriptor left: the camera tries again
            return
        if len(self._members) >= _MAX_MEMBERS:
            connection.close()
            return
        connection.setblocking(False)
        member = Member(connection)
        self._members.add(member)
        self._selector.register(connection, selectors.EVENT_READ, member)

    def _hear(self, member: Member) -> None:
        try:
            asked = member.read()
            if asked == "join":
                self._join(member)
            elif asked == "request":
                self._queue(member)
        except OSError:
            self._drop(member)
        except (SlotFault, ValueError) as error:
            _log.warning("a camera was cut off: %s", error)
            self._drop(member)

    def _join(self, member: Member) -> None:
        assert member.model is not None
        try:
            model = self._models.get(member.model) or self._load(member.model)
            if member.liveness and self._liveness is None:
                self._liveness = LivenessModel(self._settings.models_dir / FILE_NAME, threads=1)
        except ConfigurationError as error:
            member.refuse(error)
            self._drop(member)
            return
        member.welcome(model.description)
        wanted = {one.model for one in self._members}
        for label in [one for one in self._models if one not in wanted]:
            del self._models[label]  # the model that the gallery had before

    def _queue(self, member: Member) -> None:
        request = member.request
        assert request is not None
        embeds = request.kind is Kind.EMBED
        turn = Turn(member, member.model if embeds else None, request.crops if embeds else 0, time.monotonic())
        with self._news:
            self._turns.add(turn)
            self._news.notify()

    def _drop(self, member: Member) -> None:
        with self._news:
            self._turns.drop(member)
        self._selector.unregister(member.connection)
        self._members.discard(member)
        member.close()

    def _load(self, label: str) -> SharedModel:
        """Load a model. `label`: "insightface/pack". Raises ConfigurationError or TemporaryError."""
        engine, _, pack = label.partition("/")
        if engine != ENGINE or not PACK_NAME.fullmatch(pack):
            raise ConfigurationError(
                "no model that one process can run for all cameras", got=ascii(label), expected=f"{ENGINE}/PACK"
            )
        self._heartbeat(ChildState.LOADING)  # which allows for the time that it takes
        chosen = self._settings.recognition
        opened = ArcFaceEngine(
            self._settings.models_dir / pack, det_size=chosen.det_size, threads=1, device=chosen.device
        )
        self._heartbeat(ChildState.LOADING)
        model = SharedModel(opened)
        model.warm_up(chosen.det_size)
        self._models[label] = model
        return model

    # --- the work --------------------------------------------------------------------------------------------------

    def _work(self, number: int) -> None:
        """One thread's work."""
        while turns := self._take(number):
            began_at, began_cpu_s = time.monotonic(), time.thread_time()
            members: list[Member] = [turn.camera for turn in turns]
            kind = members[0].request.kind if members[0].request is not None else None
            if kind is Kind.SEARCH:
                self._search(members[0], began_cpu_s)
            elif kind is Kind.LIVENESS:
                self._judge_liveness(members[0], began_cpu_s)
            else:
                self._embed(members, began_cpu_s)
            with self._news:
                self._busy_since.pop(number, None)
                for turn in turns:
                    searched = kind is Kind.SEARCH
                    self._figures.add(began_at - turn.came_at, time.monotonic(), turn.crops, searched=searched)

    def _take(self, number: int) -> list[Turn[Member]]:
        """What this thread does next; it waits for it. Empty when the process ends."""
        with self._news:
            self._news.wait_for(lambda: self._stopping or len(self._turns))
            if self._stopping:
                return []
            self._busy_since[number] = time.monotonic()
            return self._turns.take()

    def _search(self, member: Member, began_cpu_s: float) -> None:
        request, slot, model = member.request, member.slot, self._models.get(member.model or "")
        if request is None or slot is None or model is None:
            return  # it is gone
        found = [
            model.search(image, picture)
            for image, picture in zip(slot.pictures(request), request.pictures, strict=True)
        ]
        slot.write(found)
        rows = len(found[0]), len(found[1]) if len(found) > 1 else 0
        busy_s = time.thread_time() - began_cpu_s
        member.answered(Answer(request.session, request.sequence, Outcome.DONE, rows, FACE_FLOATS, busy_s))

    def _judge_liveness(self, member: Member, began_cpu_s: float) -> None:
        request, slot, model = member.request, member.slot, self._liveness
        if request is None or slot is None or model is None:
            return
        try:
            scores = np.array(model.of_crops(slot.crops(request)), np.float32)
        except ConfigurationError:  # the camera says so, and ends; the others go on
            scores = np.empty(0, np.float32)
        slot.write([scores])
        outcome = Outcome.DONE if len(scores) else Outcome.REFUSED
        busy_s = time.thread_time() - began_cpu_s
        member.answered(Answer(request.session, request.sequence, outcome, (len(scores), 0), 1, busy_s))

    def _embed(self, members: list[Member], began_cpu_s: float) -> None:
        model = self._models.get(members[0].model or "")
        asked = [(member, member.request, member.slot) for member in members]
        here = [(member, request, slot) for member, request, slot in asked if request is not None and slot is not None]
        if model is None or not here:
            return
        embeddings = model.embed([slot.crops(request) for _, request, slot in here])
        busy_s = (time.thread_time() - began_cpu_s) / sum(request.crops for _, request, _ in here)
        for (member, request, slot), rows in zip(here, embeddings, strict=True):
            outcome = Outcome.REFUSED if rows is None else Outcome.DONE
            if rows is not None:
                slot.write([rows])
            size = (0, 0) if rows is None else rows.shape
            head = (request.session, request.sequence, outcome, (size[0], 0), size[1], busy_s * request.crops)
            member.answered(Answer(*head))


def _raise_faults(working: list[Future[None]]) -> None:
    """Raise what a thread has ended with."""
    for one in working:
        if one.done():
            one.result()


def main(argv: list[str] | None = None) -> int:
    """Run the inference process until it is asked to stop. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m workers.inference", description="The models, for all cameras.")
    parser.add_argument("--config")
    parser.add_argument("--settings-stdin", action="store_true", help="settings as one line of JSON on standard input")
    settings = settings_of(parser.parse_args(argv))
    cv2.setNumThreads(1)
    return Inference(settings, Child("rollcall: inference")).run()


if __name__ == "__main__":
    sys.exit(run_child(main))
