"""Patches para_attn 0.3.38 for the diffusers and torch that the server is tested with, whoever imports it.

`install()` imports nothing: each module of para_attn is patched as soon as it is imported, by `parallelize`, by a
predictor that calls para_attn itself, or never. The patches and their reasons are listed in docs/parallel.md;
`tests/parallel/test_para_attn_guard.py` fails where another para_attn has other code in these places.
"""

from __future__ import annotations

from functools import partial

from para_attn_server.rank.imports import Act, when_imported
from para_attn_server.rank.para_attn_compat import attention, decoders, first_block_cache, transformers

FAMILIES = ("flux", "mochi", "cogvideox", "hunyuan_video", "wan")
_CP, _FBC, _VAE = (f"{part}.diffusers_adapters." for part in ("context_parallel", "first_block_cache", "parallel_vae"))


def install() -> None:
    """Patch para_attn when it is imported, or now if it already is. Idempotent."""
    if not _installed:
        _installed.append(True)
        for name, mend in _mends():
            when_imported(f"para_attn.{name}", mend)


_installed: list[bool] = []
_exact_wan = partial(transformers.exact, "WanTransformer3DModel")
_exact_hunyuan = partial(transformers.exact, "HunyuanVideoTransformer3DModel")


def _mends() -> list[tuple[str, Act]]:
    return [
        ("primitives", attention.primitives),
        ("ops", attention.ops),
        ("sparse_attn", attention.sparse_attn),
        ("para_attn_interface", attention.interface),
        ("first_block_cache.utils", first_block_cache.cache),
        *((f"{_CP}{family}", transformers.pipeline) for family in FAMILIES),
        *((f"{_FBC}{family}", first_block_cache.cached_pipeline) for family in FAMILIES),
        (f"{_CP}flux", transformers.flux),
        (f"{_CP}wan", transformers.wan),
        *((f"{part}hunyuan_video", transformers.hunyuan) for part in (_CP, _FBC)),
        *((f"{part}wan", _exact_wan) for part in (_CP, _FBC)),
        *((f"{part}hunyuan_video", _exact_hunyuan) for part in (_CP, _FBC)),
        *((f"{_CP}{family}", first_block_cache.cache_comes_second) for family in ("mochi", "hunyuan_video", "wan")),
        *((f"{_VAE}autoencoder_kl{kind}", decoders.vae) for kind in ("", "_hunyuan_video", "_wan")),
        (f"{_VAE}autoencoder_kl_wan", decoders.wan_vae),
    ]
