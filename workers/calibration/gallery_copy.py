"""Every reference of a site with its name, piece by piece, for those who look at the whole gallery at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.embeddings import Batch
from shared.errors import Say
from shared.gallery.reader import GalleryReader
from shared.service.access import FilesOfSite, Site
from shared.settings.schema import Settings
from shared.store.loading import sound_batches


@dataclass(frozen=True, eq=False)
class References:
    """A whole gallery: `vectors` (n, dim) float32 of unit norm, `persons` (n,) int32 indices into `names`, `row_ids` (n,)."""

    vectors: NDArray[np.float32]
    persons: NDArray[np.int32]
    row_ids: NDArray[np.int64]
    names: list[str]


@contextmanager
def reference_pieces(site: Site, settings: Settings, say: Say) -> Iterator[Iterator[Batch]]:
    """The references, some thousand at a time: out of the shared block of a site that runs, else out of the database. `say` is told
    of damaged rows."""
    if isinstance(site, FilesOfSite):
        yield sound_batches(site.store, say)
        return
    with GalleryReader(settings.run_dir) as reader:
        yield _published(reader)


def load_references(site: Site, settings: Settings, say: Say) -> References:
    """All of them in this process's own memory: 2 KB a reference of 512 dimensions. An empty gallery gives no rows."""
    names: dict[str, int] = {}
    persons: list[int] = []
    row_ids: list[int] = []
    info = site.call("info")
    vectors = np.empty((info["references"], info["dim"] or 1), np.float32)
    with reference_pieces(site, settings, say) as pieces:
        for piece in pieces:
            begin, end = len(persons), len(persons) + len(piece.names)
            if end > len(vectors):  # enrolled meanwhile
                vectors = np.concatenate([vectors, np.empty((end - len(vectors), vectors.shape[1]), np.float32)])
            vectors[begin:end] = piece.references
            persons += [names.setdefault(name, len(names)) for name in piece.names]
            row_ids += piece.row_ids
    return References(vectors[: len(persons)], np.array(persons, np.int32), np.array(row_ids, np.int64), list(names))


def _published(reader: GalleryReader) -> Iterator[Batch]:
    for piece in reader.live_pieces():
        yield Batch(piece.row_ids.tolist(), piece.names, [None] * len(piece.names), piece.references)
