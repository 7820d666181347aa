"""How many threads are the default: environment, affinity, control groups of both versions."""

from __future__ import annotations

import pytest

from handloom.errors import UsageError
from handloom.runtime import cores


def test_the_environment_overrules(monkeypatch):
    monkeypatch.setenv("HANDLOOM_THREADS", "3")
    assert cores.default_threads() == 3
    monkeypatch.setenv("HANDLOOM_THREADS", "lots")
    with pytest.raises(UsageError, match="HANDLOOM_THREADS is 'lots'"):
        cores.default_threads()


@pytest.mark.parametrize(("quota", "threads"), [(None, 4), (8.0, 4), (1.5, 2), (0.3, 1)])
def test_cores_and_quota(monkeypatch, quota, threads):
    monkeypatch.delenv("HANDLOOM_THREADS", raising=False)
    monkeypatch.setattr(cores, "physical_cores", lambda: 4)
    monkeypatch.setattr(cores, "cgroup_quota", lambda: quota)
    assert cores.default_threads() == threads


def test_there_is_at_least_one_core():
    assert cores.physical_cores() >= 1


def test_the_tightest_group_on_the_way_up_counts(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("0::/outer/inner\n")
    root = tmp_path / "fs"
    (root / "outer" / "inner").mkdir(parents=True)
    assert cores.cgroup_quota(root, own) is None
    (root / "outer" / "inner" / "cpu.max").write_text("max 100000\n")
    assert cores.cgroup_quota(root, own) is None
    (root / "outer" / "cpu.max").write_text("150000 100000\n")
    assert cores.cgroup_quota(root, own) == 1.5


def test_the_first_version_of_control_groups(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("5:memory:/x\n4:cpu,cpuacct:/job\n")
    group = tmp_path / "fs" / "cpu" / "job"
    group.mkdir(parents=True)
    (group / "cpu.cfs_period_us").write_text("100000\n")
    (group / "cpu.cfs_quota_us").write_text("-1\n")
    assert cores.cgroup_quota(tmp_path / "fs", own) is None
    (group / "cpu.cfs_quota_us").write_text("200000\n")
    assert cores.cgroup_quota(tmp_path / "fs", own) == 2.0


def test_no_control_groups_at_all(tmp_path):
    assert cores.cgroup_quota(tmp_path, tmp_path / "missing") is None
