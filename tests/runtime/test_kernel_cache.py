"""The cache of kernels on disk: trusted only if it is the user's own, damaged entries are made anew, bounded."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from handloom.runtime.cache import Cache, home, key

NAME, OTHER = key("one"), key("two")


def test_what_is_put_comes_back_and_survives_the_process(tmp_path):
    Cache(tmp_path / "kernels").put(NAME, b"code")
    cache = Cache(tmp_path / "kernels")
    assert cache.get(NAME) == b"code" and cache.get(OTHER) is None
    assert cache.made(OTHER, lambda: b"new") == b"new" and cache.made(OTHER, lambda: b"never") == b"new"


def test_keys_separate_their_parts_and_name_nothing_else(tmp_path):
    assert key("a", "bc") != key("ab", "c") and len({key(), key(""), key("", "")}) == 3
    with pytest.raises(ValueError, match="no key of this cache"):
        Cache(tmp_path / "kernels").get("../elsewhere")


def test_object_code_depends_on_everything_that_makes_it(tmp_path):
    cache = Cache(tmp_path / "kernels")
    parts = ["ir", "cpu", "+features", "triple", "compiler"]
    made = []
    for change in [None, *range(5), None]:
        changed = [part + "!" * (i == change) for i, part in enumerate(parts)]
        cache.object_code(*changed, lambda change=change: made.append(change) or b"%d" % len(made))
    assert made == [None, 0, 1, 2, 3, 4]


def test_the_folder_is_private(tmp_path):
    cache = Cache(tmp_path / "deep" / "kernels")
    cache.put(NAME, b"code")
    assert stat.S_IMODE((tmp_path / "deep" / "kernels").stat().st_mode) == 0o700
    assert [file.name for file in cache.folder.iterdir()] == [NAME], "no temporary file is left"
    assert stat.S_IMODE((cache.folder / NAME).stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_can_write_to_is_not_used(tmp_path, mode):
    folder = tmp_path / "kernels"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.warns(RuntimeWarning, match="nobody else can write to"):
        cache = Cache(folder)
    cache.put(NAME, b"code")
    assert cache.folder is None and cache.get(NAME) is None and not list(folder.iterdir())
    assert cache.made(NAME, lambda: b"made") == b"made"


def test_a_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    (tmp_path / "kernels").mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.warns(RuntimeWarning, match="belongs to you"):
        assert Cache(tmp_path / "kernels").folder is None


def test_a_file_in_the_way_costs_a_warning(tmp_path):
    (tmp_path / "kernels").write_text("")
    with pytest.warns(RuntimeWarning, match="must be a folder"):
        assert Cache(tmp_path / "kernels").get(NAME) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"),
        lambda path: path.write_bytes(b"X" + path.read_bytes()[1:]),
        lambda path: path.chmod(0o666),
    ],
    ids=["empty", "truncated", "changed", "another format", "writable by others"],
)
def test_a_damaged_entry_is_dropped_and_made_anew(tmp_path, damage):
    cache = Cache(tmp_path / "kernels")
    cache.put(NAME, b"code" * 100)
    damage(cache.folder / NAME)
    assert cache.get(NAME) is None and not (cache.folder / NAME).exists()
    assert cache.made(NAME, lambda: b"anew") == b"anew" == cache.get(NAME)


def test_a_link_is_not_followed(tmp_path):
    cache = Cache(tmp_path / "kernels")
    cache.put(NAME, b"code")
    (cache.folder / OTHER).symlink_to(cache.folder / NAME)
    assert cache.get(OTHER) is None


def test_the_entries_used_longest_ago_go_first(tmp_path):
    cache = Cache(tmp_path / "kernels", limit=10_000)
    names = [key(str(i)) for i in range(8)]
    for i, name in enumerate(names[:7]):
        cache.put(name, b"x" * 1300)
        os.utime(cache.folder / name, (1000 + i, 1000 + i))
    assert cache.get(names[0]) is not None  # used: no longer the oldest; three others go
    cache.put(names[7], b"x" * 1300)
    kept = [name for name in names if cache.get(name) is not None]
    assert kept == [names[0], *names[4:]]


def test_a_full_disk_costs_a_warning(tmp_path, monkeypatch):
    cache = Cache(tmp_path / "kernels")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(RuntimeWarning, match="No space left"):
        assert cache.made(NAME, lambda: b"code") == b"code"
    assert not list((tmp_path / "kernels").iterdir())


def test_where_it_lies(monkeypatch):
    monkeypatch.setenv("HANDLOOM_HOME", "/somewhere")
    assert home() == Path("/somewhere")
    monkeypatch.delenv("HANDLOOM_HOME")
    assert home().name == "handloom" and home().is_absolute()
