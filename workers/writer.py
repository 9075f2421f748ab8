"""The writer: the only process that writes SQLite and publishes to the gallery block.

`python -m workers.writer --config site.toml`

It holds the site's lock for its whole life, since taking it per write costs more than the commit. One loop: take what has come
in over the socket, enrolments before sightings, commit it all in one transaction, publish, answer. The store's work is done on a
second thread while the loop waits for it, so that the loop can tell work from a hang and prove the one.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import selectors
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from shared import ipc
from shared.errors import EXIT_DONE, RefusedError, RollcallError, UsageError
from shared.gallery_publisher import GalleryPublisher
from shared.settings import Settings
from shared.store import Store
from shared.store_backup import BackupKeeper
from shared.store_opening import SiteLock, make_private_folder, open_store
from shared.store_service import Request, StoreService
from shared.work_progress import Worker, beat
from workers.child import Child, run_child, settings_of
from workers.progress import progress_bar

_log = logging.getLogger("writer")

_LOCK_TIMEOUT_S = 10.0  # a writer that was just killed is gone within this
_IDLE_S = 0.25
_PURGE_EVERY_S = 600.0
_MAX_GROUP = 256  # requests committed together
_MAX_PEERS = 256
_MAX_OUTBOX_BYTES = 32 << 20  # a follower that does not read is cut off; it can come back with its last id
_EVENTS_AT_ONCE = 500
_UNKNOWN_DIM = 512  # an empty gallery's block needs some dimension; insightface's, until something is saved


class Peer:
    """One connection: what came in, what has to go out, and whether it follows the sightings."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.inbox = ipc.FrameBuffer()
        self.outbox = bytearray()
        self.follows_after: int | None = None
        self.closing = False

    def send(self, document: dict[str, Any]) -> None:
        self.outbox += ipc.encode(document)
        if len(self.outbox) > _MAX_OUTBOX_BYTES:
            self.outbox.clear()
            self.closing = True


