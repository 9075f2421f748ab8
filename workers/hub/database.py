"""The database: its collections, indexes and deadlines. Everything that speaks to MongoDB goes through here.

Nothing of the address is ever printed but its hosts: it holds a password. Nor is a text of the driver's, which may hold a document.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pymongo import ASCENDING, AsyncMongoClient, IndexModel
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, DuplicateKeyError, InvalidURI, OperationFailure, PyMongoError
from pymongo.errors import ConfigurationError as DriverConfigurationError
from pymongo.read_concern import ReadConcern
from pymongo.uri_parser import parse_uri
from pymongo.write_concern import WriteConcern

from shared.errors import ConfigurationError, RollcallError, TemporaryError

Document = dict[str, Any]
Collection = AsyncCollection[Document]

_DATABASE = "rollcall"  # where the address names none
_CONNECT_MS, _SOCKET_MS = 5_000, 20_000
DEADLINE_S = 20.0  # of one operation
_DUPLICATE = 11000
_LOGIN_REFUSED = (13, 18)  # Unauthorized, AuthenticationFailed

_INDEXES: Mapping[str, list[IndexModel]] = {
    "items": [
        IndexModel([("origin", ASCENDING), ("seq", ASCENDING)]),
        IndexModel([("id", ASCENDING)]),
        IndexModel([("person_id", ASCENDING)]),
        IndexModel([("kind", ASCENDING), ("model", ASCENDING), ("dim", ASCENDING)]),
    ],
    "marks": [
        IndexModel([("person_hash", ASCENDING)]),
        IndexModel([("person_id", ASCENDING)]),
        IndexModel([("id", ASCENDING)]),
    ],
    "sightings": [
        IndexModel([("origin", ASCENDING), ("seq", ASCENDING)]),
        IndexModel([("site", ASCENDING), ("seq", ASCENDING)]),
        IndexModel([("person_hash", ASCENDING)]),
        IndexModel([("person_id", ASCENDING)]),
        IndexModel([("time", ASCENDING)]),
    ],
    "tokens": [IndexModel([("site", ASCENDING)])],
}


def hosts_of(uri: str, where: str) -> str:
    """The hosts that an address names, which may be shown. Raises ConfigurationError if it is none of MongoDB's."""
    if uri.startswith("mongodb+srv://"):  # parse_uri would ask the name service
        return uri.removeprefix("mongodb+srv://").rpartition("@")[2].partition("/")[0].partition("?")[0]
    try:
        return ", ".join(f"{host}:{port}" for host, port in parse_uri(uri)["nodelist"])
    except (InvalidURI, DriverConfigurationError, ValueError) as error:
        raise _no_uri(where, error) from None


def _no_uri(where: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(
        "not an address of MongoDB",
        where=where,
        got=type(error).__name__,
        expected="mongodb://USER:PASSWORD@HOST:27017/DATABASE or mongodb+srv://…, with special characters of the password percent-encoded",
    )


class Database:
    """One database behind one address."""

    def __init__(self, uri: str, where: str) -> None:
        """`where`: where the address was written. Raises ConfigurationError."""
        self.hosts = hosts_of(uri, where)
        try:
            self._client: AsyncMongoClient[Document] = AsyncMongoClient(
                uri,
                appname="rollcall-backend",
                connectTimeoutMS=_CONNECT_MS,
                serverSelectionTimeoutMS=_CONNECT_MS,
                socketTimeoutMS=_SOCKET_MS,
                tz_aware=True,
            )
            named: AsyncDatabase[Document] = self._client.get_default_database(_DATABASE)
        except (PyMongoError, ValueError) as error:
            raise _no_uri(where, error) from None
        # A batch is told to be stored only when a majority has it on the disk: what one server alone has can be undone by a failover.
        self._named = named.with_options(write_concern=WriteConcern(w="majority"))
        self.hub = ""  # the id of this database

    @property
    def items(self) -> Collection:
        return self._named["items"]

    @property
    def things(self) -> Collection:
        """The ids of all things that have a published version."""
        return self._named["things"]

    @property
    def marks(self) -> Collection:
        """What forgets or deletes people, once more: it is asked at each save, and is small."""
        return self._named["marks"]

    @property
    def origins(self) -> Collection:
        return self._named["origins"]

    @property
    def sightings(self) -> Collection:
        return self._named["sightings"]

    @property
    def sites(self) -> Collection:
        return self._named["sites"]

    @property
    def tokens(self) -> Collection:
        return self._named["tokens"]

    async def prepare(self) -> None:
        """Look what kind of server this is, make the indexes, and take the database's id. Raises TemporaryError or ConfigurationError."""
        async with self.explained():
            hello = await self._client.admin.command("hello")
            if "setName" in hello or hello.get("msg") == "isdbgrid":
                self._named = self._named.with_options(read_concern=ReadConcern("majority"))
            for name, indexes in _INDEXES.items():
                for index in indexes:  # one at a time: FerretDB falls over several that are there already
                    await self._named[name].create_indexes([index])
            self.hub = await self._id()

    async def _id(self) -> str:
        """The id of this database, made by whoever came first."""
        hubs: Collection = self._named["hub"]
        found = await hubs.find_one({"_id": "hub"})
        if found is None:
            with contextlib.suppress(DuplicateKeyError):  # another backend was faster
                await hubs.insert_one({"_id": "hub", "hub": secrets.token_urlsafe(8)})
            found = await hubs.find_one({"_id": "hub"})
        assert found is not None
        return str(found["hub"])

    async def ping(self) -> None:
        """Ask the server whether it is there. Raises PyMongoError or TimeoutError."""
        async with deadline():
            await self._client.admin.command("ping")

    @asynccontextmanager
    async def explained(self) -> AsyncIterator[None]:
        """Turns faults of the driver into errors of ours."""
        try:
            async with deadline():
                yield
        except (PyMongoError, TimeoutError) as error:
            raise database_fault(error, self.hosts) from None

    async def close(self) -> None:
        await self._client.close()


def deadline() -> asyncio.Timeout:
    """A limit on one operation, whatever the driver does. Raises TimeoutError at its end."""
    return asyncio.timeout(DEADLINE_S)


def database_fault(error: Exception, hosts: str) -> RollcallError:
    """An error of the driver as one of ours, without its text."""
    if isinstance(error, OperationFailure) and error.code in _LOGIN_REFUSED:
        return ConfigurationError(
            "the database refuses this user",
            where=hosts,
            got=f"code {error.code}",
            expected="a user that may read and write this database",
            remedy="see docs/backend.md#a-user-of-the-database",
        )
    code = f", code {error.code}" if isinstance(error, OperationFailure) else ""
    return TemporaryError(
        "the database does not answer as it should",
        where=hosts,
        got=f"{type(error).__name__}{code}",
        remedy="check that it runs and can be reached from here",
    )


async def insert_new(collection: Collection, documents: list[Document]) -> set[str]:
    """Insert documents whose keys are not there yet. Returns the keys that were there."""
    if not documents:
        return set()
    try:
        async with deadline():
            await collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        faults = (error.details or {}).get("writeErrors", [])
        if (error.details or {}).get("writeConcernErrors") or any(one["code"] != _DUPLICATE for one in faults):
            raise
        return {documents[one["index"]]["_id"] for one in faults}
    return set()


async def found(
    collection: Collection, query: Mapping[str, Any], fields: Mapping[str, Any] | None = None
) -> list[Document]:
    """All documents that fit, with a deadline. For queries with a bound of their own."""
    async with deadline():
        return await collection.find(query, fields).to_list()
