"""Checks of the GPUs: driver, memory, and whether torch can use what the driver shows."""

from __future__ import annotations

import shutil
from typing import Any

from para_attn_server.cli.checks.check import Check, ok, problem, size_text, warning
from para_attn_server.core.gpus import driver_version, ranks_of_groups, visible_gpus, why_torch_sees_none
from para_attn_server.core.models import groups_of
from para_attn_server.core.settings import Settings

_MOSTLY_TAKEN = 0.5


def device_checks(settings: Settings, facts: dict[str, Any]) -> list[Check]:
    """facts: the answer of `para_attn_server.rank.probe`."""
    driver, visible = facts["driver"], facts["torch"].get("devices", 0)
    checks = [_driver(driver, visible), _torch_devices(facts["torch"], driver, settings.device)]
    checks += [_gpu(index, gpu) for index, gpu in enumerate(driver.get("gpus", []))]
    gpus, wanted = usable_gpus(settings, facts), ranks_wanted(settings, facts)
    shared = len(named := [gpu for wish in groups_of(settings) for gpu in wish.gpus]) - len(set(named))
    if gpus and wanted - shared > gpus:
        found = f"{gpus} GPUs, {wanted} ranks asked for"
        checks.append(problem("ranks", found, "lower --num-devices or --num-groups: each rank takes a GPU"))
    return checks


def usable_gpus(settings: Settings, facts: dict[str, Any]) -> int:
    """How many GPUs the ranks would share: those that torch sees, unless the settings leave them alone."""
    return 0 if settings.device == "cpu" else int(facts["torch"].get("devices", 0))


def ranks_wanted(settings: Settings, facts: dict[str, Any]) -> int:
    """How many ranks the controller would start, as it counts them itself."""
    groups, gpus = groups_of(settings), usable_gpus(settings, facts)
    named = {gpu for wish in groups for gpu in wish.gpus}
    return sum(ranks_of_groups(groups, max(0, gpus - len(named)) if gpus else None))


def _driver(driver: dict[str, Any], visible: int) -> Check:
    name = "NVIDIA driver"
    if "error" not in driver:
        tool = "" if shutil.which("nvidia-smi") else " (nvidia-smi is not on the PATH; the server does not need it)"
        return ok(name, f"{driver['driver']}{tool}")
    if driver["error"].startswith("ModuleNotFoundError"):
        if visible:
            advice = "to see driver and memory here: pip install nvidia-ml-py"
            return warning(name, "found, but nvidia-ml-py is not installed", advice)
        return ok(name, "unknown (nvidia-ml-py is not installed)")
    if shutil.which("nvidia-smi"):
        return problem(name, driver["error"], "the driver does not respond: run nvidia-smi")
    return ok(name, "none (nor nvidia-smi): ranks run on the CPU")


def _torch_devices(torch: dict[str, Any], driver: dict[str, Any], device: str) -> Check:
    name = "GPUs"
    seen, there = torch.get("devices", 0), len(driver.get("gpus", [])) or len(visible_gpus())
    if device == "cpu":
        return ok(name, "not used (--device cpu)")
    if seen:
        if not torch["nccl"]:
            return problem(name, f"{seen}, but torch is built without NCCL", "install a CUDA build of torch for Linux")
        return ok(name, f"{seen} of {there} visible to torch" if there else f"{seen} visible to torch")
    if (there or device == "cuda") and "error" not in torch:
        reason = why_torch_sees_none(torch["version"], torch["cuda"], driver.get("driver") or driver_version())
        found, _, advice = reason.partition("; ")
        return problem(name, f"{there}, but torch sees none: {found}", f"{advice}; or serve with --device cpu")
    return ok(name, "none: ranks run on the CPU with gloo (slow; for trials)")


def _gpu(index: int, gpu: dict[str, Any]) -> Check:
    found = f"{gpu['name']}, {size_text(gpu['free'])} free of {size_text(gpu['total'])}"
    if gpu["free"] < _MOSTLY_TAKEN * gpu["total"]:
        return warning(f"GPU {index}", found, "another program holds its memory: nvidia-smi shows which")
    return ok(f"GPU {index}", found)
