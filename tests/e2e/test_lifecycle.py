"""Start, stop, restart and violent ends of a real server."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from serving import RunningServer
from waiting import wait_until

Serve = Callable[..., RunningServer]


def descendants(server: RunningServer) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_the_first_sigterm_drains_and_the_queue_is_kept(serve: Serve, counting_model: str) -> None:
    server = serve(counting_model)
    server.wait_ready()
    running = server.submit(steps=40, delay=0.05, seed=1)
    queued = server.submit(seed=2)
    server.wait_step(running, 2)
    everything = descendants(server)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.get("/readyz").status_code == 503, 10)
    refused = server.post("/generate", json={})
    assert refused.status_code == 503
    assert "Retry-After" in refused.headers
    assert server.get(f"/request_status/{running}").status_code in (200, 202), "clients see their jobs while it drains"
    assert server.process.wait(30) == 0
    assert server.complaints() == [], "a clean stop is no reason to warn"
    wait_until(lambda: gone(everything), 5)  # multiprocessing's resource tracker ends with the controller's pipe
    again = serve(counting_model)
    again.wait_ready()
    assert again.status(running)["status"] == "succeeded"
    assert again.result(queued).status_code == 200
    (first,), (serving,) = server.records("new state directory"), again.records("serving")
    assert first["state_dir"] == serving["state_dir"], "a start elsewhere would have another queue: the log says which"
    assert not again.records("new state directory")


def test_a_job_longer_than_the_grace_period_runs_again_after_the_restart(serve: Serve, counting_model: str) -> None:
    server = serve(counting_model, shutdown_timeout="200ms")
    server.wait_ready()
    job_id = server.submit(steps=100, delay=0.03, seed=9)
    server.wait_step(job_id, 2)
    assert server.terminate() == 0
    again = serve(counting_model)
    again.wait_ready()
    assert again.result(job_id).status_code == 200
    assert again.status(job_id)["attempts"] == 1, "a drain is not charged to the job"


def test_what_a_killed_controller_leaves_is_removed_by_the_next(
    serve: Serve, counting_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("deep" * 25)  # beyond the length of a socket's address
    deep.mkdir()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    server = serve(counting_model, state_dir=deep / "state")
    server.wait_ready()
    server.kill()
    left = set((deep / "state" / "run").iterdir())
    again = serve(counting_model, state_dir=deep / "state")
    again.wait_ready()
    assert again.result(again.submit(seed=1)).status_code == 200
    assert left and not left & set((deep / "state" / "run").iterdir())
    assert again.terminate() == 0
    assert not list((deep / "state" / "run").iterdir())
    assert not [path for path in temporary.iterdir() if not path.name.startswith("torchinductor_")]  # torch's own cache


def test_a_second_sigterm_stops_at_once(serve: Serve, counting_model: str) -> None:
    server = serve(counting_model, shutdown_timeout="1h")
    server.wait_ready()
    job_id = server.submit(steps=100000, delay=0.01)
    server.wait_step(job_id, 2)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: server.records("draining: running jobs may finish"), 10)
    assert server.terminate(deadline=15) == 0


def test_killing_the_controller_leaves_no_process_even_a_stopped_rank(serve: Serve, counting_model: str) -> None:
    server = serve(counting_model)
    server.wait_ready()
    job_id = server.submit(steps=60, delay=0.05, seed=4)
    queued = [server.submit(seed=5), server.submit(seed=6)]
    server.wait_step(job_id, 3)
    everything = descendants(server)
    os.kill(server.rank_pid(1), signal.SIGSTOP)
    port = server.url.rsplit(":", 1)[1]
    server.kill()
    wait_until(lambda: gone(everything), 10)
    again = serve(counting_model, port=port)
    again.wait_ready()
    assert [again.result(i).status_code for i in (job_id, *queued)] == [200, 200, 200]
    assert again.status(job_id)["attempts"] == 1, "the controller's death is not charged to the job"


@pytest.mark.parametrize(
    "victim",
    [
        pytest.param("gunicorn master", marks=pytest.mark.slow),
        pytest.param("web worker", marks=pytest.mark.slow),
        "forkserver",
    ],
)
def test_other_processes_may_die(serve: Serve, counting_model: str, victim: str) -> None:
    server = serve(counting_model)
    server.wait_ready()
    job_id = server.submit(steps=40, delay=0.05, seed=4)
    server.wait_step(job_id, 2)
    found = server.processes()[victim]
    found.kill()
    wait_until(lambda: gone([found]), 5)
    wait_until(lambda: server_answers(server), 20)
    assert server.result(job_id).status_code == 200
    assert server.status(job_id)["attempts"] == 1, "no fault of the job"
    assert server.result(server.submit()).status_code == 200


def server_answers(server: RunningServer) -> bool:
    try:
        return server.get("/healthz").status_code == 200
    except OSError:
        return False
    except Exception as error:
        return "Error" not in type(error).__name__


def test_two_groups_work_side_by_side(serve: Serve, counting_model: str) -> None:
    server = serve(counting_model, num_groups=2)
    server.wait_ready()
    wait_until(lambda: [server.group(g)["state"] for g in (0, 1)] == ["ready", "ready"], 60)
    jobs = [server.submit(steps=60, delay=0.03, seed=i) for i in range(2)]
    wait_until(lambda: [server.status(j)["status"] for j in jobs] == ["running", "running"], 10)
    os.kill(server.rank_pid(0, group=0), signal.SIGKILL)
    assert [server.result(j).status_code for j in jobs] == [200, 200]
    assert server.group(1)["cause"] is None


def test_the_controller_never_imports_torch_nor_the_predictor(serve: Serve, counting_model: str) -> None:
    server = serve(counting_model)
    server.wait_ready()
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "libtorch" not in maps
    web = server.processes()["gunicorn master"]
    for process in [web, *web.children()]:
        assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()
    module = "para_attn_server.controller.controller"
    code = f"import sys, {module}; print([m for m in ('torch', 'diffusers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.slow
def test_no_request_is_lost_across_a_stop(serve: Callable[..., RunningServer], counting_model: str) -> None:
    """Clients that ask without a pause, over kept connections, until the connection is refused."""
    server = serve(counting_model)
    server.wait_ready()
    port, ended = int(server.url.rpartition(":")[2]), []
    clients = [threading.Thread(target=lambda: ended.append(ask_until_refused(port))) for _ in range(20)]
    for client in clients:
        client.start()
    wait_until(lambda: server.get("/healthz").status_code == 200, 10)
    assert server.terminate() == 0
    for client in clients:
        client.join(30)
    assert ended == ["refused"] * 20


def ask_until_refused(port: int) -> str:
    """Why it has ended."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while True:
        try:
            connection.connect()
        except ConnectionRefusedError:
            return "refused"
        try:
            while connection.sock is not None:
                connection.request("GET", "/healthz")
                with connection.getresponse() as answer:
                    assert answer.status == 200 and answer.read()
                    if answer.will_close:
                        connection.close()
        except Exception as error:
            return repr(error)
