"""Steps of real pipelines are seen and left at, by callback or scheduler, and what is drawn stays the same bits."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDPMPipeline,
    DDPMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FluxImg2ImgPipeline,
    FluxPipeline,
    UNet2DModel,
)
from diffusers.callbacks import PipelineCallback
from pipelines import save_tiny_flux

from para_attn_server.core.errors import SetupFailed
from para_attn_server.rank.hooks import StepHooks, check_steps
from para_attn_server.rank.step_control import RunCanceled


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
    """What is reported; raises RunCanceled at step `leave_at`."""

    def __init__(self, leave_at: int = -1) -> None:
        self.seen: list[tuple[int, int | None]] = []
        self.leave_at = leave_at

    def __call__(self, step: int, total: int | None) -> None:
        self.seen.append((step, total))
        if step == self.leave_at:
            raise RunCanceled


def following(report: Callable[[int, int | None], None], pipe: Any = None) -> AbstractContextManager[None]:
    """One run."""
    return StepHooks(report).installed(pipe)


def upto(steps: int) -> list[tuple[int, int]]:
    """Every one of that many steps."""
    return [(step, steps) for step in range(1, steps + 1)]


class Streams(DiffusionPipeline):
    """No callback. Draws with its scheduler and, with `copies`, with deep copies of it beside it (sound, say)."""

    def __init__(self, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(scheduler=scheduler)

    def __call__(self, steps: int = 4, copies: int = 0, only_copies: bool = False, passes: int = 1) -> Any:
        generator = torch.Generator().manual_seed(0)
        samples = [torch.randn(1, 4, generator=generator) for _ in range(copies + 1)]
        for _ in range(passes):
            self.scheduler.set_timesteps(steps)
            schedulers = [self.scheduler, *(copy.deepcopy(self.scheduler) for _ in range(copies))]
            for t in self.scheduler.timesteps:
                for number in range(only_copies, copies + 1):
                    known = (
                        {"generator": generator}
                        if "generator" in inspect.signature(self.scheduler.step).parameters
                        else {}
                    )
                    sample = samples[number]
                    samples[number] = schedulers[number].step(sample * 0.1, t, sample, **known).prev_sample
        return torch.cat(samples).numpy()


class Super(Streams):
    """Passes on whatever it is called with."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


class SuperStep(DDPMScheduler):
    """A step that is made of its parent's."""

    def step(self, *args: Any, generator: Any = None, **kwargs: Any) -> Any:
        return super().step(*args, generator=generator, **kwargs)


class TwoStages(DiffusionPipeline):
    """Two pipelines in one; none of them knows a callback, nor does it hold a scheduler of its own."""

    def __init__(self, first: Any, second: Any) -> None:
        super().__init__()
        self.first, self.second = first, second

    def __call__(self, steps: int = 4) -> Any:
        return self.first(steps) + self.second(steps)


