"""Several models in one server: each job is done by its own, and what befalls one leaves the others alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from serving import COUNTING, RunningServer, shared_server
from waiting import wait_until

from para_attn_server import Client

MARKING = Path(__file__).parents[1] / "predictors" / "marking.py"
Serve = Callable[..., RunningServer]


def table(name: str, kind: str = "Marking", mark: str = "", more: str = "") -> str:
    """One model of a file."""
    return f'[models.{name}]\nmodel = "{MARKING}:{kind}Predictor"\nset = {{ mark = "{mark or name}" }}\n{more}\n'


SINGLE = "num_devices = 1\n"


def written(folder: Path, *tables: str) -> Path:
    file = folder / "models.toml"
    file.write_text("\n".join(tables))
    return file


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Red, which is the default, and blue, which has two groups and other arguments."""
    folder = tmp_path_factory.mktemp("models")
    file = written(folder, table("red", more=SINGLE), table("blue", "Shaded", more=SINGLE + "num_groups = 2"))
    for running in shared_server([], folder, config=file):
        wait_until(lambda running=running: len(ready(running)) == 2, 60, "both models")
        yield running


def ready(server: RunningServer) -> list[str]:
    models: list[str] = server.get("/readyz").json().get("models", [])
    return models


def made_by(server: RunningServer, job_id: str) -> tuple[str, str]:
    """The model that a job names, and the mark on its output."""
    result = server.result(job_id).json()
    return result["model"], Path(result["output_path"]).read_text().split()[1]


def test_each_job_is_done_by_the_model_that_it_names(server: RunningServer) -> None:
    jobs = {server.submit(to, seed=n): to for n in range(3) for to in ("red", "blue", None)}
    for job_id, to in jobs.items():
        assert made_by(server, job_id) == (to or "red",) * 2


def test_what_is_shown_of_each_model(server: RunningServer) -> None:
    red, blue = server.get("/models").json()["models"]
    assert (red["name"], red["status"], red["cause"], len(red["groups"])) == ("red", "ready", None, 1)
    assert (blue["name"], blue["status"], len(blue["groups"])) == ("blue", "ready", 2)
    assert [group["model"] for group in server.get("/server_status").json()["groups"]] == ["red", "blue", "blue"]
    assert "model" in blue["schema"]["properties"] and "model" not in red["schema"]["properties"]
    assert server.get("/schema").json() == red["schema"]
    assert server.get("/schema", params={"model": "blue"}).json() == blue["schema"]
    assert server.get("/readyz", params={"model": "blue"}).json()["models"] == ["blue"]


def test_a_model_that_there_is_not_is_404_with_those_that_there_are(server: RunningServer) -> None:
    for answer in (
        server.post("/generate", json={}, headers={"Job-Model": "green"}),
        server.get("/schema", params={"model": "green"}),
        server.get("/readyz", params={"model": "green"}),
    ):
        assert answer.status_code == 404 and answer.json()["models"] == ["red", "blue"]
        assert "green" in answer.json()["detail"]


def test_a_busy_model_holds_up_no_other(server: RunningServer) -> None:
    with server.busy():  # red has one group
        waits = server.submit("red")
        passes = [server.submit("blue") for _ in range(3)]
        for job_id in passes:
            assert server.result(job_id).status_code == 200
        assert server.status(waits)["status"] == "queued"
        wait_until(lambda: server.status(waits)["queue_position"] == 0, 10, "its place")
        red = server.get("/models").json()["models"][0]
        assert (red["queued"], red["running"]) == (1, 1)
    assert server.result(waits).status_code == 200


def test_the_client_names_the_model_beside_an_argument_of_that_name(server: RunningServer, tmp_path: Path) -> None:
    with Client(server.url) as client:
        assert [model["name"] for model in client.models()] == ["red", "blue"]
        assert "model" in client.schema("blue")["properties"]
        assert client.ready("blue") and not client.ready("green")
        status = client.generate(tmp_path / "a.txt", options={"model": "blue"}, seed=3, model="argument")
    assert status["model"] == "blue" and (tmp_path / "a.txt").read_text() == "3 blue argument\n"


