"""Steps are seen, and left, on real pipelines: by the step callback, composed with the user's, or by the scheduler."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, FluxPipeline, UNet2DModel
from diffusers.callbacks import PipelineCallback
from pipelines import save_tiny_flux

from para_attn_server.core.errors import SetupFailed
from para_attn_server.worker.hooks import hook_steps
from para_attn_server.worker.step_control import JobCanceled


@pytest.fixture(scope="module")
def flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flux")
    save_tiny_flux(folder)
    return folder


@pytest.fixture
def flux(flux_folder: Path) -> Any:
    pipe = FluxPipeline.from_pretrained(flux_folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def ddpm() -> Any:
    """A pipeline without any step callback."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(16, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    pipe = DDPMPipeline(unet, DDPMScheduler(num_train_timesteps=50))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(pipe: Any, seed: int = 0, steps: int = 4, **kwargs: Any) -> Any:
    generator = torch.Generator().manual_seed(seed)
    if isinstance(pipe, DDPMPipeline):
        return pipe(num_inference_steps=steps, generator=generator, output_type="np", **kwargs).images
    return pipe(
        "a red circle",
        height=64,
        width=64,
        num_inference_steps=steps,
        max_sequence_length=32,
        generator=generator,
        output_type="np",
        **kwargs,
    ).images


class Steps:
    def __init__(self, leave_at: int = 0) -> None:
        self.seen: list[tuple[int, int | None]] = []
        self.leave_at = leave_at

    def __call__(self, step: int, total: int | None) -> None:
        self.seen.append((step, total))
        if step == self.leave_at:
            raise JobCanceled


@pytest.mark.parametrize("name", ["flux", "ddpm"])
def test_every_step_is_reported_and_the_picture_is_unchanged(name: str, request: pytest.FixtureRequest) -> None:
    pipe = request.getfixturevalue(name)
    before = draw(pipe)
    steps = Steps()
    hook_steps(pipe, steps)
    assert (draw(pipe) == before).all()
    assert steps.seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("leave_at", [1, 2, 4])
@pytest.mark.parametrize("name", ["flux", "ddpm"])
def test_a_run_left_at_a_step_leaves_no_trace_in_the_next(
    name: str, leave_at: int, request: pytest.FixtureRequest
) -> None:
    pipe = request.getfixturevalue(name)
    before = draw(pipe)
    steps = Steps(leave_at)
    hook_steps(pipe, steps)
    with pytest.raises(JobCanceled):
        draw(pipe, seed=1)
    pipe.maybe_free_model_hooks()
    assert [step for step, _ in steps.seen] == list(range(1, leave_at + 1))
    steps.leave_at = 0
    assert (draw(pipe) == before).all()


def test_the_users_callback_runs_first_and_its_changes_count(flux: Any) -> None:
    def zero_latents(pipe: Any, index: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        order.append(f"user {index}")
        return {"latents": torch.zeros_like(kwargs["latents"])}

    order: list[str] = []
    expected = draw(flux, callback_on_step_end=zero_latents)
    order.clear()
    hook_steps(flux, lambda step, total: order.append(f"report {step}"))
    assert (draw(flux, callback_on_step_end=zero_latents) == expected).all()
    assert order == ["user 0", "report 1", "user 1", "report 2", "user 2", "report 3", "user 3", "report 4"]


def test_a_callback_object_keeps_its_tensor_inputs(flux: Any) -> None:
    class Watches(PipelineCallback):
        tensor_inputs = ["latents", "prompt_embeds"]  # noqa: RUF012 - as diffusers declares it

        def callback_fn(self, pipeline: Any, step_index: int, timestep: Any, callback_kwargs: Any) -> Any:
            seen.append(sorted(callback_kwargs))
            return callback_kwargs

    seen: list[list[str]] = []
    hook_steps(flux, Steps())
    draw(flux, steps=1, callback_on_step_end=Watches(cutoff_step_ratio=0.5))
    assert seen == [["latents", "prompt_embeds"]]


def test_only_the_hooked_instance_is_changed_and_it_looks_as_before(flux: Any, flux_folder: Path) -> None:
    other = FluxPipeline.from_pretrained(flux_folder, dtype=torch.float32)
    other.set_progress_bar_config(disable=True)
    steps = Steps()
    hook_steps(flux, steps)
    draw(other, steps=1)
    assert steps.seen == []
    assert isinstance(flux, FluxPipeline)
    assert type(flux).__name__ == "FluxPipeline"
    assert inspect.signature(flux.__call__) == inspect.signature(other.__call__)


def test_a_shared_scheduler_is_not_hooked(ddpm: Any) -> None:
    shared = ddpm.scheduler
    hook_steps(ddpm, Steps())
    assert ddpm.scheduler is not shared
    assert "step" not in vars(shared)


def test_a_pipeline_without_a_place_to_hook_is_refused_with_the_way_out() -> None:
    class Opaque:
        def __call__(self, prompt: str) -> None: ...

    with pytest.raises(SetupFailed, match=r"self\.step\(i, total\)"):
        hook_steps(Opaque(), Steps())
