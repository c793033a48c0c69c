"""`doctor` says what is wrong and what to do, changes nothing, and never imports torch itself."""

from __future__ import annotations

import fcntl
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from para_attn_server.cli.checks import machine, places, software
from para_attn_server.cli.checks.check import Check, State
from para_attn_server.cli.checks.devices import device_checks, ranks_wanted, usable_gpus
from para_attn_server.cli.main import command_line
from para_attn_server.core.settings import Settings

CPU_TORCH = {"version": "2", "cuda": None, "devices": 0, "gloo": True, "nccl": False}
GPU_TORCH = {"version": "2", "cuda": "12.8", "devices": 2, "gloo": True, "nccl": True}
GPU = {"name": "H200", "total": 100 * 2**30, "free": 99 * 2**30}
DRIVER = {"driver": "570", "gpus": [GPU, GPU]}


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(command_line, ["doctor", *arguments], catch_exceptions=False)


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(port=0, state_dir=tmp_path / "state", output_dir=tmp_path / "outputs")


def test_a_healthy_machine_is_healthy_and_is_left_as_it_was(tmp_path: Path) -> None:
    folders = ["--state-dir", str(tmp_path / "state"), "--output-dir", str(tmp_path / "outputs")]
    result = doctor("--json", "--port", "0", *folders)
    found = json.loads(result.output)
    assert (result.exit_code, found["ok"]) == (0, True), result.output
    names = {check["name"] for check in found["checks"]}
    assert {"Python", "torch", "para-attn", "gunicorn", "GPUs", "address", "loopback", "kernel", "open files"} <= names
    assert list(tmp_path.iterdir()) == []


