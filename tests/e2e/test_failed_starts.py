"""Starts that cannot succeed: each ends with its exit code, and says why and what to do."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import RunningServer

FAULTY = f"{Path(__file__).parents[1] / 'predictors' / 'faulty_setup.py'}"
Serve = Callable[..., RunningServer]


def test_a_taken_port_is_exit_code_4(serve: Serve, counting_model: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = serve(counting_model, port=taken.getsockname()[1])
        assert server.process.wait(30) == 4
    assert "Traceback" not in server.log()


@pytest.mark.parametrize("host", ["300.1.1.1", "192.0.2.1"], ids=["no address", "of another machine"])
def test_a_host_that_is_not_this_machines_is_exit_code_4_and_another_is_asked_for(
    serve: Serve, counting_model: str, host: str
) -> None:
    server = serve(counting_model, host=host)
    assert server.process.wait(30) == 4
    assert f"cannot listen on {host}:0 (" in server.log()
    assert "choose another --host" in server.log()
    assert "--port" not in server.log()


def test_a_state_directory_in_use_is_exit_code_5(serve: Serve, counting_model: str) -> None:
    first = serve(counting_model)
    first.wait_ready()
    second = serve(counting_model)
    assert second.process.wait(30) == 5
    assert str(first.process.pid) in second.log()
    assert first.result(first.submit()).status_code == 200


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (f"{FAULTY}:RaisesInSetup", "the weights are not there"),
        (f"{FAULTY}:RaisesWithoutWords", "setup failed on rank 1: Wordless: Wordless"),
        (f"{FAULTY}:NeverInitializes", "init_process_group"),
        (f"{FAULTY}:HasNoPipe", "no attribute `pipe`"),
        (f"{FAULTY}:HasNoPredict", "no method predict()"),
        (f"{FAULTY}:TearsDownWithArguments", "teardown() must take no arguments"),
        (f"{FAULTY}:DiesInSetup", "exited with status 9"),
    ],
)
def test_a_setup_that_fails_at_first_start_is_exit_code_3_with_the_rule_named(
    serve: Serve, model: str, words: str
) -> None:
    server = serve(model)
    assert server.process.wait(60) == 3
    assert words in server.log()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (f"{FAULTY}:NoSuchClass", "NeverInitializes"),
        ("no.such.module:Class", "no module"),
        ("nosuchname", "known names: demo, flux"),
    ],
)
def test_a_model_named_wrongly_is_exit_code_2_without_a_traceback(serve: Serve, model: str, words: str) -> None:
    server = serve(model)
    assert server.process.wait(60) == 2
    assert words in server.log()
    assert "Traceback" not in server.log()


def test_a_setup_that_hangs_is_ended(serve: Serve) -> None:
    server = serve(f"{FAULTY}:HangsInSetup", setup_timeout="8s")
    assert server.process.wait(60) == 3
    assert "setup failed on rank 0: not done within 8 s" in server.log()


@pytest.mark.parametrize("given", [{"settings": {"device": "cuda"}}, {"env": {"CUDA_VISIBLE_DEVICES": "0,1"}}])
def test_gpus_that_torch_does_not_see_are_exit_code_3_with_the_next_step(
    serve: Serve, counting_model: str, monkeypatch: pytest.MonkeyPatch, given: dict[str, dict[str, str]]
) -> None:
    for name, value in given.get("env", {}).items():
        monkeypatch.setenv(name, value)
    server = serve(counting_model, **given.get("settings", {}))
    assert server.process.wait(60) == 3
    assert "but torch sees no GPU: no NVIDIA driver is loaded, and torch " in server.log()
    assert "--device cpu runs them on the CPU" in server.log()