def test_a_form_is_read_as_the_model_wants_it(server: RunningServer) -> None:
    fields = {"model": (None, "3"), "seed": (None, "3")}  # a text and a number: blue alone has the first
    answer = server.post("/generate", files=fields, headers={"Job-Model": "blue"})
    assert answer.status_code == 202, answer.text
    result = server.result(answer.json()["request_id"]).json()
    assert Path(result["output_path"]).read_text() == "3 blue 3\n"
    assert server.post("/generate", files=fields).status_code == 400


def test_the_same_key_for_another_model_is_a_conflict(server: RunningServer) -> None:
    headers = {"Idempotency-Key": "k", "Job-Model": "blue"}
    first = server.post("/generate", json={}, headers=headers)
    assert server.post("/generate", json={}, headers=headers).json() == first.json()
    assert server.post("/generate", json={}, headers={**headers, "Job-Model": "red"}).status_code == 422


@pytest.mark.slow
def test_a_model_that_cannot_be_set_up_leaves_the_others_alone_and_comes_later(serve: Serve, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    tables = table("bad", "Failing", mark=str(weights), more=SINGLE), table("good", more=SINGLE)
    server = serve([], config=written(tmp_path, *tables))
    server.wait_ready()
    wait_until(lambda: server.records("setup failed"), 60, "the setup to fail")
    refused = server.post("/generate", json={})
    assert refused.status_code == 503 and "the model bad" in refused.json()["detail"]
    assert ready(server) == ["good"]
    assert server.get("/readyz", params={"model": "bad"}).status_code == 503
    assert server.result(server.submit("good")).status_code == 200
    weights.touch()
    wait_until(lambda: ready(server) == ["bad", "good"], 60, "the model to be set up")
    assert server.result(server.submit("bad")).status_code == 200


@pytest.mark.slow
def test_when_no_model_can_be_set_up_the_server_ends_with_code_3_and_says_why_for_each(
    serve: Serve, tmp_path: Path
) -> None:
    tables = table("one", "Failing", mark="/nowhere", more=SINGLE), table("two", "Failing", mark="/no", more=SINGLE)
    server = serve([], config=written(tmp_path, *tables))
    assert server.process.wait(60) == 3
    for name in ("one", "two"):
        assert f"model {name}: setup failed on rank 0: RuntimeError: the weights are not there" in server.log()


@pytest.mark.slow
def test_jobs_of_a_model_that_is_taken_out_wait_for_it_and_say_so(serve: Serve, tmp_path: Path) -> None:
    both = table("red", more=SINGLE), table("blue", "Shaded", more=SINGLE)
    first = serve([], config=written(tmp_path, *both), shutdown_timeout="0s")
    wait_until(lambda: len(ready(first)) == 2, 90, "both models")
    running, queued = first.submit("blue", steps=100000, delay=0.01, seed=1), first.submit("blue", seed=2)
    first.wait_step(running, 1)
    assert first.terminate() == 0
    second = serve([], config=written(tmp_path, both[0]))
    second.wait_ready()
    assert second.result(second.submit()).status_code == 200
    for job_id in (running, queued):
        status = second.status(job_id)
        assert status["status"] == "queued" and status["reason"] == "this server does not have the model blue"
    assert second.post("/generate", json={}, headers={"Job-Model": "blue"}).status_code == 404
    wait_until(lambda: second.get("/server_status").json()["notices"], 10, "a notice")
    assert "2 jobs wait for the model blue" in second.get("/server_status").json()["notices"][0]
    assert second.post(f"/cancel/{running}").status_code == 200
    assert second.terminate() == 0
    third = serve([], config=written(tmp_path, *both))
    assert made_by(third, queued) == ("blue", "blue")


@pytest.mark.slow
def test_several_models_by_option(serve: Serve) -> None:
    server = serve([COUNTING, COUNTING.replace("CountingPredictor", "ManyStepsAhead")])
    wait_until(lambda: ready(server) == ["counting", "many-steps-ahead"], 90, "both models")
    assert server.result(server.submit("many-steps-ahead")).json()["model"] == "many-steps-ahead"
