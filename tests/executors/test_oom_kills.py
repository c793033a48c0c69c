"""The kernel's count of its out-of-memory kills: where it is read, and what it explains."""

from __future__ import annotations

from pathlib import Path

import pytest

from para_attn_server.executors.oom import OomKills, find_source


def test_each_kill_explains_one_death_and_only_one_of_just_now(tmp_path: Path) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text("low 0\noom 3\noom_kill 3\noom_group_kill 0\n")
    kills = OomKills(counter)
    assert not kills.take()
    counter.write_text("oom_kill 5\n")
    kills.look()
    assert kills.take()
    assert kills.take()
    assert not kills.take()
    counter.write_text("oom_kill 6\n")
    kills.look()
    kills.look()
    assert not kills.take(), "somebody else's, seconds ago"
    counter.write_text("oom_kill 7\n")
    assert kills.take()
    counter.unlink()
    assert not kills.take(), "a counter that is gone counts nothing"


@pytest.mark.parametrize(
    ("membership", "file"),
    [
        ("0::/system.slice/pictures.service\n", "system.slice/pictures.service/memory.events"),
        ("0::/\n", "memory.events"),
        ("5:cpu:/\n4:memory:/jobs/7\n0::/\n", "memory/jobs/7/memory.oom_control"),
        ("4:cpu,memory:/docker/abc\n", "memory/memory.oom_control"),
    ],
    ids=["v2", "v2 in a container", "v1", "v1 in a container"],
)
def test_the_counter_of_its_own_cgroup_is_read(tmp_path: Path, membership: str, file: str) -> None:
    cgroup_file = tmp_path / "cgroup"
    cgroup_file.write_text(membership)
    counter = tmp_path / "mounted" / file
    counter.parent.mkdir(parents=True)
    counter.write_text("oom_kill 0\n")
    assert find_source(cgroup_file, tmp_path / "mounted") == counter


def test_without_a_memory_cgroup_the_machines_counter_is_read(tmp_path: Path) -> None:
    assert find_source(tmp_path / "none", tmp_path) == Path("/proc/vmstat")
