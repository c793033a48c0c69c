"""Parallel VAEs. Each function takes the module of para_attn that it patches."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist

from para_attn_server.core.errors import SetupFailed
from para_attn_server.rank.para_attn_compat.mend import mend


def vae(module: ModuleType) -> None:
    """Tiles are sent by the rank in their group, where torch wants the rank in the world. Wan 2.2's residual VAE fails
    on rank zero, while the others wait."""

    def send(original: Any, tensor: Any, dst: int, group: Any) -> None:
        original(tensor, dist.get_global_rank(group, dst), group)

    def receive(original: Any, src: int, group: Any, **kwargs: Any) -> Any:
        return original(dist.get_global_rank(group, src), group, **kwargs)

    def parallelize_vae(original: Any, vae: Any, **kwargs: Any) -> Any:
        if getattr(vae.config, "is_residual", False):
            raise SetupFailed(f"para_attn cannot spread the residual {type(vae).__name__} of Wan 2.2")
        return original(vae, **kwargs)

    mend(module, "send_tensor", send)
    mend(module, "recv_tensor", receive)
    mend(module, "parallelize_vae", parallelize_vae)


def wan_vae(module: Any) -> None:
    """Each tile is clamped before it is blended with its neighbors, where diffusers clamps the blended picture."""

    class TorchWithoutClamp:
        def __getattr__(self, name: str) -> Any:
            return getattr(torch, name)

        @staticmethod
        def clamp(tensor: torch.Tensor, **_: float) -> torch.Tensor:
            return tensor

    def parallelize_vae(original: Any, vae: Any, **kwargs: Any) -> Any:
        vae = original(vae, **kwargs)
        decode = vae._decode

        @functools.wraps(decode)
        def clamped(*args: Any, return_dict: bool = True, **kwargs: Any) -> Any:
            picture = torch.clamp(decode(*args, return_dict=False, **kwargs)[0], min=-1.0, max=1.0)
            return module.DecoderOutput(sample=picture) if return_dict else (picture,)

        vae._decode = clamped
        return vae

    module.torch = TorchWithoutClamp()
    mend(module, "parallelize_vae", parallelize_vae)
