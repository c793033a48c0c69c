"""`python -m para_attn_server.rank.probe`: what torch, para-attn and the GPU driver say of themselves, as JSON.

Imports all of them, so it runs in a short-lived process of its own (`para-attn-server doctor`). A package that does
not import answers with its error. Nothing is allocated on a GPU.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any


def torch_facts() -> dict[str, Any]:
    """cuda: the CUDA version torch is built for, None for a CPU build; devices: how many GPUs torch sees; nccl."""
    import torch

    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "devices": torch.cuda.device_count(),
        "gloo": torch.distributed.is_available() and torch.distributed.is_gloo_available(),
        "nccl": torch.distributed.is_available() and torch.distributed.is_nccl_available(),
    }


def import_facts(module: str) -> dict[str, Any]:
    """Empty where the module imports."""
    importlib.import_module(module)
    return {}


def driver_facts() -> dict[str, Any]:
    """The NVIDIA driver's version, and of each GPU name, total and free bytes."""
    import pynvml

    pynvml.nvmlInit()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        gpus = [{"name": pynvml.nvmlDeviceGetName(handle), **_memory(handle)} for handle in handles]
        return {"driver": pynvml.nvmlSystemGetDriverVersion(), "gpus": gpus}
    finally:
        pynvml.nvmlShutdown()


def _memory(handle: Any) -> dict[str, int]:
    import pynvml

    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    return {"total": memory.total, "free": memory.free}


def _facts(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return ask()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Print the facts."""
    facts = {
        "torch": _facts(torch_facts),
        "driver": _facts(driver_facts),
        "diffusers": _facts(lambda: import_facts("diffusers")),
        "para_attn": _facts(lambda: import_facts("para_attn.context_parallel")),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
