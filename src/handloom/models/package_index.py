"""Finds a file on the package index that this environment is configured for, without pip and without building anything.

Asking pip to download a source archive would run its setup code. A file needs no more than the index's page (PEP 503 in
HTML or PEP 691 in JSON), its address there, and its hash.
"""

from __future__ import annotations

import configparser
import html.parser
import importlib
import json
import os
import re
import sys
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handloom.models.fetch import Progress, Unreachable, copy_checked, opened, text_of, without_password

PUBLIC_INDEX = "https://pypi.org/simple"
PAGE_LIMIT = 32 * 2**20  # bytes
ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


@dataclass(frozen=True)
class PackageFile:
    """One file of one release: its project, its name, its size in bytes and its SHA-256."""

    project: str
    filename: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Places:
    """Where this environment looks for packages, in the order of asking."""

    indexes: tuple[str, ...]
    links: tuple[str, ...] = ()  # folders and pages that hold files directly
    certificates: str | None = None

    def shown(self) -> str:
        return ", ".join(map(without_password, (*self.links, *self.indexes)))


def configured(environment: Mapping[str, str] | None = None) -> Places:
    """What the variables and the configuration files of pip and uv say; the public index where they say nothing."""
    environment = os.environ if environment is None else environment
    settings = {**_pip_files(environment), **_pip_variables(environment)}
    main = _unnamed(_first(environment, "UV_DEFAULT_INDEX", "UV_INDEX_URL"))
    uv = _uv_files(environment)
    no_index = settings.get("no-index", "").lower() in ("1", "true", "yes", "on")
    indexes = [] if no_index else [
        settings.get("index-url") or main or uv.get("index-url") or PUBLIC_INDEX,
        *([main] if main else []),
        *settings.get("extra-index-url", "").split(),
        *(_unnamed(word)
          for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL") for word in environment.get(name, "").split()),
        *uv.get("extra", "").split(),
    ]
    links = [*settings.get("find-links", "").split(), *environment.get("UV_FIND_LINKS", "").replace(",", " ").split()]
    return Places(tuple(dict.fromkeys(index.rstrip("/") for index in indexes)), tuple(dict.fromkeys(links)),
                  settings.get("cert"))


def _first(environment: Mapping[str, str], *names: str) -> str:
    return next((environment[name] for name in names if environment.get(name)), "")


def _unnamed(index: str) -> str:
    """uv lets an index be written `name=address`."""
    return re.sub(r"^[\w.-]+=", "", index)


_OPTIONS = ("index-url", "extra-index-url", "find-links", "no-index", "cert")


def _pip_variables(environment: Mapping[str, str]) -> dict[str, str]:
    named = {option: environment.get("PIP_" + option.upper().replace("-", "_"), "") for option in _OPTIONS}
    return {option: value for option, value in named.items() if value}


def _pip_files(environment: Mapping[str, str]) -> dict[str, str]:
    """pip's options, later files over earlier ones, [download] and [install] over [global]."""
    user = Path(environment.get("HOME") or Path.home())
    own = environment.get("PIP_CONFIG_FILE")
    paths = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), user / ".pip/pip.conf",
             Path(environment.get("XDG_CONFIG_HOME") or user / ".config") / "pip/pip.conf",
             *([user / "Library/Application Support/pip/pip.conf"] if sys.platform == "darwin" else []),
             Path(sys.prefix) / "pip.conf", *([Path(own)] if own else [])]
    if own == os.devnull:
        return {}
    found: dict[str, str] = {}
    for path in paths:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue  # pip's file, not ours: whoever runs pip will hear of it there
        for section in ("global", "install", "download"):
            if parser.has_section(section):
                found.update((option, parser.get(section, option)) for option in _OPTIONS
                             if parser.has_option(section, option))
    return found


