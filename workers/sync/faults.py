"""What goes wrong with a backend, by what is to be done about it."""

from __future__ import annotations

from shared.errors import RollcallError, TemporaryError


class BackendFault(TemporaryError):
    """The backend can't be reached, or did not answer as it should. The same request may succeed later."""

    def __init__(
        self, what: str, *, where: str, got: object = None, remedy: str = "", retry_after_s: float = 0.0
    ) -> None:
        """`retry_after_s`: how long it asks to be left alone."""
        super().__init__(what, where=where, got=got, remedy=remedy or "it is tried again; see: supervisor.py status")
        self.retry_after_s = retry_after_s


class NotLetInError(BackendFault):
    """The backend refuses this site: its token is wrong or revoked, or the address is another program's."""


class BatchRefusedError(RollcallError):
    """The backend refuses what was sent, and would refuse it again. `status`: of HTTP; 413: it is too large."""

    def __init__(self, what: str, *, where: str, status: int) -> None:
        super().__init__(what, where=where, got=status)
        self.status = status
