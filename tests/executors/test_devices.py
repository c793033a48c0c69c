"""Which GPUs the groups have, and what is said where torch sees none of them. GPUs are faked: files in a folder."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from para_attn_server.core.errors import SetupFailed, UsageError
from para_attn_server.core.gpus import driver_version, visible_gpus, why_torch_sees_none
from para_attn_server.core.models import groups_of
from para_attn_server.core.settings import Settings
from para_attn_server.core.wire.launch import GroupSpec, GroupWish, ModelSpec, RankPlace, RankSpec
from para_attn_server.executors.base import ExecutorOptions
from para_attn_server.executors.placement import group_devices
from para_attn_server.rank import device

OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.14  Release Build  (dvs-builder@U16)\nGCC 12"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.57.02  Tue Jul 13 16:14:05 UTC 2021\nGCC version: 9.3.0"


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /dev with two GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-caps"):
        (tmp_path / name).touch()
    return tmp_path


def options(device: str, **changes: Any) -> ExecutorOptions:
    settings = Settings(device=device, **changes)
    return ExecutorOptions.of(settings, groups_of(settings))


def test_the_device_decides_whether_gpus_are_taken(dev: Path) -> None:
    assert group_devices(options("auto"), dev) == ([2], [["0", "1"]])
    assert group_devices(options("cuda", num_groups=2), dev) == ([1, 1], [["0"], ["1"]])
    assert group_devices(options("cpu"), dev) == ([2], [[]])
    assert group_devices(options("cpu", num_devices=3, num_groups=2), dev) == ([3, 3], [[], []])


def test_without_gpus_in_dev_cuda_has_the_ranks_ask_torch(dev: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    assert group_devices(options("auto"), nothing) == ([2], [[]])
    assert group_devices(options("cuda"), nothing) == ([1], [["0"]])
    assert group_devices(options("cuda", num_devices=2, num_groups=2), nothing) == ([2, 2], [["0", "1"], ["2", "3"]])


def wishes(*groups: GroupWish, device: str = "auto") -> ExecutorOptions:
    return ExecutorOptions.of(Settings(device=device), list(groups))


def test_groups_may_differ_and_share_what_is_left(dev: Path) -> None:
    for number in range(2, 8):
        (dev / f"nvidia{number}").touch()
    named, sized, open_ = GroupWish(2, ["6", "1"]), GroupWish(2), GroupWish()
    found = group_devices(wishes(named, sized, open_, open_), dev)
    assert found == ([2, 2, 2, 2], [["6", "1"], ["0", "2"], ["3", "4"], ["5", "7"]])
    assert group_devices(wishes(GroupWish(1), GroupWish(3), device="cpu"), dev) == ([1, 3], [[], []])


def test_groups_of_one_rank_may_share_a_gpu_and_no_others(dev: Path) -> None:
    alone = GroupWish(1, ["0"])
    assert group_devices(wishes(alone, alone), dev) == ([1, 1], [["0"], ["0"]])
    with pytest.raises(UsageError, match="GPU 0 is named twice, once by a group of 2; only groups of one rank"):
        group_devices(wishes(alone, GroupWish(2, ["0", "1"])), dev)
    with pytest.raises(UsageError, match="GPU 1 is named twice"):
        group_devices(wishes(GroupWish(2, ["1", "1"])), dev)


@pytest.mark.parametrize(
    ("groups", "device", "words"),
    [
        ([GroupWish(1, ["2"])], "auto", "GPU 2 is not visible; there are 0, 1"),
        ([GroupWish(1, ["0"])], "cpu", "--device cpu uses no GPU"),
        ([GroupWish(1, ["0"]), GroupWish(2)], "auto", "need 3 GPUs, but 2 are visible"),
        ([GroupWish(1, ["0"]), GroupWish(1), GroupWish()], "auto", "need 3 GPUs, but 2 are visible"),
    ],
)
def test_gpus_that_are_not_there_are_refused(dev: Path, groups: list[GroupWish], device: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        group_devices(wishes(*groups, device=device), dev)


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_are_not_taken(dev: Path, monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert visible_gpus(dev) == []
    assert group_devices(options("auto"), dev) == ([2], [[]])
    with pytest.raises(UsageError, match="CUDA_VISIBLE_DEVICES"):
        group_devices(options("cuda"), dev)


@pytest.mark.parametrize(("text", "expected"), [(OPEN, "550.54.14"), (CLOSED, "470.57.02"), ("nonsense", None)])
def test_the_drivers_version_is_read(tmp_path: Path, text: str, expected: str | None) -> None:
    (tmp_path / "version").write_text(text)
    assert driver_version(tmp_path / "version") == expected
    assert driver_version(tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("built_for", "driver", "words"),
    [
        (None, "535.104", ["the NVIDIA driver is 535.104", "is a CPU build", "pip install", "whl/cu126"]),
        (None, "580.65", ["whl/cu130"]),
        ("12.8", "470.57", ["470.57", "built for CUDA 12.8, which needs driver 525 or newer", "whl/cu118"]),
        ("13.0", "570.1", ["needs driver 580", "whl/cu128"]),
        ("12.8", "390.1", ["needs driver 525", "install a newer driver"]),
        ("12.8", "550.54", ["550.54", "CUDA 12.8;", "nvidia-smi", "CUDA_VISIBLE_DEVICES"]),
        ("12.8", None, ["no NVIDIA driver is loaded", "CUDA 12.8", "--gpus all"]),
    ],
)
def test_versions_and_the_command_that_fits_are_named(
    built_for: str | None, driver: str | None, words: list[str]
) -> None:
    said = why_torch_sees_none("2.9.0", built_for, driver)
    assert all(word in said for word in words), said
    assert "torch 2.9.0" in said


def rank(devices: list[str]) -> RankSpec:
    return RankSpec(GroupSpec(ModelSpec("x"), 0, 2, "info", "json"), 0, RankPlace(0, 2, "", 1, devices=devices))


class Cuda(SimpleNamespace):
    """torch.cuda on a machine with so many GPUs."""

    def __init__(self, count: int, current: int | None = None, in_bad_fork: bool = False) -> None:
        super().__init__(
            is_available=lambda: count > 0,
            device_count=lambda: 2,  # as NVML says, whatever the CUDA runtime can use
            is_initialized=lambda: current is not None,
            _is_in_bad_fork=lambda: in_bad_fork,
            current_device=lambda: current,
            get_device_name=lambda index: f"GPU model {index}",
        )


def test_a_rank_that_has_a_gpu_and_a_torch_without_one_does_not_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.torch, "cuda", Cuda(0))
    with pytest.raises(SetupFailed, match=r"run on GPU 4, 5, but torch sees no GPU: .*torch .*; --device cpu"):
        device.require_gpus(rank(["4", "5"]))
    device.require_gpus(rank([]))
    monkeypatch.setattr(device.torch, "cuda", Cuda(2))
    device.require_gpus(rank(["4", "5"]))
    with pytest.raises(SetupFailed, match="GPUs 4, 5, 6 torch sees 2"):
        device.require_gpus(rank(["4", "5", "6"]))


def test_a_gpu_that_was_used_before_the_fork_is_named_as_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.torch, "cuda", Cuda(2, in_bad_fork=True))
    with pytest.raises(SetupFailed, match="a module of --preload has used a GPU"):
        device.require_gpus(rank(["4", "5"]))
    device.require_gpus(rank([]))


def test_the_device_that_is_reported_is_the_one_that_torch_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.taken_device(rank(["4", "5"])) == "cpu", "torch has used no GPU here"
    monkeypatch.setattr(device.torch, "cuda", Cuda(2, current=1))
    assert device.taken_device(rank(["4", "5"])) == "cuda:5 (GPU model 1)"