def _uv_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The indexes of uv.toml; Python 3.10 cannot read TOML, so there the variables alone count."""
    try:
        toml: Any = importlib.import_module("tomllib")
    except ImportError:
        return {}
    user = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME") or Path.home()) / ".config")
    main, extra = "", []
    for path in (user / "uv/uv.toml", Path("/etc/uv/uv.toml")):
        try:
            values = toml.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        pip = values.get("pip") if isinstance(values.get("pip"), dict) else {}
        main = main or str(values.get("index-url") or pip.get("index-url") or "")
        for index in values.get("index", []):
            if isinstance(index, dict) and isinstance(index.get("url"), str):
                if index.get("default"):
                    main = main or index["url"]
                else:
                    extra.append(index["url"])
    return {"index-url": main, "extra": " ".join(extra)}


def download(wanted: PackageFile, target: Path, places: Places | None = None,
             progress: Progress | None = None) -> str:
    """Fetches `wanted` to `target`, size and hash checked, from the first place that has it; returns the address.

    Raises Unreachable with every place that was tried and why it failed.
    """
    places = configured() if places is None else places
    tried: list[str] = []
    searches = [(_in_links, link) for link in places.links] + [(_on_index, index) for index in places.indexes]
    for find, place in searches:
        try:
            address = find(place, wanted, places)
            with opened(address, certificates=places.certificates) as response:
                copy_checked(response, target, wanted.size, wanted.sha256, without_password(address), progress)
            return without_password(address)
        except Unreachable as error:
            tried.append(str(error))
    listed = "".join(f"\n  {reason}" for reason in tried)
    raise Unreachable(f"{wanted.filename} was found nowhere. Tried:{listed or ' nothing, no index is configured'}")


def _in_links(link: str, wanted: PackageFile, places: Places) -> str:
    path = Path(urllib.parse.unquote(urllib.parse.urlsplit(link).path) if link.startswith("file:") else link)
    if "://" in link and not link.startswith("file:"):
        return _address(link, wanted, places)
    file = path / wanted.filename
    if not file.is_file():
        raise Unreachable(f"{path}: holds no {wanted.filename}")
    return file.resolve().as_uri()


def _on_index(index: str, wanted: PackageFile, places: Places) -> str:
    project = re.sub(r"[-_.]+", "-", wanted.project).lower()
    page = f"{index}/{project}/"
    if page.startswith("file:"):
        folder = Path(urllib.parse.unquote(urllib.parse.urlsplit(page).path))
        page = (folder / "index.html").as_uri()
    return _address(page, wanted, places)


def _address(page: str, wanted: PackageFile, places: Places) -> str:
    text, kind, address = text_of(page, PAGE_LIMIT, ACCEPT, places.certificates)
    found = (urllib.parse.urldefrag(urllib.parse.urljoin(address, link)).url for link in _links(text, kind, page))
    for link in found:
        parts = urllib.parse.urlsplit(link)
        local = parts.scheme == "file" and not page.startswith("file:")  # a page from the net may not point in here
        if urllib.parse.unquote(parts.path.rpartition("/")[2]) == wanted.filename and not local:
            return _with_password(link, page)
    raise Unreachable(f"{without_password(page)}: lists no {wanted.filename}")


def _with_password(link: str, page: str) -> str:
    """The index's user and password go along to its own host, and to no other."""
    there, here = urllib.parse.urlsplit(link), urllib.parse.urlsplit(page)
    user, at, host = here.netloc.rpartition("@")
    same = (there.scheme, there.netloc) == (here.scheme, host)
    return urllib.parse.urlunsplit(there._replace(netloc=f"{user}{at}{host}")) if same else link


def _links(text: str, kind: str, page: str) -> Iterator[str]:
    if kind.endswith("json"):
        try:
            files = json.loads(text)["files"]
            yield from (str(file["url"]) for file in files)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Unreachable(f"{without_password(page)}: not an index page ({error})") from error
        return
    anchors = _Anchors()
    anchors.feed(text)
    yield from anchors.links


class _Anchors(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("href")
        if address and tag == "base":
            self.base = address
        elif address and tag == "a":
            self.links.append(urllib.parse.urljoin(self.base, address))
