"""The embedded model, a real FluxPipeline on two Ulysses ranks, behind the whole server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from serving import RunningServer
from waiting import wait_until

PROMPT = "a large red circle on the left on a blue background"
SMALL: dict[str, Any] = {"prompt": PROMPT, "height": 64, "width": 64, "num_inference_steps": 6, "seed": 5}
DIFFUSERS = "diffusers.pipelines.flux.pipeline_flux"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("demo")
    settings = {"state_dir": folder / "state", "output_dir": folder / "outputs", "preload": DIFFUSERS}
    server = RunningServer("demo", settings)
    server.wait_ready(120)
    yield server
    server.close()


@pytest.fixture(scope="module")
def fresh_digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a fresh server makes of SMALL as its first job."""
    folder = tmp_path_factory.mktemp("fresh")
    settings = {"state_dir": folder / "state", "output_dir": folder / "outputs", "preload": DIFFUSERS}
    server = RunningServer("demo", settings)
    try:
        server.wait_ready(120)
        digest: str = server.result(server.submit(**SMALL)).json()["sha256"]
        return digest
    finally:
        server.close()


@pytest.mark.parametrize("step", [0, 1, 24, 44])
def test_after_a_cancel_the_next_picture_is_bit_equal_to_a_fresh_servers(
    demo: RunningServer, fresh_digest: str, step: int
) -> None:
    pids = [demo.rank_pid(0), demo.rank_pid(1)]
    job_id = demo.submit(**{**SMALL, "seed": step, "num_inference_steps": 50, "height": 256, "width": 256})
    wait_until(lambda: demo.status(job_id)["status"] == "running")
    if step:
        demo.wait_step(job_id, step)
    assert demo.post(f"/cancel/{job_id}").status_code == 200
    assert demo.result(job_id).status_code == 410
    assert demo.result(demo.submit(**SMALL)).json()["sha256"] == fresh_digest
    assert [demo.rank_pid(0), demo.rank_pid(1)] == pids


def test_a_seed_left_out_is_drawn_and_told_so_that_the_picture_can_be_made_again(demo: RunningServer) -> None:
    arguments = {name: value for name, value in SMALL.items() if name != "seed"}
    first = demo.result(demo.submit(**arguments)).json()
    again = demo.result(demo.submit(**arguments, seed=first["seed"])).json()
    other = demo.result(demo.submit(**arguments)).json()
    assert again["sha256"] == first["sha256"]
    assert other["seed"] != first["seed"]
    assert other["sha256"] != first["sha256"]


def test_what_two_ranks_cannot_share_is_refused_before_it_is_queued(demo: RunningServer) -> None:
    answer = demo.post("/generate", json={**SMALL, "height": 80, "width": 80})
    assert answer.status_code == 400
    assert "must be a multiple of 2" in answer.text and "height 64 or 96, or width 64 or 96" in answer.text
