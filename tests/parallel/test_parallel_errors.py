"""What parallelize() refuses, and that it says why; what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import FluxTransformer2DModel
from pipelines import save_tiny_flux
from ranks import free_port, pretend_world, rank_environment

from para_attn_server import parallel
from para_attn_server.core import install
from para_attn_server.core.errors import SetupFailed
from para_attn_server.parallel import parallelize, rank_device


class FluxTransformer2DModelWithExtras(FluxTransformer2DModel):
    """Begins with the name of a class that para_attn knows."""


LookAlike = type("FluxTransformer2DModel", (FluxTransformer2DModel,), {})


def pipe(transformer_class: type = FluxTransformer2DModel, heads: int = 4) -> SimpleNamespace:
    """As much of a pipeline as parallelize() looks at."""
    return SimpleNamespace(
        transformer=transformer_class(
            in_channels=4,
            num_layers=1,
            num_single_layers=0,
            attention_head_dim=8,
            num_attention_heads=heads,
            joint_attention_dim=8,
            pooled_projection_dim=8,
            axes_dims_rope=(2, 2, 4),
        )
    )


def test_needs_a_process_group() -> None:
    with pytest.raises(SetupFailed, match=r"call torch\.distributed\.init_process_group\(\) before"):
        parallelize(pipe())


def test_one_rank_changes_nothing() -> None:
    alone = SimpleNamespace(transformer=object())
    with pretend_world(1):
        parallelize(alone)


def test_heads_must_divide() -> None:
    with pretend_world(3), pytest.raises(SetupFailed, match="4 is not a multiple of 3; choose a number of devices"):
        parallelize(pipe())


@pytest.mark.parametrize("transformer_class", [FluxTransformer2DModelWithExtras, LookAlike])
def test_only_exact_classes_are_taken(transformer_class: type) -> None:
    with pretend_world(2), pytest.raises(SetupFailed, match=r"cannot be spread .* supported: FluxTransformer2DModel"):
        parallelize(pipe(transformer_class))


def test_a_pipeline_without_a_transformer_is_refused() -> None:
    with pretend_world(2), pytest.raises(SetupFailed, match="cannot be spread"):
        parallelize(SimpleNamespace())


def test_grouped_heads_are_refused_and_the_keyword_alone_is_not() -> None:
    with pretend_world(2):
        parallelize(pipe())
        parallelize(pipe())
        from para_attn import UnifiedAttnMode

        q = torch.rand(1, 2, 4, 8)
        attention = torch.nn.functional.scaled_dot_product_attention
        with UnifiedAttnMode(torch.distributed.group.WORLD):
            assert attention(q, q, q, enable_gqa=False).shape == q.shape
            with pytest.raises(NotImplementedError, match="enable_gqa"):
                attention(q, q, q, enable_gqa=True)


def test_the_pipeline_s_class_is_left_alone(tmp_path: Path) -> None:
    from diffusers import FluxPipeline

    before = FluxPipeline.__call__
    loaded = FluxPipeline.from_pretrained(save_tiny_flux(tmp_path))
    with pretend_world(2):
        parallelize(loaded)
    assert FluxPipeline.__call__ is before


def test_more_ranks_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(parallel.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(parallel.torch.cuda, "device_count", lambda: 2)
    with pytest.raises(SetupFailed, match="only 2 are visible"):
        rank_device()


WITHOUT_PARA_ATTN = """
import sys
from types import SimpleNamespace

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "para_attn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
import torch.distributed as dist
from para_attn_predictors.flux import FluxPredictor
from para_attn_server.core.errors import SetupFailed
from para_attn_server.parallel import parallelize

predictor = FluxPredictor(sys.argv[1])
predictor.setup()
drawn = predictor.predict("a red circle", height=64, width=64, num_inference_steps=1)
drawn.images[0].save(sys.argv[2])
dist.destroy_process_group()
dist.init_process_group("fake", rank=0, world_size=2)
try:
    parallelize(predictor.pipe)
except SetupFailed as error:
    print(error)
"""


def test_without_para_attn_one_rank_works_and_two_are_told_what_to_install(tmp_path: Path) -> None:
    weights, picture = save_tiny_flux(tmp_path / "weights"), tmp_path / "picture.png"
    child = subprocess.run(
        [sys.executable, "-c", WITHOUT_PARA_ATTN, weights, picture],
        env={**os.environ, **rank_environment(0, 1, free_port())},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert child.returncode == 0, child.stderr
    assert picture.stat().st_size > 0
    assert install.PARA_ATTN in child.stdout