class Writer:
    """The writer's loop over an open store."""

    def __init__(
        self, settings: Settings, store: Store, publisher: GalleryPublisher, child: Child, worker: Worker
    ) -> None:
        self._settings, self._child, self._worker = settings, child, worker
        self._service = StoreService(
            store,
            publisher,
            site=settings.site.name,
            data_dir=settings.data_dir,
            keep_days=settings.site.keep_sightings_days,
            keep_unknowns_days=settings.site.keep_unknowns_days,
            say=_log.warning,
        )
        self._selector = selectors.DefaultSelector()
        self._peers: dict[int, Peer] = {}
        self._waiting: deque[tuple[Peer, Request]] = deque()
        self._status: dict[str, Any] = {}
        self._backup = BackupKeeper(settings.db_path)
        self._purge_at = 0.0
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        self._listener: socket.socket | None = None

    def load(self) -> None:
        """Publish the whole store. Raises what stops a site from having a gallery."""
        self._child.heartbeat(state="loading")
        with progress_bar("loading the gallery") as progress:
            self._worker.run(lambda: self._service.publish_everything(progress))

    def serve(self) -> None:
        """Answer until asked to stop, then drain: what has been received is still written and answered."""
        self._listen()
        while not self._child.stopping:
            self._turn(_IDLE_S)
        self._stop_listening()
        for _ in range(20):  # bounded: what keeps sending is cut off
            if not self._turn(0.02):
                break
        for peer in list(self._peers.values()):
            self._drop(peer)

    def make_last_backup(self) -> None:
        """Bring the site's own backup up to date; a disk without room for it must not make the stop a failure."""
        try:
            self._worker.run(lambda: self._backup.finish(self._service.store))
        except (OSError, RollcallError) as error:
            _log.warning("no backup was made at this stop: %s", error)

    def _listen(self) -> None:
        path = ipc.socket_path(self._settings.run_dir)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            with ipc.address(path) as where:
                listener.bind(where)
        finally:
            os.umask(before)
        listener.listen(64)
        listener.setblocking(False)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, None)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        self._child.on_stop(self._wake)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_writer.send(b"x")

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            ipc.socket_path(self._settings.run_dir).unlink(missing_ok=True)

    def _turn(self, timeout_s: float) -> bool:
        """One turn of the loop; True when there was anything to do."""
        ready = self._selector.select(0 if self._waiting else timeout_s)
        for key, mask in ready:
            if key.data is None:
                self._accept_or_wake(key.fileobj)
            else:
                self._exchange(key.data, mask)
        worked = bool(self._waiting)
        if worked:
            self._work()
        self._worker.run(self._tick)
        self._child.heartbeat(state="running", waiting=len(self._waiting), peers=len(self._peers))
        return bool(ready) or worked

    def _tick(self) -> None:
        """What has to be done from time to time."""
        now = time.monotonic()
        self._service.tick(now)
        if now >= self._purge_at:
            self._service.purge()
            self._purge_at = now + _PURGE_EVERY_S
        self._backup.turn(now, self._service.store, self._service.erasures)

    def _accept_or_wake(self, source: Any) -> None:
        if source is self._wake_reader:
            self._wake_reader.recv(4096)
            return
        with contextlib.suppress(BlockingIOError):
            connection, _ = source.accept()
            connection.setblocking(False)
            if len(self._peers) >= _MAX_PEERS:
                connection.close()
                return
            peer = Peer(connection)
            self._peers[connection.fileno()] = peer
            self._selector.register(connection, selectors.EVENT_READ, peer)

    def _exchange(self, peer: Peer, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ:
                data = peer.connection.recv(1 << 20)
                if not data:
                    self._drop(peer)
                    return
                peer.inbox.feed(data)
                while (frame := peer.inbox.next()) is not None:
                    self._waiting.append((peer, Request(frame[0]["op"], frame[0].get("arguments", {}), frame[1])))
            if mask & selectors.EVENT_WRITE:
                self._push(peer)
        except (RefusedError, KeyError) as error:
            fault = error if isinstance(error, RefusedError) else UsageError("a frame without op")
            peer.send(ipc.error_document(fault))
            peer.closing = True
            self._push(peer)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(peer)

    def _push(self, peer: Peer) -> None:
        """Send what fits, and ask to be told when more does."""
        if peer.connection.fileno() < 0:
            return
        try:
            while peer.outbox:
                del peer.outbox[: peer.connection.send(peer.outbox)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(peer)
            return
        if peer.closing:
            self._drop(peer)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.outbox else 0)
        self._selector.modify(peer.connection, wanted, peer)

    def _drop(self, peer: Peer) -> None:
        number = peer.connection.fileno()
        if number in self._peers:
            del self._peers[number]
            self._selector.unregister(peer.connection)
            peer.connection.close()

    def _work(self) -> None:
        """Answer what has come in: writes in one group, enrolments before sightings, then reads, each peer in its order."""
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_GROUP))]
        writes = [item for item in taken if self._service.is_write(item[1].op)]
        writes.sort(key=lambda item: item[1].op == "record")  # stable: a peer's enrolments stay in order
        if writes:
            answers = self._worker.run(lambda: self._service.write([request for _, request in writes]))
            for (peer, _), answer in zip(writes, answers, strict=True):
                peer.send(ipc.error_document(answer) if isinstance(answer, RollcallError) else answer)
            self._tell_followers(self._service.new_events)
        for peer, request in taken:
            if not self._service.is_write(request.op):
                peer.send(self._answer(peer, request))
        for peer in {id(item[0]): item[0] for item in taken}.values():
            self._push(peer)

    def _answer(self, peer: Peer, request: Request) -> dict[str, Any]:
        try:
            return self._worker.run(lambda: self._carry_out(peer, request))
        except RollcallError as error:
            return ipc.error_document(error)
        except (KeyError, TypeError, ValueError) as error:  # arguments of our own operations
            return ipc.error_document(UsageError("not a request of this operation", where=request.op, got=str(error)))

    def _carry_out(self, peer: Peer, request: Request) -> dict[str, Any]:
        if request.op == "follow":
            return self._start_following(peer, int(request.arguments.get("after_id", 0)))
        if request.op == "put_status":
            self._status = request.arguments
            return {}
        if request.op == "status":
            return {"status": {**self._status, "gallery": self._service.info()}}
        if request.op == "restore":
            return self._service.restore(self._settings.run_dir / Path(request.arguments["name"]).name)
        return self._service.read(request)

    def _start_following(self, peer: Peer, after_id: int) -> dict[str, Any]:
        """What was kept since `after_id` first, in pieces, then everything new."""
        while True:
            past = self._service.store.sightings.since(after_id, limit=_EVENTS_AT_ONCE)
            if len(past) < _EVENTS_AT_ONCE or peer.closing:
                break
            peer.send({"events": past})
            after_id = past[-1]["id"]
        peer.follows_after = after_id
        return {"events": past}

    def _tell_followers(self, events: list[dict[str, Any]]) -> None:
        if not events:
            return
        for peer in list(self._peers.values()):
            if peer.follows_after is not None:
                peer.send({"events": events})
                self._push(peer)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m workers.writer", description="Rollcall's writer; started by the supervisor."
    )
    parser.add_argument("--config")
    parser.add_argument("--settings-stdin", action="store_true")
    settings = settings_of(parser.parse_args(argv))
    child = Child("rollcall: writer")
    make_private_folder(settings.data_dir)
    make_private_folder(settings.run_dir)
    lock = SiteLock(settings.db_path)
    lock.acquire(_LOCK_TIMEOUT_S)
    worker = Worker(child.heartbeat)
    try:
        store = worker.run(lambda: open_store(settings.db_path, _log.warning))
        publisher = GalleryPublisher(
            settings.run_dir, store.dim or _UNKNOWN_DIM, store.model or "", store.fingerprint or "", beat
        )
        try:
            writer = Writer(settings, store, publisher, child, worker)
            writer.load()
            writer.serve()
            publisher.remove_block()
            writer.make_last_backup()
        finally:
            publisher.close()
            worker.run(store.close)
    finally:
        worker.close()
        lock.release()
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(run_child(main))
