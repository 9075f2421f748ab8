"""A site's gallery without a site, and its exchange with a backend: what `supervisor.py sync` does while no site runs."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from shared.ipc.requests.sync import SyncStanding, SyncStatus
from shared.model_id import ModelId
from shared.records import NewReference
from shared.service.access import FilesOfSite
from shared.settings.file import load_settings
from tests.support.stores import silent
from workers.sync.backend_client import BackendClient, target_of
from workers.sync.exchange import Exchange
from workers.sync.report import Report

DIM = 128
KEY = "5a" * 32
MODEL = ModelId.parse("insightface/tiny", "ab" * 32, DIM)


def face(seed: int) -> NDArray[np.float32]:
    """An embedding (DIM,), float32, unit L2 norm."""
    vector = np.random.default_rng(seed).normal(size=DIM)
    unit: NDArray[np.float32] = (vector / np.linalg.norm(vector)).astype(np.float32)
    return unit


class SyncSite:
    """One gallery in a folder of its own, and its exchange."""

    def __init__(self, folder: Path, address: str, *, key: str | None = KEY, token: str | None = None) -> None:
        folder.mkdir(exist_ok=True)
        lines = ["[sync]", f'backend = "{address}/api"']
        for name, text in (("key_file", key), ("token_file", token)):
            if text is not None:
                path = folder / name
                path.write_text(text, encoding="utf-8")
                path.chmod(0o600)
                lines.append(f'{name} = "{name}"')
        (folder / "site.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        self.settings = load_settings(folder / "site.toml")
        self.gallery = FilesOfSite(self.settings, silent)
        if self.gallery.store.fingerprint is None:
            with self.gallery.store.transaction():
                self.gallery.store.stamp(MODEL)
        self.backend = BackendClient(target_of(self.settings))
        self.exchange = Exchange(self.gallery, self.backend)

    def enrol(self, person: str, seed: int, path: str | None = None, user_id: str | None = None) -> None:
        """Save one reference."""
        self.gallery.save([NewReference(person, path, user_id)], face(seed)[np.newaxis])

    def sync(self) -> Report:
        """One exchange."""
        return self.exchange.run()

    def people(self) -> dict[str, int]:
        """Who is enrolled, with how many references."""
        return {one.person: one.references for one in self.gallery.people()}

    def standing(self) -> SyncStanding:
        return self.gallery.ask(SyncStatus())

    def close(self) -> None:
        self.backend.close()
        self.gallery.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
