"""The writer: the only process that writes SQLite and publishes to the gallery block.

`python -m workers.writer --config site.toml`

It holds the site's lock for its whole life, since taking the lock for each write would cost more than the commit.

One loop: take the requests that came in over the socket, enrolments before sightings; commit them all in one
transaction; publish; answer. The store's work runs on a second thread while the loop waits for it. So the loop can see
whether that work makes progress or hangs, and sends a heartbeat only while it makes progress.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import selectors
import socket
import sqlite3
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from shared.errors import (
    EXIT_DONE,
    DamagedError,
    ReadOnlyError,
    RefusedError,
    RollcallError,
    TemporaryError,
    UsageError,
    read_only_fault,
)
from shared.events import Sighting
from shared.files.identity import identity
from shared.files.private_folder import make_private_folder
from shared.files.run_folder import is_read_only
from shared.gallery.publisher import GalleryPublisher
from shared.ipc import wire
from shared.ipc.requests.base import Answer, Done, Request
from shared.ipc.requests.gallery import Restore
from shared.ipc.requests.sightings import Follow, Record, SightingsPage
from shared.ipc.requests.site import PutStatus, SiteStatus, Status
from shared.ipc.requests.sync import ChangeNews, FollowChanges
from shared.ipc.requests.table import request_of
from shared.process.work_progress import beat
from shared.process.worker import Worker
from shared.progress import progress_bar
from shared.service.service import StoreService, request_fault
from shared.service.sync_key import sync_key_or_none
from shared.settings.schema import Settings
from shared.status import ChildState, SiteSnapshot, WriterStatus
from shared.store.backup import BackupKeeper
from shared.store.lock import SiteLock
from shared.store.lost_file import DatabaseFile
from shared.store.opening import backup_path, close_store, damage_of, open_store, open_store_or_read_only
from shared.store.proof import IntegrityProof
from shared.store.store import Store
from shared.supervision.child import Child, run_child
from shared.supervision.child_settings import settings_of

_log = logging.getLogger("writer")

_LOCK_TIMEOUT_S = 10.0  # a writer that was just killed has released the lock by then
_IDLE_S = 0.25
_PURGE_EVERY_S = 600.0
_MAX_GROUP = 256  # requests committed together
_MAX_WAITING = 1024  # requests received but not yet answered; beyond this number no socket is read
_MAX_PEERS = 256
_BACKLOG = 64  # connections that wait to be accepted
_OWN_PLACES = 64  # places beyond _MAX_PEERS, only for the supervisor and its processes
_MAX_FOLLOWERS = 64
# A connection is closed after this time without a byte in either direction; its client can reconnect.
_IDLE_LIMIT_S = 60.0
_FILES_CHECK_EVERY_S = 1.0  # how often we check that socket, lock and database are still there
_ROOM_CHECK_EVERY_S = 3.0  # how often we check whether the disk can be written again
_STALLED_S = 1.0  # when no place is free, a peer that was inactive for this long loses its place
_MESSAGE_LIMIT_S = 30.0  # a message must have arrived whole within this time
_MAX_INBOX_BYTES = 320 << 20  # all peers together: a little more than one message of the largest size
_MAX_OUTBOXES_BYTES = 128 << 20  # all peers together
_HELD_UP_S = 0.5  # if our own work took longer than this, it does not count against the peers' time limits
_MAX_OUTBOX_BYTES = 32 << 20  # a follower that does not read is cut off; it can come back with its last id
_EVENTS_AT_ONCE = 500
_DOUBT_EVERY_S = 3600.0  # the most often that the whole file is read because a request met damage
_UNKNOWN_DIM = 512  # an empty gallery's block needs a dimension: insightface's, until something is saved

_Answer = TypeVar("_Answer")


class Peer:
    """One connection: the bytes that came in, the bytes that have to go out, and whether it follows the sightings."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.pid = wire.peer_pid(connection)
        self.active_at = time.monotonic()
        self.inbox = wire.MessageBuffer()
        self.outbox = bytearray()
        self.waiting = 0  # its requests that are not answered yet
        self.follows_after: int | None = None
        self.follows_changes = False
        self.closing = False

    @property
    def follows(self) -> bool:
        """Whether it waits for what comes, and asks for nothing."""
        return self.follows_after is not None or self.follows_changes

    def send(self, document: dict[str, Any]) -> None:
        """Put a message in the outbox. A peer that leaves too much unread is cut off."""
        self.outbox += wire.encode(document)
        if len(self.outbox) > _MAX_OUTBOX_BYTES:
            self.outbox.clear()
            self.closing = True


