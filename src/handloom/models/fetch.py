"""Bytes from elsewhere: bounded while they come, hashed before they count, never run.

`urllib` alone, so that proxies and certificates are the ones that the environment sets.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import importlib
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from handloom.errors import HandloomError

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 2**18  # bytes
SCHEMES = ("http", "https", "file")

Progress = Callable[[int, int], None]  # bytes so far, bytes in all


class Unreachable(HandloomError):
    """A place that did not answer, or has not got what was asked for: the next one may."""


def without_password(url: str) -> str:
    """The address as it may be shown: user and password replaced."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit(parts._replace(netloc=f"***@{host}" if "@" in parts.netloc else host))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but takes no password along to another host and never leaves http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            raise Unreachable(f"{without_password(req.full_url)}: redirects to {without_password(newurl)}, "
                              "which is not followed")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and urllib.parse.urlsplit(newurl).netloc != urllib.parse.urlsplit(req.full_url).netloc:
            request.headers.pop("Authorization", None)
        return request


def opened(url: str, accept: str = "*/*", certificates: str | None = None, timeout: float = TIMEOUT) -> Any:
    """A response of `url`, to be closed by the caller. Raises Unreachable with the reason."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise Unreachable(f"{without_password(url)}: only {', '.join(SCHEMES)} are fetched")
    request = urllib.request.Request(
        urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])),
        headers={"Accept": accept, "User-Agent": "handloom"},
    )
    if parts.username is not None:
        user = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
    opener = urllib.request.build_opener(_Redirects, urllib.request.HTTPSHandler(context=_trust(certificates)))
    try:
        return opener.open(request, timeout=timeout)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        code = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        raise Unreachable(f"{without_password(url)}: {code}{reason}") from error


def reachable(url: str) -> None:
    """Raises Unreachable if nobody answers there within ten seconds; any answer will do.

    Behind a SOCKS proxy, which `urllib` does not speak, nothing is tried and nothing raised.
    """
    if any(address.startswith("socks") for address in urllib.request.getproxies().values()):
        return
    try:
        opened(url, timeout=10.0).close()
    except Unreachable as error:
        if not isinstance(error.__cause__, urllib.error.HTTPError):
            raise


def _trust(certificates: str | None) -> ssl.SSLContext:
    """The system's certificates, certifi's where it is there, and a file that pip or the environment names."""
    context = ssl.create_default_context()
    named = [certificates, *(os.environ.get(name) for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))]
    with contextlib.suppress(ImportError):
        named.append(importlib.import_module("certifi").where())
    for path in named:
        if path and os.path.isfile(path):
            context.load_verify_locations(cafile=path)
    return context


def text_of(url: str, limit: int, accept: str = "*/*", certificates: str | None = None) -> tuple[str, str, str]:
    """(text, content type, final address) of a page of at most `limit` bytes."""
    with opened(url, accept, certificates) as response:
        try:
            raw = response.read(limit + 1)
        except (http.client.HTTPException, OSError) as error:
            raise Unreachable(f"{without_password(url)}: broke off: {error}") from error
        if len(raw) > limit:
            raise Unreachable(f"{without_password(url)}: more than {limit} bytes, which no honest page has")
        return raw.decode("utf-8", "replace"), response.headers.get_content_type(), response.geturl()


def copy_checked(source: IO[bytes], target: Path, size: int, sha256: str, what: str,
                 progress: Progress | None = None) -> None:
    """Copies exactly `size` bytes with the hash `sha256` to `target`; anything else is an error and leaves no file."""
    digest, done = hashlib.sha256(), 0
    try:
        with open(target, "wb") as file:
            for block in _blocks(source, what):
                done += len(block)
                if done > size:
                    raise HandloomError(f"{what}: longer than the {size} bytes that it must have; refused")
                digest.update(block)
                file.write(block)
                if progress is not None:
                    progress(done, size)
        if done != size:
            raise Unreachable(f"{what}: broke off after {done} of {size} bytes")
        if digest.hexdigest() != sha256:
            raise HandloomError(f"{what}: its SHA-256 is {digest.hexdigest()}, but must be {sha256}; refused")
    except HandloomError:
        target.unlink(missing_ok=True)
        raise
    except OSError as error:
        target.unlink(missing_ok=True)
        raise HandloomError(f"{target}: could not be written: {error.strerror or error}") from error


def _blocks(source: IO[bytes], what: str) -> Iterator[bytes]:
    while True:
        try:
            block = source.read(CHUNK)
        except (http.client.HTTPException, OSError) as error:
            raise Unreachable(f"{what}: broke off: {error}") from error
        if not block:
            return
        yield block


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()
