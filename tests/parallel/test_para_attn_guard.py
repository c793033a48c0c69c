"""What is mended in para_attn is code of its own: another version of it is to be looked at again."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from para_attn_server.core.errors import SetupFailed
from para_attn_server.rank import para_attn_compat

CP, FBC = "context_parallel.diffusers_adapters", "first_block_cache.diffusers_adapters"
VAE = "parallel_vae.diffusers_adapters.autoencoder_kl"
CODE: dict[str, str] = {
    "primitives:get_assigned_chunk": "2c327b09ebd2",
    "primitives:get_complete_tensor": "913ab2cbeb0f",
    "ops:_attention_forward_with_lse": "96ad31fd637f",
    "ops:attention_forward_with_lse": "d0106f88a0b6",
    "sparse_attn:sparse_kv_attn_func": "7e87101a7608",
    "sparse_attn:struct_sparse_attn_func": "1a5d5346cb8d",
    "sparse_attn:focus_attn_func": "df8b1e1532d0",
    "para_attn_interface:UnifiedAttnMode._call_unified_attn_func": "ccd96bb0795f",
    "para_attn_interface:ulysses_attn_func": "f39154608241",
    "para_attn_interface:ring_attn_func": "fb878e62ee0b",
    "para_attn_interface:in_batch_attn_func": "a881705855d4",
    "first_block_cache.utils:CachedTransformerBlocks.__init__": "4c41474cf38b",
    "first_block_cache.utils:create_cache_context": "76029015d33d",
    "context_parallel:init_context_parallel_mesh": "b347759ef2c7",
    "context_parallel.diffusers_adapters.flux:parallelize_pipe": "2debaf975ddd",
    "context_parallel.diffusers_adapters.mochi:parallelize_pipe": "2debaf975ddd",
    "context_parallel.diffusers_adapters.cogvideox:parallelize_pipe": "2debaf975ddd",
    "context_parallel.diffusers_adapters.hunyuan_video:parallelize_pipe": "2debaf975ddd",
    "context_parallel.diffusers_adapters.wan:parallelize_pipe": "2debaf975ddd",
    "context_parallel.diffusers_adapters.flux:parallelize_transformer": "3cedeae9dade",
    "context_parallel.diffusers_adapters.hunyuan_video:parallelize_transformer": "fe0da6e9fb92",
    "context_parallel.diffusers_adapters.wan:parallelize_transformer": "00a548d32d36",
    "context_parallel.diffusers_adapters.mochi:parallelize_transformer": "7a856a27782a",
    "first_block_cache.diffusers_adapters.flux:apply_cache_on_pipe": "e947b702e7ab",
    "first_block_cache.diffusers_adapters.mochi:apply_cache_on_pipe": "4d421768dd84",
    "first_block_cache.diffusers_adapters.cogvideox:apply_cache_on_pipe": "e947b702e7ab",
    "first_block_cache.diffusers_adapters.hunyuan_video:apply_cache_on_pipe": "e947b702e7ab",
    "first_block_cache.diffusers_adapters.wan:apply_cache_on_pipe": "81af29c355a0",
    "first_block_cache.diffusers_adapters.hunyuan_video:apply_cache_on_transformer": "274e630fdaf3",
    "first_block_cache.diffusers_adapters.wan:apply_cache_on_transformer": "8f4f27ccfdd5",
    "parallel_vae.diffusers_adapters.autoencoder_kl:send_tensor": "4a059d18f3ec",
    "parallel_vae.diffusers_adapters.autoencoder_kl:recv_tensor": "e7614c40c90a",
    "parallel_vae.diffusers_adapters.autoencoder_kl:parallelize_vae": "c6781a3ae83e",
    "parallel_vae.diffusers_adapters.autoencoder_kl_hunyuan_video:send_tensor": "4a059d18f3ec",
    "parallel_vae.diffusers_adapters.autoencoder_kl_hunyuan_video:recv_tensor": "e7614c40c90a",
    "parallel_vae.diffusers_adapters.autoencoder_kl_hunyuan_video:parallelize_vae": "9fdfc6af7326",
    "parallel_vae.diffusers_adapters.autoencoder_kl_wan:send_tensor": "4a059d18f3ec",
    "parallel_vae.diffusers_adapters.autoencoder_kl_wan:recv_tensor": "e7614c40c90a",
    "parallel_vae.diffusers_adapters.autoencoder_kl_wan:parallelize_vae": "26df9602ea11",
}
"""The first digits of the SHA-256 of each piece of para_attn 0.3.38 that is mended, and of what a mend is built on."""


def code(name: str) -> Any:
    """The thing of that name as para_attn has it, without what was put around it."""
    module, _, attribute = name.partition(":")
    found = importlib.import_module(f"para_attn.{module}")
    for part in attribute.split("."):
        found = getattr(found, part)
    return inspect.unwrap(found)


def digest(name: str) -> str:
    return hashlib.sha256(inspect.getsource(getattr(code(name), "_init_fn", code(name))).encode()).hexdigest()[:12]


@pytest.mark.parametrize("name", CODE)
def test_the_code_that_is_mended_is_the_code_that_was_seen(name: str) -> None:
    assert digest(name) == CODE[name], f"para_attn {version('para-attn')} has other code there: look at the mend again"


def test_every_mended_place_is_guarded() -> None:
    para_attn_compat.install()
    mended = set()
    for name, _ in para_attn_compat._mends():
        module = importlib.import_module(f"para_attn.{name}")
        owners = {"": module} | {
            f"{key}.": value
            for key, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == module.__name__
        }
        for prefix, owner in owners.items():
            for key, value in vars(owner).items():
                made = getattr(value, "__code__", None)
                if made is not None and Path(made.co_filename).parent == Path(para_attn_compat.__file__).parent:
                    # Where another module imports it from one that has been mended, it is mended there.
                    home = inspect.unwrap(value).__module__.removeprefix("para_attn.") if owner is module else name
                    mended.add(f"{name}:{prefix}{key}" if f"{name}:{prefix}{key}" in CODE else f"{home}:{prefix}{key}")
    assert mended <= set(CODE), mended - set(CODE)


@pytest.mark.parametrize("part", [CP, FBC])
@pytest.mark.parametrize("name", ["WanVACETransformer3DModel", "HunyuanVideoFramepackTransformer3DModel"])
def test_a_class_that_would_come_out_wrong_is_refused(part: str, name: str) -> None:
    para_attn_compat.install()
    adapters = importlib.import_module(f"para_attn.{part}")
    function = getattr(adapters, "parallelize_transformer", None) or adapters.apply_cache_on_transformer
    with pytest.raises(SetupFailed, match=f"{name} would come out wrong"):
        function(type(name, (torch.nn.Module,), {})())


def test_what_para_attn_does_not_know_is_refused() -> None:
    para_attn_compat.install()
    replaced = type(
        "HunyuanVideoTransformer3DModel", (), {"config": SimpleNamespace(image_condition_type="token_replace")}
    )
    residual = type("AutoencoderKLWan", (), {"config": SimpleNamespace(is_residual=True)})
    from para_attn.context_parallel.diffusers_adapters import parallelize_transformer
    from para_attn.parallel_vae.diffusers_adapters import parallelize_vae

    with pytest.raises(SetupFailed, match="token_replace"):
        parallelize_transformer(replaced())
    with pytest.raises(SetupFailed, match="residual"):
        parallelize_vae(residual())


def test_the_second_transformer_of_wan_is_spread_too(monkeypatch: pytest.MonkeyPatch) -> None:
    para_attn_compat.install()
    wan = importlib.import_module(f"para_attn.{CP}.wan")
    spread: list[Any] = []
    monkeypatch.setattr(wan, "parallelize_transformer", lambda transformer, mesh: spread.append((transformer, mesh)))
    pipe = type(
        "WanPipeline",
        (),
        {
            "__call__": lambda self: None,
            "transformer": "high",
            "transformer_2": SimpleNamespace(device=torch.device("cpu")),
        },
    )()
    wan.parallelize_pipe(pipe, mesh="mesh")
    assert spread == [(pipe.transformer_2, "mesh"), ("high", "mesh")]


@pytest.mark.parametrize("name", ["MochiTransformer3DModel", "HunyuanVideoTransformer3DModel", "WanTransformer3DModel"])
def test_a_cache_that_would_be_dropped_is_refused(name: str) -> None:
    para_attn_compat.install()
    config = SimpleNamespace(image_condition_type=None)
    embed = SimpleNamespace(forward=lambda timestep, guidance, pooled: None)
    cached = type(name, (), {"_is_cached": True, "config": config, "time_text_embed": embed})
    adapters = importlib.import_module(f"para_attn.{CP}")
    with pytest.raises(SetupFailed, match="after parallelize_pipe"):
        adapters.parallelize_transformer(cached())


def test_a_mochi_cache_takes_its_settings() -> None:
    para_attn_compat.install()
    from para_attn.first_block_cache import utils

    assert utils.create_cache_context({"residual_diff_threshold": 0.5}).residual_diff_threshold == 0.5
