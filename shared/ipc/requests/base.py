"""What every request to the gallery and every answer is: a type that can be written as JSON and read from JSON.

On the wire a request has its `op`, and its fields as `arguments`. An answer has its fields. Embeddings are sent as raw bytes after
the JSON document: little-endian float32, one row for each embedding (see wire.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from shared.errors import TemporaryError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
else:  # The supervisor imports this module and sends no vectors, so it need not load numpy.
    Vectors = Any
Answer_co = TypeVar("Answer_co", bound="Answer", covariant=True)
_Kind = TypeVar("_Kind")


def _no_vectors() -> Vectors:
    import numpy as np

    return np.empty((0, 0), np.float32)


class Unfit(ValueError):
    """A document is not of the type that it should be. The text is the place and the kind of the first fault, without the value."""


def _checked(kind: type[_Kind], document: object) -> _Kind:
    """The document as a `kind`. Raises Unfit."""
    # Pydantic takes 6 MB. A camera asks and is asked so little that those types check it themselves.
    from shared.ipc.requests.checking import checked

    return checked(kind, document)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`warning`: something that went wrong although the request was done."""

    warning: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: _plain(value) for name, value in vars(self).items() if name != "warning" or value is not None}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Unknown fields are ignored: a newer Rollcall may add some. Raises TemporaryError, without the values, if it is not such an answer."""
        try:
            return cls._read(document)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise TemporaryError(
                "the site sent an answer that this program does not know",
                where=cls.__name__,
                got=str(error) if isinstance(error, Unfit) else type(error).__name__,
                remedy="restart the site, so that it runs the same version of Rollcall as this command",
            ) from None  # the cause would show the values

    @classmethod
    def _read(cls, document: Mapping[str, Any]) -> Self:
        return _checked(cls, dict(document))

    def with_warnings(self, warnings: Sequence[str]) -> Self:
        return replace(self, warning="; ".join(filter(None, [self.warning, *warnings])) or None)


@dataclass(frozen=True)
class Request(Generic[Answer_co]):
    """One request. `op`: its name on the wire; `answer`: the type of its answer; `sent_once`: it is not repeated if its answer is lost."""

    op: ClassVar[str]
    answer: ClassVar[type[Any]]
    sent_once: ClassVar[bool] = False

    def to_wire(self) -> tuple[dict[str, Any], bytes | memoryview]:
        """The arguments, and the raw bytes that follow them."""
        arguments = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "vectors"}
        return {name: _plain(value) for name, value in arguments.items()}, b""

    @classmethod
    def from_wire(cls, arguments: object, blob: bytes | memoryview) -> Self:  # noqa: ARG003  # requests with vectors use it
        """Raises UsageError, without the values, if it is not such a request."""
        return cls._checked(arguments)

    @classmethod
    def _checked(cls, arguments: object) -> Self:
        try:
            return _checked(cls, arguments)
        except Unfit as error:
            raise UsageError("not a request of this operation", where=cls.op, got=str(error)) from error


def _plain(value: Any) -> Any:
    """A value as JSON can hold it. Dataclasses become objects, also inside lists."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, Answer):
        return value.to_json()
    return {name: _plain(one) for name, one in vars(value).items()} if is_dataclass(value) else value


@dataclass(frozen=True)
class WithVectors(Request[Answer_co]):
    """A request with embeddings: `vectors` (n, dim) float32."""

    vectors: Vectors = field(default_factory=_no_vectors, kw_only=True, compare=False)

    def to_wire(self) -> tuple[dict[str, Any], bytes | memoryview]:
        import numpy as np

        arguments, _ = super().to_wire()
        return arguments, np.ascontiguousarray(self.vectors, "<f4").reshape(-1).view(np.uint8).data

    @classmethod
    def from_wire(cls, arguments: object, blob: bytes | memoryview) -> Self:
        request = cls._checked(arguments)
        return replace(request, vectors=_rows(cls.op, blob, request.vector_count()))

    def vector_count(self) -> int:
        """How many rows `vectors` must have."""
        raise NotImplementedError


def _rows(op: str, blob: bytes | memoryview, count: int) -> Vectors:
    if not count:
        return _no_vectors()
    if not blob or len(blob) % (4 * count):
        raise UsageError(
            "not a request of this operation", where=op, got=f"{len(blob)} bytes of vectors for {count} rows"
        )
    import numpy as np

    return np.frombuffer(blob, "<f4").reshape(count, -1)


@dataclass(frozen=True, kw_only=True)
class Done(Answer):
    """The request was done. There is nothing else to report."""


@dataclass(frozen=True, kw_only=True)
class Counted(Answer):
    count: int
