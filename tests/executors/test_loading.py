"""What is said of ranks while they load: measured from outside, for as long as they do."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from waiting import wait_until

from para_attn_server.executors.loading import HubFiles, Loading, LoadingReports, hub_cache, measured


def test_memory_and_what_was_read_are_measured_from_outside(tmp_path: Path) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(bytes(60_000_000))
    before = measured(os.getpid())
    held = weights.read_bytes()
    after = measured(os.getpid())
    assert after["read_mb"] - before["read_mb"] >= 59
    assert after["memory_mb"] - before["memory_mb"] >= 50 and len(held) == 60_000_000
    assert set(after) == {"pid", "memory_mb", "read_mb", "disk_read_mb", "cpu_s"}


def test_a_process_that_is_gone_is_named_and_no_more() -> None:
    assert measured(2**22 + 1) == {"pid": 2**22 + 1}


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"HF_HUB_CACHE": "/a/hub", "HF_HOME": "/b"}, "/a/hub"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HOME": "/d"}, "/d/.cache/huggingface/hub"),
    ],
)
def test_the_hub_cache_is_where_the_hubs_library_has_it(
    variables: dict[str, str], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(hub_cache()) == place


def test_files_that_a_download_makes_grow_are_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    hub = HubFiles()
    assert hub.look() == {}
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "whole").write_bytes(bytes(9_000_000))
    part = blobs / "x.incomplete"
    part.write_bytes(bytes(3_000_000))
    assert hub.look() == {"files": 1, "grown_mb": 3.0, "mb": 3.0}
    assert hub.look() == {}
    part.write_bytes(bytes(5_000_000))
    assert hub.look() == {"files": 1, "grown_mb": 2.0, "mb": 5.0}
    part.unlink()
    assert hub.look() == {}


def test_reports_come_until_nothing_loads_any_more_and_again_when_something_does() -> None:
    loading = [Loading("rank is loading", {"group": 0, "rank": 1}, os.getpid(), time.monotonic())]

    async def play() -> None:
        reports = LoadingReports(asyncio.get_running_loop(), lambda: list(loading), every=0.02)
        for _ in range(2):
            with capture_logs() as said:
                reports.begin()
                await until(lambda: len(said) >= 3)
                kept, loading[:] = list(loading), []
                await until(lambda: reports._due is None)
            loading[:] = kept
            for record in said:
                assert (record["event"], record["group"], record["rank"]) == ("rank is loading", 0, 1)
                assert record["elapsed_s"] >= 0 and record["memory_mb"] > 0
        reports.close()

    asyncio.run(play())


async def until(true: Callable[[], bool]) -> None:
    """Wait for it on the loop."""
    await asyncio.get_running_loop().run_in_executor(None, lambda: wait_until(true, 20))
