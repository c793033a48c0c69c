"""Cancel at any step, on all ranks at once, and the next job is none the worse."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from serving import RunningServer
from waiting import wait_until


def canceled(server: RunningServer, job_id: str) -> None:
    answer = server.post(f"/cancel/{job_id}")
    assert answer.status_code == 200, answer.text
    assert server.result(job_id).status_code == 410


@pytest.mark.parametrize("slow_rank", [0, 1])
@pytest.mark.parametrize("step", [1, 20, 40])
def test_cancel_leaves_at_the_end_of_that_step_and_the_next_job_is_as_before(
    counting: RunningServer, step: int, slow_rank: int
) -> None:
    pids = [counting.rank_pid(0), counting.rank_pid(1)]
    expected = counting.result(counting.submit(seed=3, steps=7)).json()["sha256"]
    job_id = counting.submit(steps=40, delay=0.01, jitter=0.02, slow_at=step, seed=2 * step + slow_rank)
    wait_until(lambda: counting.status(job_id)["status"] == "running")
    counting.wait_step(job_id, step - 1)
    canceled(counting, job_id)
    assert counting.status(job_id)["step"] == step
    assert counting.result(counting.submit(seed=3, steps=7)).json()["sha256"] == expected
    assert [counting.rank_pid(0), counting.rank_pid(1)] == pids, "the group must be kept"


def test_many_cancels_at_random_moments_keep_the_group(counting: RunningServer) -> None:
    rng = random.Random(1)
    pids = [counting.rank_pid(0), counting.rank_pid(1)]
    for attempt in range(40):
        job_id = counting.submit(steps=30, delay=0.0, jitter=0.003, seed=attempt)
        if reach := rng.randrange(0, 25):
            counting.wait_step(job_id, reach)
        answer = counting.post(f"/cancel/{job_id}")
        assert answer.status_code in (200, 404)
    assert counting.result(counting.submit()).status_code == 200
    assert [counting.rank_pid(0), counting.rank_pid(1)] == pids


def test_a_predictor_cannot_swallow_a_cancel(counting: RunningServer) -> None:
    job_id = counting.submit(steps=2000, delay=0.01, swallow=True)
    counting.wait_step(job_id, 3)
    canceled(counting, job_id)


def test_a_queued_job_is_canceled_without_running(counting: RunningServer) -> None:
    with counting.busy():
        queued = counting.submit()
        canceled(counting, queued)
    assert counting.status(queued)["attempts"] == 0


def test_cancel_without_an_id_takes_the_running_job(counting: RunningServer) -> None:
    running = counting.submit(steps=2000, delay=0.01)
    queued = counting.submit()
    counting.wait_step(running, 1)
    answer = counting.post("/cancel")
    assert answer.status_code == 200
    assert answer.json()["request_id"] == running
    assert counting.result(running).status_code == 410
    assert counting.result(queued).status_code == 200


def test_nothing_to_cancel_is_404(counting: RunningServer) -> None:
    done = counting.submit()
    counting.result(done)
    for path in ("/cancel", f"/cancel/{done}", "/cancel/0123456789abcdef"):
        assert counting.post(path).status_code == 404


def test_a_job_in_no_step_leaves_at_the_end_of_predict(counting: RunningServer) -> None:
    job_id = counting.submit(steps=2, tail=1.0)
    counting.wait_step(job_id, 2)
    pid = counting.rank_pid(0)
    canceled(counting, job_id)
    assert counting.rank_pid(0) == pid


def test_after_the_cancel_timeout_the_group_is_rebuilt(
    serve: Callable[..., RunningServer], counting_model: str
) -> None:
    server = serve(counting_model, cancel_timeout="500ms")
    server.wait_ready()
    job_id = server.submit(steps=1, tail=3600)
    server.wait_step(job_id, 1)
    pid = server.rank_pid(0)
    canceled(server, job_id)
    assert server.result(server.submit()).status_code == 200
    assert server.rank_pid(0) != pid


def test_cancel_with_steps_that_run_ahead(serve: Callable[..., RunningServer], counting_model: str) -> None:
    server = serve(counting_model.replace("CountingPredictor", "ManyStepsAhead"))
    server.wait_ready()
    pids = [server.rank_pid(0), server.rank_pid(1)]
    for attempt in range(10):
        job_id = server.submit(steps=400)
        server.wait_step(job_id, 1 + attempt)
        assert server.post(f"/cancel/{job_id}").status_code in (200, 404)
    assert server.result(server.submit(steps=5)).status_code == 200
    assert [server.rank_pid(0), server.rank_pid(1)] == pids