class Refining(DiffusionPipeline):
    """Calls another pipeline at every step."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def __call__(self, steps: int = 3, callback_on_step_end: Any = None) -> Any:
        pictures = []
        for step in range(steps):
            pictures.append(self.inner(2))
            if callback_on_step_end is not None:
                callback_on_step_end(self, step, 0, {})
        return sum(pictures)

    num_timesteps = 3


def euler() -> Streams:
    return Streams(FlowMatchEulerDiscreteScheduler())


SHAPES: dict[str, tuple[Callable[[], Callable[[], Any]], list[tuple[int, int]]]] = {
    "copied beside it": (lambda: lambda: euler()(copies=2), [step for step in upto(4) for _ in range(3)]),
    "copies only": (lambda: lambda: euler()(copies=1, only_copies=True), upto(4)),
    "order 2": (lambda: lambda: Streams(FlowMatchHeunDiscreteScheduler())(4), upto(7)),
    "stochastic": (lambda: lambda: Streams(DDPMScheduler())(4), upto(4)),
    "a step of steps": (lambda: lambda: Streams(SuperStep())(4), upto(4)),
    "timesteps set twice": (
        lambda: lambda: euler()(3, passes=2),
        [*[(s, 3) for s in (1, 2, 3)], (4, 6), (5, 6), (6, 6)],
    ),
    "through its parent": (lambda: lambda: Super(DDPMScheduler())(4), upto(4)),
    "a copy of the pipeline": (lambda: partial(lambda pipe: copy.copy(pipe)(4), euler()), upto(4)),
    "a deep copy": (lambda: partial(lambda pipe: copy.deepcopy(pipe)(4), euler()), upto(4)),
    "two stages": (lambda: lambda: TwoStages(euler(), euler())(2), [(1, 2), (2, 2), (3, 4), (4, 4)]),
    "one after the other": (lambda: lambda: euler()(2) + euler()(2), [(1, 2), (2, 2), (3, 4), (4, 4)]),
    "one within the other": (
        lambda: lambda: Refining(euler())(),
        [(0, None), (0, None), (1, 3), (1, 3), (1, 3), (2, 3), (2, 3), (2, 3), (3, 3)],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_pipeline_is_followed_and_draws_the_same_bits(shape: str) -> None:
    draw_it, expected = SHAPES[shape][0](), SHAPES[shape][1]
    before = draw_it()
    steps = Steps()
    with following(steps):
        assert (draw_it() == before).all()
    assert steps.seen == [(step, total) for step, total in expected]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_pipeline_is_left_at_a_step(shape: str) -> None:
    draw_it = SHAPES[shape][0]()
    before = draw_it()
    steps = Steps(leave_at=2)
    with following(steps), pytest.raises(RunCanceled):
        draw_it()
    assert steps.seen[-1][0] == 2
    assert (draw_it() == before).all()


@pytest.mark.parametrize("name", ["flux", "ddpm"])
def test_every_step_is_reported_and_the_picture_is_unchanged(name: str, request: pytest.FixtureRequest) -> None:
    pipe = request.getfixturevalue(name)
    before = draw(pipe)
    steps = Steps()
    with following(steps, pipe):
        assert (draw(pipe) == before).all()
    assert steps.seen == upto(4)


@pytest.mark.parametrize("leave_at", [1, 2, 4])
@pytest.mark.parametrize("name", ["flux", "ddpm"])
def test_a_run_left_at_a_step_leaves_no_trace_in_the_next(
    name: str, leave_at: int, request: pytest.FixtureRequest
) -> None:
    pipe = request.getfixturevalue(name)
    before = draw(pipe)
    steps = Steps(leave_at)
    with following(steps, pipe), pytest.raises(RunCanceled):
        draw(pipe, seed=1)
    pipe.maybe_free_model_hooks()
    assert [step for step, _ in steps.seen] == list(range(1, leave_at + 1))
    assert (draw(pipe) == before).all()


def test_a_scheduler_that_is_replaced_meanwhile_is_followed(flux: Any, ddpm: Any) -> None:
    for pipe, scheduler in ((flux, FlowMatchEulerDiscreteScheduler), (ddpm, SuperStep)):
        steps = Steps()
        with following(steps, pipe):
            pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
            draw(pipe)
        assert [step for step, _ in steps.seen] == list(range(1, steps.seen[-1][1] + 1))


def test_a_pipeline_made_of_another_one_meanwhile_is_followed(flux: Any) -> None:
    steps = Steps()
    hooks = StepHooks(steps)
    with hooks.installed(None):
        other = FluxImg2ImgPipeline.from_pipe(flux)
        other(
            "a red circle",
            image=draw(flux),
            height=64,
            width=64,
            strength=0.5,
            num_inference_steps=4,
            max_sequence_length=32,
        )
    assert steps.seen == [*upto(4), (5, 6), (6, 6)]
    assert hooks.called() == [flux, other]


def test_classes_that_are_defined_meanwhile_are_followed() -> None:
    steps = Steps()
    with following(steps):

        class Later(Streams):
            def __call__(self) -> Any:
                return super().__call__(2)

        class LaterScheduler(DDPMScheduler):
            def step(self, *args: Any, **kwargs: Any) -> Any:
                return super().step(*args, **kwargs)

        Later(LaterScheduler())()
    assert steps.seen == upto(2)


def test_outside_a_run_the_classes_are_as_they_were(flux: Any) -> None:
    watched = [DiffusionPipeline, FluxPipeline, Streams, DDPMScheduler, SuperStep]
    before = [dict(vars(cls)) for cls in watched]
    signatures = [inspect.signature(function) for function in (FluxPipeline.__call__, DDPMScheduler.step)]
    with following(Steps()), following(Steps()):
        assert FluxPipeline.__call__ is not before[1]["__call__"]
        assert signatures == [inspect.signature(function) for function in (FluxPipeline.__call__, DDPMScheduler.step)]
        assert type(flux) is FluxPipeline
    assert [dict(vars(cls)) for cls in watched] == before


def test_a_class_that_is_patched_meanwhile_keeps_its_patch_and_is_followed_once() -> None:
    class Patched(Streams):
        def __call__(self, steps: int) -> Any:
            return super().__call__(steps)

    with following(Steps()):
        inner = Patched.__call__
        Patched.__call__ = lambda self, steps: inner(self, steps)  # type: ignore[method-assign]
    patch = Patched.__call__
    steps = Steps()
    with following(steps):
        Patched(DDPMScheduler())(3)
    assert Patched.__call__ is patch
    assert steps.seen == upto(3)


def test_a_thread_that_is_not_the_run_s_is_not_followed() -> None:
    steps = Steps()
    hooks = StepHooks(steps, follows=lambda: False)
    with hooks.installed(None):
        euler()()
    assert steps.seen == []
    assert hooks.called() == []


def test_a_pipeline_that_is_gone_is_not_kept_in_memory() -> None:
    hooks = StepHooks(Steps())
    with hooks.installed(None):
        euler()()
    assert hooks.called() == []


def test_the_users_callback_runs_first_and_its_changes_count(flux: Any) -> None:
    def zero_latents(pipe: Any, index: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        order.append(f"user {index}")
        return {"latents": torch.zeros_like(kwargs["latents"])}

    order: list[str] = []
    expected = draw(flux, callback_on_step_end=zero_latents)
    order.clear()
    with following(lambda step, total: order.append(f"report {step}")):
        assert (draw(flux, callback_on_step_end=zero_latents) == expected).all()
    assert order == ["user 0", "report 1", "user 1", "report 2", "user 2", "report 3", "user 3", "report 4"]


def test_a_callback_object_keeps_its_tensor_inputs(flux: Any) -> None:
    class Watches(PipelineCallback):
        tensor_inputs = ["latents", "prompt_embeds"]  # noqa: RUF012 - as diffusers declares it

        def callback_fn(self, pipeline: Any, step_index: int, timestep: Any, callback_kwargs: Any) -> Any:
            seen.append(sorted(callback_kwargs))
            return callback_kwargs

    seen: list[list[str]] = []
    with following(Steps()):
        draw(flux, steps=1, callback_on_step_end=Watches(cutoff_step_ratio=0.5))
    assert seen == [["latents", "prompt_embeds"]]


def test_a_callback_may_be_given_by_its_position() -> None:
    calls: list[int] = []
    steps = Steps()
    with following(steps):
        Refining(euler())(1, lambda pipe, index, timestep, kwargs: calls.append(index))
    assert calls == [0]
    assert steps.seen[-1] == (1, 3)


def test_a_pipe_that_is_none_of_diffusers_own_is_followed() -> None:
    class Base:
        def __call__(self, steps: int, callback_on_step_end: Any = None) -> None:
            for step in range(steps):
                callback_on_step_end(self, step, 0, {})

    class Own(Base):
        pass

    check_steps(Own())
    steps = Steps()
    with following(steps, Own()):
        Own()(2)
    assert [step for step, _ in steps.seen] == [1, 2]
    assert "__call__" not in vars(Own)


def test_a_pipeline_without_a_place_to_hook_is_refused_with_the_way_out() -> None:
    class Opaque:
        def __call__(self, prompt: str) -> None: ...

    with pytest.raises(SetupFailed, match=r"self\.step\(i, total\)"):
        check_steps(Opaque())
