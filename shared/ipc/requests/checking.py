"""Whether a document is what a type says, by pydantic. base.py loads this module only when the first document is checked."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import FailFast, TypeAdapter, ValidationError

from shared.ipc.requests.base import Unfit

_MAX_LISTED = 100  # if a document has more faults, the error has only their number
_Kind = TypeVar("_Kind")
_Item = TypeVar("_Item")
# A list whose check stops at the first fault: to list millions of faults takes minutes and gigabytes.
Many = Annotated[list[_Item], FailFast()]
_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def checked(kind: type[_Kind], document: object) -> _Kind:
    """The document as a `kind`. Raises Unfit, from the ValidationError, which holds the values."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    adapter: TypeAdapter[_Kind] = _ADAPTERS[kind]
    try:
        return adapter.validate_python(document)
    except ValidationError as error:
        raise Unfit(_first_fault(error)) from error


def _first_fault(error: ValidationError) -> str:
    """The place and the kind of the first fault, without the value."""
    if (count := error.error_count()) > _MAX_LISTED:
        return f"{count} faults"
    fault = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, fault['loc'][:3]))[:80]}: {fault['type']}"
