"""One file over HTTP: what came before the connection broke is kept, and gone on from."""

import http.client
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from engine.live_bar import LiveBar
from engine.whole_file import errors_told, sync_file, whole_file
from tools.fetching.web_page import page_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SECONDS = 30.0  # of silence after which a connection counts as broken
PAUSES = (1.0, 3.0, 10.0)  # before each further try; one that brings something begins them anew
_CHUNK = 1 << 20
_SPARE = 1 << 26  # bytes that stay free on the disk
_HEADERS = {"User-Agent": "fetch-weights", "Accept-Encoding": "identity"}
_LATER = (408, 425, 429, 500, 502, 503, 504)  # the server may give it the next time
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")

_log = logging.getLogger(__name__)


class BrokenError(Exception):
    """A connection broke, or the server has no time: another try may bring the rest."""


class Part:
    """What there is of a file that is being fetched, beside its place, and what it is a part of.

    Args:
        place: Path where the whole file is to lie.
        address: URL that it comes from; a part from elsewhere is not gone on from.
    """

    def __init__(self, place: Path, address: str) -> None:
        self.path = place.with_name(f".{place.stem}.part{place.suffix}")  # the suffix tells readers
        self._notes = self.path.with_name(f"{self.path.name}.json")
        self.address = address
        self.total = 0
        self.validator = ""
        try:
            said = json.loads(self._notes.read_bytes())
            if said["address"] == address:
                self.total, self.validator = int(said["total"]), str(said["validator"])
        except (OSError, ValueError, KeyError, TypeError):  # there is none, or none of ours
            self.total = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the part for this process within a ``with``: two would mix their bytes in it.

        Raises:
            ValueError: Another process holds it.
        """
        path = self.path.with_name(f"{self.path.name}.lock")
        with errors_told(path):
            handle = path.open("a")
        with handle:
            with errors_told(path):
                is_ours = _takes_lock(handle, path)
            if not is_ours:
                raise ValueError(f"{self.path}: another process is fetching it; wait")
            try:
                yield
            finally:
                path.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        """Bytes that are there and can be gone on from."""
        have = self.path.stat().st_size if self.total and self.path.is_file() else 0
        return have if have <= self.total else 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return bool(self.total) and self.size == self.total

    def begin(self, total: int, validator: str) -> None:
        """Forget what is there; note what is to come, of so many bytes (0: unknown)."""
        self.drop()
        self.total, self.validator = total, validator
        with whole_file(self._notes) as file:
            said = {"address": self.address, "total": total, "validator": validator}
            file.write(json.dumps(said).encode())

    def drop(self) -> None:
        """Remove what is there."""
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)
        self.total = 0

    def settle(self) -> Path:
        """Bring the whole part onto the disk; return its path."""
        with errors_told(self.path), self.path.open("r+b") as file:
            sync_file(file.fileno())
        self._notes.unlink(missing_ok=True)
        return self.path


def _takes_lock(handle: IO[str], path: Path) -> bool:
    """Lock an open file; False where another process has it, or has just removed it."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def download(part: Part) -> Path:
    """Fetch what is missing of a part.

    Args:
        part: Part of the file that is there; its folder exists.

    Returns:
        The part's path. It is whole as far as the server says how large it is.

    Raises:
        ValueError: The server cannot be reached, does not give the file or gives a web page; or the
            disk is too full; or the connection broke too often, and what came is kept.
        UnwritableError: It cannot be written.
    """
    tries = list(PAUSES)
    while not part.is_whole:
        before = part.size
        try:
            _fetch_rest(part)
        except BrokenError as error:
            tries = list(PAUSES) if part.size > before else tries
            if not tries:
                kept = f"; {_mb(part.size)} of it are kept, and the same command goes on from there"
                raise ValueError(f"{part.address}: {error}{kept if part.size else ''}") from error
            _log.info("%s; trying again", error)
            time.sleep(tries.pop(0))
        else:
            break
    return part.settle()