class Writer:
    """The writer's loop over an open store."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        publisher: GalleryPublisher,
        child: Child,
        worker: Worker,
        lock: SiteLock,
    ) -> None:
        self._settings, self._child, self._worker = settings, child, worker
        self._service = StoreService(
            store,
            publisher,
            site=settings.site,
            data_dir=settings.data_dir,
            say=_log.warning,
        )
        self._selector = selectors.DefaultSelector()
        self._peers: dict[int, Peer] = {}
        self._supervisor = os.getppid()
        self._children: set[int] = set()
        self._told: ChangeNews | None = None  # what those who follow the changes know
        self._waiting: deque[tuple[Peer, Request[Any] | UsageError]] = deque()
        self._snapshot: SiteSnapshot | None = None  # the supervisor's last
        self._backup = BackupKeeper(settings.db_path)
        self._proof = IntegrityProof(settings.db_path, _log.warning, wanted=store.proof_is_due)
        self._lock, self._database = lock, DatabaseFile(store)
        self._without_database = False  # the database's file, or its WAL, was removed
        self._without_room: TemporaryError | None = None  # why nothing can be stored: a full or read-only disk
        self._check_room_at = self._doubt_at = 0.0
        self._socket_file: tuple[int, int] | None = None
        self._purge_at = self._check_files_at = 0.0
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_writer.setblocking(False)
        self._listener: socket.socket | None = None

    def load(self) -> None:
        """Publish the whole store to the gallery block. Raises RollcallError when the site can't have a gallery."""
        self._child.heartbeat(WriterStatus(ChildState.LOADING))
        self._service.begin()
        with progress_bar("loading the gallery") as progress:
            self._worker.run(lambda: self._service.publish_everything(progress))

    def store_nothing(self, why: TemporaryError | None) -> None:
        """Answer reads and refuse every write with `why`, until the disk can be written. None: writes are taken."""
        self._service.refusal = self._without_room = why

    def serve(self) -> None:
        """Answer requests until asked to stop. Then drain: what was received by then is still written and answered."""
        self._listen()
        self._selector.register(self._wake_reader, selectors.EVENT_READ, None)
        self._child.on_stop(self._wake)
        while not self._child.stopping:
            self._turn(_IDLE_S)
        self._stop_listening()
        for _ in range(20):  # bounded: a peer that keeps sending is cut off
            if not self._turn(0.02):
                break
        for peer in list(self._peers.values()):
            self._drop(peer)

    def make_last_backup(self) -> None:
        """Bring the site's own backup up to date. Failing to (a full disk, say) does not make the stop a failure."""
        self._proof.finish()
        try:
            if self._service.refusal is None:
                self._worker.run(lambda: self._backup.finish(self._service.store))
        except (OSError, sqlite3.Error, RollcallError) as error:
            _log.warning("no backup was made at this stop: %s", error)

    def _listen(self) -> None:
        path = wire.socket_path(self._settings.run_dir)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            with wire.address(path) as where:
                listener.bind(where)
        finally:
            os.umask(before)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        self._listener, self._socket_file = listener, identity(path)
        self._selector.register(listener, selectors.EVENT_READ, None)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_writer.send(b"x")

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
            path = wire.socket_path(self._settings.run_dir)
            if identity(path) == self._socket_file:
                # A read-only disk keeps the socket's file; that does no harm, since nobody listens there.
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    def _turn(self, timeout_s: float) -> bool:
        """One turn of the loop. True if there was anything to do."""
        ready = self._selector.select(0 if self._waiting else timeout_s)
        for key, mask in ready:
            if key.data is None:
                self._accept_or_wake(key.fileobj)
            else:
                self._exchange(key.data, mask)
        self._drop_greedy_peers()
        began = time.monotonic()
        worked = bool(self._waiting)
        if worked:
            self._work()
        self._check_files()
        self._worker.run(self._tick)
        self._worker.run(self._handle_damage)
        self._excuse(time.monotonic() - began)
        self._child.heartbeat(WriterStatus(ChildState.RUNNING, waiting=len(self._waiting), peers=len(self._peers)))
        return bool(ready) or worked

    def _check_files(self) -> None:
        """Find out whether somebody removed a file under the running site, log it, and make the file anew if possible."""
        now = time.monotonic()
        if now < self._check_files_at or self._child.stopping:
            return
        self._check_files_at = now + _FILES_CHECK_EVERY_S
        self._lock.watch(_log.error)
        path = wire.socket_path(self._settings.run_dir)
        if identity(path) != self._socket_file:
            _log.error("THE SITE'S SOCKET WAS REMOVED by somebody else and is made anew: %s", path)
            try:
                make_private_folder(self._settings.run_dir)
                self._stop_listening()
                self._listen()
            except (OSError, RollcallError) as error:  # tried again at the next check
                _log.error("the socket can't be made anew yet: %s", error)
        if self._without_room is None and is_read_only(self._settings.data_dir):
            self.store_nothing(read_only_fault(self._settings.data_dir))
            _log.error("NOTHING CAN BE STORED: %s", self._without_room)
        if self._without_room is not None:
            self._worker.run(self._check_room)
        elif self._database.is_lost():
            self._worker.run(self._save_database)
        elif self._database.has_lost_wal():
            self._worker.run(self._save_wal)
        elif self._without_database:
            self._without_database, self._service.refusal = False, None
            _log.warning("the database is back: %s; what comes in is stored again", self._settings.db_path)

    def _check_room(self) -> None:
        """Raise TemporaryError once the disk can be written again, so that a new writer opens the store for writing.

        After a full disk, opening the store proves it. After a read-only disk that is not tried: a file that SQLite opened
        there stays read-only for the life of the process.
        """
        if time.monotonic() < self._check_room_at or is_read_only(self._settings.data_dir):
            return
        self._check_room_at = time.monotonic() + _ROOM_CHECK_EVERY_S
        try:
            if not isinstance(self._without_room, ReadOnlyError):
                close_store(open_store(self._settings.db_path, lambda _: None))
        except RollcallError:
            return
        raise TemporaryError(
            "the disk can be written again; the writer starts again", where=str(self._settings.db_path)
        )

    def _save_database(self) -> None:
        """Write the removed database anew, then raise TemporaryError, so that a new writer opens it. Until then writes are refused."""
        self._rescue(
            f"THE DATABASE WAS REMOVED under the running site: {self._settings.db_path}; nothing is stored until it is back",
            self._database.write_anew,
            "the database was written anew from what was open; the writer starts again with it",
        )

    def _save_wal(self) -> None:
        """Move the removed WAL's content into the database, then raise TemporaryError, so that a new writer makes a new WAL.

        Until then writes are refused.
        """
        self._rescue(
            f"THE DATABASE'S WAL WAS REMOVED under the running site: {self._settings.db_path}-wal",
            self._database.empty_wal,
            "the WAL's content was moved into the database; the writer starts again",
        )

    def _rescue(self, loss: str, rescue: Callable[[], None], done: str) -> None:
        """Log the loss once and call `rescue`. While that fails, writes are refused; once it works, raise TemporaryError(`done`)."""
        if not self._without_database:
            self._without_database = True
            _log.error("%s", loss)
        try:
            rescue()
        except RollcallError as error:
            self._refuse_writes(error)
            return
        raise TemporaryError(done, where=str(self._settings.db_path))

    def _refuse_writes(self, why: RollcallError) -> None:
        """Refuse writes for this reason. A reason is logged only when it is a new one."""
        if self._service.refusal is None or self._service.refusal.what != why.what:
            _log.error("%s", why.line())
        self._service.refusal = why

    def _tick(self) -> None:
        """Do what is due from time to time. Raises RollcallError, except for damage: `_handle_damage` finds that in the store."""
        try:
            self._do_what_is_due(time.monotonic())
        except sqlite3.Error as error:
            fault = self._service.store.explained(error)
            if not isinstance(fault, DamagedError):
                raise fault from error

    def _do_what_is_due(self, now: float) -> None:
        self._service.tick(now)
        if self._service.refusal is not None:
            return
        if now >= self._purge_at:
            self._service.purge()
            self._purge_at = now + _PURGE_EVERY_S
        self._backup.turn(now, self._service.store, self._service.times_forgotten)
        self._proof.turn(now, self._service.store, self._service.times_forgotten)

    def _handle_damage(self) -> None:
        """If SQLite reported damage, find out whether the database is really damaged, and act on it.

        With a sound backup of the site's own: raise TemporaryError, and a new writer restores it. Without one: refuse
        writes, because the next start sets the damaged file aside, and whatever was stored in it would be lost.
        """
        store = self._service.store
        damage, store.damage = store.damage, None
        if damage is None or self._service.refusal is not None:
            return
        now, path = time.monotonic(), self._settings.db_path
        try:
            found = damage_of(path)
            has_backup = bool(found) and backup_path(path).exists() and damage_of(backup_path(path)) is None
        except RollcallError as error:  # the disk reports errors; the next request that meets damage leads here again
            _log.error("%s; and it can't be read: %s", damage.line(), error.line())
            return
        if found is None:
            if now >= self._doubt_at:
                self._doubt_at = now + _DOUBT_EVERY_S
                _log.error("DATABASE UNSOUND: %s: %s; its pages are whole, its indexes are checked", path, damage.got)
                self._proof.want()
            return
        _log.error("DATABASE DAMAGED under the running site: %s: %s", path, found)
        if has_backup:
            raise TemporaryError("the writer starts again: the damaged database is set aside", where=str(path))
        self._refuse_writes(
            TemporaryError(
                "the database is damaged, and there is no sound backup; enrolled people are still recognized",
                where=str(path),
                got=found,
                remedy="restart the site: it sets the file aside and enrols the photos in faces/ anew; then restore what you have",
            )
        )

    def _accept_or_wake(self, source: Any) -> None:
        if source is self._wake_reader:
            self._wake_reader.recv(4096)
            return
        for _ in range(_BACKLOG):
            if not self._accept(source):
                return

    def _accept(self, listener: socket.socket) -> bool:
        """Accept one connection. False when none waits, or none can be accepted."""
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:  # no descriptor left: drop a peer, or the loop would spin
            if not self._make_place():
                _log.warning("a connection could not be taken: %s", error.strerror)
            return False
        connection.setblocking(False)
        peer = Peer(connection)
        most = _MAX_PEERS + (_OWN_PLACES if self._is_own(peer) else 0)
        if len(self._peers) >= most and not self._make_place():
            connection.close()
            return True
        self._peers[connection.fileno()] = peer
        self._selector.register(connection, selectors.EVENT_READ, peer)
        return True

    def _is_own(self, peer: Peer) -> bool:
        """Whether the peer is the supervisor or one of its processes."""
        return peer.pid is not None and (peer.pid == self._supervisor or peer.pid in self._children)

    def _make_place(self) -> bool:
        """Drop the idle or stalled peer that was active longest ago; it can connect again. False when there is none."""
        stalled_at = time.monotonic() - _STALLED_S
        idle = [
            peer
            for peer in self._peers.values()
            if not self._is_own(peer)
            and (self._is_idle(peer) or (not peer.follows and not peer.waiting and peer.active_at < stalled_at))
        ]
        if idle:
            self._drop(min(idle, key=lambda peer: peer.active_at))
        return bool(idle)

    def _is_idle(self, peer: Peer) -> bool:
        return not peer.follows and not (peer.waiting or peer.outbox or len(peer.inbox))

    def _drop_greedy_peers(self) -> None:
        """Drop peers that are idle for too long, whose message does not arrive whole in time, or that hold too much memory."""
        now = time.monotonic()
        for peer in list(self._peers.values()):
            if self._is_idle(peer):
                if now - peer.active_at > _IDLE_LIMIT_S and not self._is_own(peer):
                    self._drop(peer)
            elif len(peer.inbox) and now - peer.inbox.began_at > _MESSAGE_LIMIT_S:
                self._refuse(
                    peer, RefusedError("a message did not arrive whole in time", expected=f"{_MESSAGE_LIMIT_S:.0f} s")
                )
        peers = list(self._peers.values())
        inboxes = sum(len(peer.inbox) for peer in peers)
        for peer in sorted((one for one in peers if len(one.inbox)), key=lambda one: one.active_at):
            if inboxes <= _MAX_INBOX_BYTES:
                break  # the peers that are still sending were active last, so they are kept
            inboxes -= len(peer.inbox)
            self._drop(peer)
        outboxes = sum(len(peer.outbox) for peer in peers)
        for peer in sorted(peers, key=lambda one: -len(one.outbox)):
            if outboxes <= _MAX_OUTBOXES_BYTES:
                break
            outboxes -= len(peer.outbox)
            self._drop(peer)

    def _excuse(self, worked_s: float) -> None:
        """Add the time of long work to the peers' deadlines: while the loop worked, it read nothing from them."""
        if worked_s >= _HELD_UP_S:
            for peer in self._peers.values():
                peer.active_at += worked_s
                peer.inbox.began_at += worked_s

    def _refuse(self, peer: Peer, fault: RollcallError) -> None:
        """Answer with the fault, then drop the peer: after a faulty message nothing else it sends can be read."""
        peer.send(wire.error_document(fault))
        peer.closing = True
        self._push(peer)

    def _exchange(self, peer: Peer, mask: int) -> None:
        try:
            if mask & selectors.EVENT_READ and len(self._waiting) < _MAX_WAITING:
                data = peer.connection.recv(1 << 20)
                if not data:
                    self._drop(peer)
                    return
                peer.active_at = time.monotonic()
                peer.inbox.feed(data)
                while (message := peer.inbox.next()) is not None:
                    self._waiting.append((peer, _request_in(*message)))
                    peer.waiting += 1
            if mask & selectors.EVENT_WRITE:
                self._push(peer)
        except RefusedError as error:
            self._refuse(peer, error)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(peer)

    def _push(self, peer: Peer) -> None:
        """Send as much as the socket takes, and have the selector report when it takes more."""
        if peer.connection.fileno() < 0:
            return
        try:
            while peer.outbox:
                del peer.outbox[: peer.connection.send(peer.outbox)]
                peer.active_at = time.monotonic()
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
        """Answer the waiting requests: first writes, in one group, enrolments before sightings; then reads.

        Each peer's writes keep their order, and so do its reads.
        """
        taken = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_GROUP))]
        writes = [(peer, one) for peer, one in taken if isinstance(one, Request) and self._service.is_write(one)]
        writes.sort(key=lambda item: isinstance(item[1], Record))  # stable: a peer's enrolments stay in order
        if writes:
            for (peer, request), answer in zip(writes, self._write([one for _, one in writes]), strict=True):
                self._reply(peer, request.op, answer)
            self._send_to_followers(self._service.new_sightings)
            self._tell_of_changes()
        for peer, one in taken:
            if isinstance(one, UsageError):
                self._reply(peer, "", one)
            elif not self._service.is_write(one):
                self._reply(peer, one.op, self._answer(peer, one))
        for peer in {id(item[0]): item[0] for item in taken}.values():
            self._push(peer)

    def _write(self, group: list[Request[Any]]) -> Sequence[Answer | RollcallError]:
        try:
            return [self._as_answered(one) for one in self._worker.run(lambda: self._service.write(group))]
        except sqlite3.Error as error:
            self._service.doubt_block()
            return [self._as_answered(self._service.store.explained(error))] * len(group)
        except Exception as error:  # noqa: BLE001  # one faulty group must not end the writer; the block is made anew
            self._service.doubt_block()
            return [request_fault(group[0].op, error, _log.error)] * len(group)

    def _answer(self, peer: Peer, request: Request[Any]) -> Answer | RollcallError:
        try:
            return self._worker.run(lambda: self._carry_out(peer, request))
        except sqlite3.Error as error:
            return self._as_answered(self._service.store.explained(error))
        except DamagedError as error:
            return self._as_answered(error)
        except Exception as error:  # noqa: BLE001  # whatever goes wrong with one request becomes its answer
            return request_fault(request.op, error, _log.error)

    def _as_answered(self, answer: _Answer) -> _Answer | TemporaryError:
        """Turn damage of our database into a TemporaryError: a client can't mend it, and must not drop what it has sent."""
        if not isinstance(answer, DamagedError) or answer.where != str(self._settings.db_path):
            return answer
        return TemporaryError(
            answer.what, where=answer.where, got=answer.got, remedy="the site sees to it; see: supervisor.py status"
        )

    def _reply(self, peer: Peer, op: str, answer: Answer | RollcallError) -> None:
        peer.waiting -= 1
        try:
            peer.send(wire.error_document(answer) if isinstance(answer, RollcallError) else answer.to_json())
        except (ValueError, TypeError, RecursionError) as error:  # an answer that JSON can't hold
            peer.send(wire.error_document(request_fault(op, error, _log.error)))

    def _carry_out(self, peer: Peer, request: Request[Any]) -> Answer:
        if isinstance(request, Follow):
            return self._start_following(peer, request.after_id)
        if isinstance(request, FollowChanges):
            self._require_place_to_follow(peer)
            peer.follows_changes = True
            return self._service.change_news()
        if isinstance(request, PutStatus):
            return self._put_status(peer, request.status)
        if isinstance(request, Status):
            return SiteStatus(site=self._snapshot, gallery=self._service.info())
        if isinstance(request, Restore):
            return self._service.restore(self._settings.copies_dir / Path(request.name).name)
        return cast(Answer, self._service.read(request))

    def _put_status(self, peer: Peer, snapshot: SiteSnapshot) -> Done:
        if peer.pid is not None and peer.pid != self._supervisor:
            raise RefusedError("not the supervisor", where="put_status", expected="the process that started the writer")
        self._snapshot = snapshot
        children = (*snapshot.cameras.values(), *snapshot.processes.values())
        self._children = {one.pid for one in children if one.pid is not None}
        return Done()

    def _start_following(self, peer: Peer, after_id: int) -> SightingsPage:
        """Send the sightings stored after `after_id`, in pieces; from then on the peer gets every new one.

        Raises TemporaryError when too many peers follow already.
        """
        self._require_place_to_follow(peer)
        while True:
            past = self._service.sightings_since(after_id, _EVENTS_AT_ONCE)
            page = SightingsPage(events=past, last_id=past[-1].id if past else after_id)
            if len(past) < _EVENTS_AT_ONCE or peer.closing:
                break
            peer.send(page.to_json())
            after_id = page.last_id
        peer.follows_after = after_id
        return page

    def _require_place_to_follow(self, peer: Peer) -> None:
        followers = sum(one.follows for one in self._peers.values())
        if followers >= _MAX_FOLLOWERS and not self._is_own(peer):
            raise TemporaryError(
                "too many programs follow what the site does", got=_MAX_FOLLOWERS, remedy="end some of them first"
            )

    def _tell_of_changes(self) -> None:
        """Tell those who follow the changes, if there were any since they were told last."""
        followers = [peer for peer in self._peers.values() if peer.follows_changes]
        if not followers:
            return
        news = self._worker.run(self._service.change_news)
        if news == self._told:
            return
        self._told = news
        for peer in followers:
            peer.send(news.to_json())
            self._push(peer)

    def _send_to_followers(self, sightings: list[Sighting]) -> None:
        if not sightings:
            return
        page = SightingsPage(events=sightings, last_id=sightings[-1].id).to_json()
        for peer in list(self._peers.values()):
            if peer.follows_after is not None:
                peer.send(page)
                self._push(peer)


def _request_in(document: dict[str, Any], blob: bytes) -> Request[Any] | UsageError:
    """The request in a message. A message that is no request gives the error, which is answered in its turn."""
    try:
        return request_of(document, blob)
    except UsageError as error:
        return error


def main(argv: list[str] | None = None) -> int:
    """Run the writer until it is asked to stop. Returns the exit code."""
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
        store, without_room = worker.run(lambda: open_store_or_read_only(settings.db_path, _log.error))
        store.sync_key = sync_key_or_none(settings, _log.error)
        publisher = GalleryPublisher(
            settings.run_dir, store.dim or _UNKNOWN_DIM, store.model or "", store.fingerprint or "", beat
        )
        try:
            writer = Writer(settings, store, publisher, child, worker, lock)
            writer.store_nothing(without_room)
            writer.load()
            writer.serve()
            publisher.remove_block()
            writer.make_last_backup()
        finally:
            publisher.close()
            try:
                worker.run(store.close)
            except DamagedError as error:  # the next start mends it
                _log.error("%s", error.line())
    finally:
        worker.close()
        lock.release()
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(run_child(main))
