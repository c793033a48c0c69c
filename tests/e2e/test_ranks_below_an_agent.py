"""A whole server whose ranks are below an agent: jobs, a cancel, the agent's death in a job, the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from agents import SECRET, RunningAgent
from serving import RunningServer
from waiting import wait_until

pytestmark = pytest.mark.slow
Serve = Callable[..., RunningServer]


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningAgent]:
    monkeypatch.setenv("PARA_ATTN_AGENT_SECRET", SECRET)
    agent = RunningAgent(tmp_path)
    yield agent
    agent.close()


def test_a_server_whose_ranks_are_below_an_agent(serve: Serve, counting_model: str, agent: RunningAgent) -> None:
    server = serve(counting_model, executor=agent.url)
    server.wait_ready()
    ranks = [psutil.Process(server.rank_pid(rank)) for rank in (0, 1)]
    assert {rank.parent() for rank in ranks} == {agent.forkserver()}
    assert "SECRET" not in str(ranks[0].environ())

    done = server.result(server.submit(seed=7, steps=5))
    assert done.status_code == 200 and Path(done.json()["output_path"]).read_text().startswith("7 ")

    job_id = server.submit(steps=100000, delay=0.002)
    server.wait_step(job_id, 3)
    assert server.post(f"/cancel/{job_id}").status_code == 200
    assert server.result(job_id).status_code == 410
    assert [server.rank_pid(rank) for rank in (0, 1)] == [rank.pid for rank in ranks], "the group is kept"

    job_id = server.submit(seed=9, steps=300, delay=0.01)
    server.wait_step(job_id, 3)
    agent.kill()
    wait_until(lambda: server.status(job_id)["status"] == "queued", 30)
    wait_until(lambda: not any(rank.is_running() for rank in ranks), 15, "the ranks to end")
    assert server.group()["state"] == "recovering" and "ended with its agent" in server.group()["cause"]
    agent.start()
    done = server.result(job_id)
    assert done.status_code == 200 and done.json()["attempts"] == 1, "uncharged"

    ranks = [psutil.Process(server.rank_pid(rank)) for rank in (0, 1)]
    assert server.terminate() == 0
    wait_until(lambda: not any(rank.is_running() for rank in ranks) and agent.forkserver() is None, 15)
    assert "Traceback" not in server.log() + agent.log()
    events = [record["event"] for record in server.records("the agent is lost")]
    assert len(events) == 1, "its orderly end is no loss"