def _fetch_rest(part: Part) -> None:
    """Ask for what is missing and append it; begin anew where the server gives the whole file."""
    have, headers = part.size, dict(_HEADERS)
    if have:
        headers["Range"] = f"bytes={have}-"
        if part.validator:
            headers["If-Range"] = part.validator  # a file that is another by now comes as a whole
    try:
        response = urlopen(Request(part.address, headers=headers), timeout=SECONDS)
    except HTTPError as error:
        with error:
            _judge_refusal(error, part)
        raise BrokenError(f"the server answers {error.code} {error.reason}") from error
    except URLError as error:
        if isinstance(error.reason, TimeoutError):
            raise BrokenError("the server does not answer") from error
        host = urlsplit(part.address).hostname
        raise ValueError(f"{host} cannot be reached: {error.reason}") from error
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise BrokenError(f"the server does not answer: {error or type(error).__name__}") from error
    with response:
        _check_source(response, part)
        if have and not _goes_on(response, part, have):
            have = 0
        if not have:
            part.begin(response.length or 0, _validator(response))
        _check_room(part)
        _append(response, part, have)


def _judge_refusal(error: HTTPError, part: Part) -> None:
    """Raise ValueError where another try cannot help."""
    if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        part.drop()  # what lies there has another size than it had
    elif error.code not in _LATER:
        raise ValueError(f"{part.address}: the server answers {error.code} {error.reason}")


def _check_source(response: Any, part: Part) -> None:
    """Reject an address that leads from https to somewhere that is not."""
    if part.address.startswith("https:") and not response.url.startswith("https:"):
        raise ValueError(f"{part.address} leads on to {response.url}, which is not https")


def _goes_on(response: Any, part: Part, have: int) -> bool:
    """Tell whether an answer is the rest of what is there.

    Raises:
        BrokenError: It is a part of another file, or another part; what was there is removed.
    """
    if response.status != http.client.PARTIAL_CONTENT:
        _log.info("the server gives the file from its beginning alone")
        return False
    found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not found or (int(found[1]), int(found[2])) != (have, part.total):
        part.drop()
        raise BrokenError("the server gives another part than was asked for")
    _log.info("going on from %s of %s", _mb(have), _mb(part.total))
    return True


def _append(response: Any, part: Part, have: int) -> None:
    """Write what comes behind what is there.

    Raises:
        ValueError: It is a web page.
        BrokenError: The connection breaks before the end.
    """
    noun, total = "MB", -(-part.total // 10**6)
    with (
        errors_told(part.path),
        part.path.open("ab") as file,
        LiveBar(total, noun, part.path.name) as bar,
    ):
        bar.update(have // 10**6)
        while chunk := _read(response):
            if not have:
                _check_is_no_page(chunk, response, part)
            file.write(chunk)
            bar.update((have + len(chunk)) // 10**6 - have // 10**6)
            have += len(chunk)
    if part.total and have < part.total:
        raise BrokenError(f"the connection broke after {_mb(have)} of {_mb(part.total)}")


def _read(response: Any) -> bytes:
    try:
        chunk: bytes = response.read(_CHUNK)
    except (http.client.HTTPException, OSError) as error:  # of the network: nothing is written here
        raise BrokenError(f"the connection broke: {error or type(error).__name__}") from error
    return chunk


def _check_is_no_page(chunk: bytes, response: Any, part: Part) -> None:
    if page := page_of(chunk, is_said=response.headers.get_content_type() == "text/html"):
        part.drop()
        raise ValueError(f"{part.address} gives {page}, not the file")


def _check_room(part: Part) -> None:
    missing = part.total - part.size
    free = shutil.disk_usage(part.path.parent).free
    if missing + _SPARE > free:
        raise ValueError(
            f"{part.path.parent}: {_mb(missing)} are to come, {_mb(free)} are free; make room there"
        )


def _validator(response: Any) -> str:
    """Return what the server knows this state of the file by; a weak tag is of no use here."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _mb(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"
