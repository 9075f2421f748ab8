"""Fetches model packs from where their makers publish them, and unpacks ZIPs of any origin safely."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from shared.errors import RefusedError
from shared.photos.reading import shown
from workers.recognition import pack as onnx_pack
from workers.recognition.free_packs import FREE_PACKS
from workers.recognition.pack_file import PACK_FILE

if TYPE_CHECKING:
    import requests

MAX_FILE_BYTES = 2 << 30  # the largest published recogniser has 260 MB
MAX_PACK_BYTES = 4 << 30
_MAX_ENTRIES = 1000
_CHUNK_BYTES = 1 << 20
_CONNECT_S, _READ_S = 10.0, 30.0
_MAX_REDIRECTS = 5
_NOTES = (onnx_pack.MANIFEST, PACK_FILE)

DownloadProgress = Callable[[int, int | None], None]  # (bytes so far, bytes in all or None)


def fetch_zip(folder: Path, target: Path, progress: DownloadProgress | None = None) -> None:
    """Fetch a published pack's ZIP into the file `target`. The pack's name is that of `folder`.

    Of insightface's own download only the address is used: it has no time limit, prints to stdout, and unpacks in place. Raises
    ConfigurationError, see `_fetch`.
    """
    _fetch(folder, onnx_pack.DOWNLOAD_URL.format(name=folder.name), target, MAX_PACK_BYTES, progress)
    if not zipfile.is_zipfile(target):
        raise onnx_pack.missing_pack(folder, "what came is no ZIP: does a proxy want a login?")


def fetch_files(folder: Path, into: Path, progress: DownloadProgress | None = None) -> None:
    """Fetch the files of a free pack into the folder `into`. The pack's name is that of `folder`. Their sums are still to be checked.

    Raises ConfigurationError, see `_fetch`.
    """
    for file in FREE_PACKS[folder.name].files:
        _fetch(folder, file.url, into / file.name, file.size_bytes, progress)


def _fetch(folder: Path, url: str, target: Path, most_bytes: int, progress: DownloadProgress | None) -> None:
    """Fetch one file of a pack. `progress` is called with (bytes so far, bytes in all or None). Raises ConfigurationError when there is no
    network, no such file, or more than `most_bytes`; its remedy says what to put where instead."""
    import requests

    done = 0
    try:
        with _answer(folder, url) as response, target.open("wb") as file:
            if response.status_code != HTTPStatus.OK:
                raise onnx_pack.missing_pack(folder, _refusal(response.status_code))
            length = response.headers.get("content-length", "")
            total = int(length) if length.isdecimal() else None
            for chunk in response.iter_content(_CHUNK_BYTES):
                done += file.write(chunk)
                if done > most_bytes:
                    raise onnx_pack.missing_pack(folder, f"the answer has more than {most_bytes} bytes")
                if progress:
                    progress(done, total)
    except requests.RequestException as error:
        raise onnx_pack.missing_pack(folder, _why(error)) from error


@contextmanager
def _answer(folder: Path, url: str) -> Iterator[requests.Response]:
    """The answer after at most _MAX_REDIRECTS redirects, all over https. Raises ConfigurationError."""
    import requests

    for _ in range(_MAX_REDIRECTS + 1):
        if urlsplit(url).scheme != "https":
            raise onnx_pack.missing_pack(folder, "the answer leads off https, where anybody on the way could change it")
        with requests.get(url, stream=True, timeout=(_CONNECT_S, _READ_S), allow_redirects=False) as response:
            if not response.is_redirect:
                yield response
                return
            url = urljoin(url, response.headers["location"])
    raise onnx_pack.missing_pack(folder, f"more than {_MAX_REDIRECTS} redirects")


def unpack_zip(archive: Path, folder: Path) -> None:
    """Unpack the models of a ZIP into `folder`, down to one folder level. All other files in the ZIP are ignored.

    Raises RefusedError when the ZIP is damaged or encrypted, would write outside `folder`, holds two files of one name, or is
    larger than MAX_FILE_BYTES for a file or MAX_PACK_BYTES in all. Bytes are counted while unpacking, because the sizes that a
    ZIP declares may be false.
    """
    left = MAX_PACK_BYTES
    try:
        with zipfile.ZipFile(archive) as opened:
            for entry, path in _wanted(archive, opened):
                target = folder / path
                target.parent.mkdir(exist_ok=True)
                left -= _unpack(opened, entry, target, min(left, MAX_FILE_BYTES))
    except _TooLargeError as error:
        raise RefusedError(
            "the ZIP is too large for a model pack",
            where=shown(archive),
            expected=f"at most {MAX_FILE_BYTES >> 30} GiB a file and {MAX_PACK_BYTES >> 30} GiB in all",
        ) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: encrypted; NotImplementedError: a compression that this Python does not have.
        raise RefusedError(
            "the ZIP can't be unpacked", where=shown(archive), got=str(error), remedy="fetch or copy it again"
        ) from error


class _TooLargeError(Exception):
    """More came out of the ZIP than a pack holds."""


def _wanted(archive: Path, opened: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """The entries that belong to a pack. Raises RefusedError for an archive that is suspicious or ambiguous."""
    entries = [(entry, PurePosixPath(entry.filename)) for entry in opened.infolist() if not entry.is_dir()]
    if len(entries) > _MAX_ENTRIES:
        raise RefusedError("the ZIP is no model pack", where=shown(archive), got=f"{len(entries)} files")
    outside = [path for _, path in entries if path.is_absolute() or ".." in path.parts]
    if outside:
        raise RefusedError("the ZIP would write outside its folder", where=shown(archive), got=ascii(str(outside[0])))
    wanted = [(entry, path) for entry, path in entries if path.suffix == ".onnx" or path.name in _NOTES]
    wanted = [(entry, path) for entry, path in wanted if len(path.parts) <= 2]
    if len({path for _, path in wanted}) < len(wanted):
        raise RefusedError("the ZIP holds several files of one name", where=shown(archive))
    return wanted


def _unpack(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, most_bytes: int) -> int:
    """Unpack one entry. Returns its size in bytes. Raises _TooLargeError."""
    done = 0
    with opened.open(entry) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            done += file.write(chunk)
            if done > most_bytes:
                raise _TooLargeError
    return done


def _refusal(status: int) -> str:
    return "the model zoo has no pack of this name" if status == HTTPStatus.NOT_FOUND else f"HTTP status {status}"


def _why(error: Exception) -> str:
    """What failed, in a few words. The messages of `requests` have several lines and name its internals."""
    import requests

    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate is not trusted"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__
