"""One file from a server: resumed where it stopped, checked by the hash in its name, whole or absent."""

import hashlib
import http.client
import ipaddress
import os
import re
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from cache.errors import InputError, StorageError
from cache.files import storage_error, sync_folder
from pipeline.runtime.progress import Progress

MAX_BYTES = 1 << 30  # the largest official weights have about a third of it
CHUNK_BYTES = 1 << 18
MEGABYTE = 1_000_000
TIMEOUT_SECONDS = 30.0
AGAIN = "Run the same command again: it goes on where it stopped."


@dataclass(frozen=True)
class Download:
    """One file on its way to its path, by way of `<name>.partial`, which outlives a killed run.

    The path's name ends in the hash: `<anything>-<first hexadecimal digits of the SHA-256>.<suffix>`.
    offline: what a user without the server can do, said when it does not deliver.
    """

    url: str
    path: Path
    progress: Progress
    offline: str

    def run(self) -> None:
        """Leave the whole file with the right hash, or none. Processes that want the same file wait for each other."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f"{self.path.name}.lock")):
                if not self.path.exists():  # another process was quicker
                    self._receive()
                    self._settle()
        except OSError as error:  # of the network are InputErrors by now
            raise storage_error(self.path, error) from error

    @property
    def _partial(self) -> Path:
        return self.path.with_name(f"{self.path.name}.partial")

    def _receive(self) -> None:
        """Fill the partial file, from where an earlier run left it where the server can."""
        start = self._partial.stat().st_size if self._partial.exists() else 0
        response = self._open(start)
        if response is None:  # the server has nothing beyond what lies here
            return
        with response:
            start, total = self._extent(response, start)
            self._refuse_size(total or start)
            self._refuse_disk((total or start) - start)
            with (
                self._partial.open("ab") as file,
                self.progress((total or 0) // MEGABYTE, "MB", self.path.name) as advance,
            ):
                file.truncate(start)
                advance(start // MEGABYTE)
                done = start
                while (total is None or done < total) and (chunk := self._read(response)):
                    self._refuse_size(done + len(chunk))
                    file.write(chunk)
                    advance((done + len(chunk)) // MEGABYTE - done // MEGABYTE)
                    done += len(chunk)
                file.flush()
                os.fsync(file.fileno())
        if total is not None and done < total:
            raise self._error("the download was cut short", AGAIN, f"{total:,} bytes", f"{done:,}")

    def _settle(self) -> None:
        """Give the whole file its name, or delete it."""
        try:
            check_hash(self._partial, self.path, "It was deleted. Run the same command again.")
        except InputError:
            self._partial.unlink()
            raise
        os.replace(self._partial, self.path)
        sync_folder(self.path.parent)

    def _open(self, start: int) -> Any:
        """The server's response from byte `start` on, None where there are no such bytes."""
        headers = {"User-Agent": "augcache", **({"Range": f"bytes={start}-"} if start else {})}
        try:
            request = urllib.request.Request(self.url, headers=headers)  # noqa: S310 the opener knows http(s) alone
            return _opener(self.url).open(request, timeout=TIMEOUT_SECONDS)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                return None
            raise self._unreachable(f"HTTP status {error.code}") from error
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(str(getattr(error, "reason", error)) or type(error).__name__) from error

    def _read(self, response: Any) -> bytes:
        try:
            return bytes(response.read1(CHUNK_BYTES))
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise self._error("the download was cut short", AGAIN, actual=reason) from error

    def _extent(self, response: Any, start: int) -> tuple[int, int | None]:
        """Where the response's first byte belongs, and the size of the whole file if the server says it."""
        length = response.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else None
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            return 0, size  # no Range here: from the beginning
        actual = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if actual is None or int(actual[1]) != start:
            self._partial.unlink(missing_ok=True)
            raise self._error("the server sent another range than asked for", "Run the same command again.")
        return start, int(actual[2]) if actual[2] != "*" else None if size is None else start + size

    def _refuse_size(self, size: int) -> None:
        if size > MAX_BYTES:
            self._partial.unlink(missing_ok=True)
            raise self._error("the server sends too much", "", f"at most {MAX_BYTES:,} bytes", f"{size:,} or more")

    def _refuse_disk(self, size: int) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if size > free:
            what = "the disk lacks space for the download"
            expected = f"{size:,} bytes"
            raise StorageError(what, where=self.path.parent, expected=expected, found=f"{free:,}", remedy=self.offline)

    def _unreachable(self, reason: str) -> InputError:
        return self._error("cannot be downloaded", f"Try again. {self.offline}", actual=reason)

    def _error(self, what: str, remedy: str, expected: object = None, actual: object = None) -> InputError:
        return InputError(what, where=self.path.name, expected=expected, found=actual, remedy=remedy)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never to an address that would be refused itself."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _refuse_plain(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Speaks HTTP and HTTPS and nothing else: no files, no FTP."""
    opener = urllib.request.OpenerDirector()
    proxies = urllib.request.ProxyHandler({} if _refuse_plain(url) else None)
    errors = urllib.request.HTTPErrorProcessor(), urllib.request.HTTPDefaultErrorHandler(), _Redirects()
    for handler in (proxies, urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(), *errors):
        opener.add_handler(handler)
    return opener


def _refuse_plain(url: str) -> bool:
    """Raise InputError unless the address is HTTPS or on this machine; whether it is on this machine."""
    parts = urlsplit(url)
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise InputError("is downloaded by https alone", where=parts.path.rpartition("/")[2], found=parts.scheme)
    return loopback


def check_hash(file: Path, path: Path, remedy: str) -> None:
    """Refuse `file` unless its SHA-256 begins as the name of `path` says."""
    named = path.stem.rpartition("-")[2]
    try:
        with file.open("rb") as opened:
            actual = hashlib.file_digest(opened, "sha256").hexdigest()[: len(named)]
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror}", where=file) from error
    if actual != named:
        expected = f"a SHA-256 that begins with {named}"
        raise InputError("has the wrong hash", where=path, expected=expected, found=actual, remedy=remedy)