def test_torch_stays_out_of_the_commands_process() -> None:
    code = (
        "import sys; from para_attn_server.cli.doctor import all_checks, load_settings\n"
        "all_checks(load_settings(model='demo')); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_problems_come_with_advice_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = doctor("--port", port, "--state-dir", str(tmp_path / "file" / "state"), "--model", "nosuch")
    text = " ".join(result.output.split())
    assert result.exit_code == 1
    assert f"127.0.0.1:{port}: Address already in use" in text
    assert "choose another --port" in text
    assert "choose another --state-dir" in text
    assert "no predictor is named 'nosuch'" in text


def test_a_server_that_holds_the_state_directory_is_noticed(settings: Settings) -> None:
    settings.state_dir.mkdir()
    lock = settings.state_dir / "lock"
    lock.write_text("4711\n")
    assert by_name(places.place_checks(settings))["state directory lock"].state is State.OK
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        check = by_name(places.place_checks(settings))["state directory lock"]
    assert check.state is State.PROBLEM
    assert "4711" in check.found


def test_an_address_of_another_machine_is_a_problem() -> None:
    check = by_name(places.place_checks(Settings(host="192.0.2.1")))["address"]
    assert check.state is State.PROBLEM
    assert "--host" in check.advice


def test_an_output_directory_without_the_room_that_min_free_wants_is_a_problem(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", output_dir=tmp_path, min_free=2**62)
    checks = by_name(places.place_checks(settings))
    assert checks["output directory"].state is State.PROBLEM
    assert "--min-free wants" in checks["output directory"].advice
    assert checks["state directory"].state is not State.PROBLEM


def test_a_folder_that_cannot_be_written_is_a_problem() -> None:
    check = by_name(places.place_checks(Settings(output_dir="/proc/outputs")))["output directory"]
    assert check.state is State.PROBLEM
    assert "--output-dir" in check.advice


@pytest.mark.parametrize(
    ("path", "kind"), [("/data/state", "nfs4"), ("/data2", "ext4"), ("/my disk/x", "fuse.sshfs"), ("/", "ext4")]
)
def test_the_file_system_of_a_path_is_the_innermost_mount(path: str, kind: str) -> None:
    mounts = (
        "none / overlay rw 0 0\n/dev/a / ext4 rw 0 0\nhost:/x /data nfs4 rw 0 0\nu@h:/ /my\\040disk fuse.sshfs rw 0 0\n"
    )
    assert places.file_system_of(Path(path), mounts) == kind


def test_the_doctor_judges_the_device_that_is_asked_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"torch": CPU_TORCH, "driver": DRIVER}
    cpu, cuda = (settings.model_copy(update={"device": device}) for device in ("cpu", "cuda"))
    assert by_name(device_checks(cpu, facts))["GPUs"].state is State.OK
    found = by_name(device_checks(settings, facts))["GPUs"]
    assert "the NVIDIA driver is 570, and torch 2 is a CPU build" in found.found
    assert "whl/cu128" in found.advice
    assert "--device cpu" in found.advice
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    nothing = {"torch": CPU_TORCH, "driver": {"error": "NVMLError_LibraryNotFound"}}
    assert by_name(device_checks(settings, nothing))["GPUs"].state is State.OK
    assert by_name(device_checks(cuda, nothing))["GPUs"].state is State.PROBLEM


def test_more_ranks_than_cores_are_a_warning(settings: Settings) -> None:
    assert by_name(machine.machine_checks(settings, 100_000, 0))["CPU cores"].state is State.WARNING
    assert by_name(machine.machine_checks(settings, 100_000, 100_000))["CPU cores"].state is State.OK
    assert by_name(machine.machine_checks(settings, 100_000, 0))["memory"].state is State.WARNING


def test_too_few_open_files_are_a_warning(settings: Settings) -> None:
    many = settings.model_copy(update={"web_connections": 10**9})
    assert "ulimit -n" in by_name(machine.machine_checks(many, 1, 0))["open files"].advice


@pytest.mark.parametrize(
    ("torch", "driver", "check", "state"),
    [
        (CPU_TORCH, {"error": "NVMLError_LibraryNotFound"}, "GPUs", State.OK),
        (CPU_TORCH, {"error": "NVMLError_LibraryNotFound"}, "NVIDIA driver", State.OK),
        (GPU_TORCH, {"error": "ModuleNotFoundError: No module named 'pynvml'"}, "NVIDIA driver", State.WARNING),
        (CPU_TORCH, DRIVER, "GPUs", State.PROBLEM),
        ({**GPU_TORCH, "devices": 0}, DRIVER, "GPUs", State.PROBLEM),
        ({**GPU_TORCH, "nccl": False}, DRIVER, "GPUs", State.PROBLEM),
        (GPU_TORCH, DRIVER, "GPUs", State.OK),
        (GPU_TORCH, DRIVER, "GPU 1", State.OK),
        (GPU_TORCH, {**DRIVER, "gpus": [{**GPU, "free": 2**30}]}, "GPU 0", State.WARNING),
    ],
)
def test_devices(settings: Settings, torch: dict[str, Any], driver: dict[str, Any], check: str, state: State) -> None:
    found = by_name(device_checks(settings, {"torch": torch, "driver": driver}))[check]
    assert found.state is state
    assert (found.advice == "") == (state is State.OK)


def test_more_ranks_than_gpus_are_a_problem(settings: Settings) -> None:
    facts = {"torch": GPU_TORCH, "driver": DRIVER}
    assert "ranks" not in by_name(device_checks(settings.model_copy(update={"num_devices": 2}), facts))
    check = by_name(device_checks(settings.model_copy(update={"num_devices": 2, "num_groups": 2}), facts))["ranks"]
    assert check.found == "2 GPUs, 4 ranks asked for"


@pytest.mark.parametrize(
    ("device", "devices", "groups", "gpus", "ranks"),
    [
        ("auto", None, 1, 8, 8),
        ("auto", None, 2, 8, 8),
        ("auto", None, 2, 0, 4),
        ("auto", 3, 2, 0, 6),
        ("cpu", None, 1, 8, 2),
    ],
)
def test_ranks_wanted(settings: Settings, device: str, devices: int | None, groups: int, gpus: int, ranks: int) -> None:
    changed = settings.model_copy(update={"device": device, "num_devices": devices, "num_groups": groups})
    facts = {"torch": {**GPU_TORCH, "devices": gpus}, "driver": DRIVER}
    assert ranks_wanted(changed, facts) == ranks
    assert usable_gpus(changed, facts) == (0 if device == "cpu" else gpus)


def test_packages_that_do_not_import_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    facts: dict[str, Any] = {"torch": CPU_TORCH, "diffusers": {"error": "ImportError: x"}, "para_attn": {}}
    checks = by_name(software.software_checks(facts))
    assert checks["diffusers"].state is State.PROBLEM
    assert "ImportError: x" in checks["diffusers"].found
    assert checks["torch"].found.endswith("CPU build")
    monkeypatch.setattr(software, "_NEEDED", ("no-such-package",))
    assert by_name(software.software_checks(facts))["no-such-package"].found == "not installed"
