"""`ParaAttentionServer` from Python: scripts without a guard, instances, classes, names, and what cannot be sent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import psutil
import pytest
from serving import COUNTING
from waiting import wait_until

from para_attn_server import ParaAttentionServer, Predictor
from para_attn_server.core.errors import PortTaken, ServerError, SetupFailed, UsageError

SETTINGS = {"num_devices": 2, "preload": "torch.distributed"}

SCRIPT = """
from para_attn_server import ParaAttentionServer, Predictor
import torch.distributed as dist

class InScript(Predictor):
    pipe = None
    output_suffix = ".txt"
    def __init__(self, word): self.word = word
    def setup(self): dist.init_process_group("gloo")
    def predict(self, times: int = 2, *, output_path: str):
        for i in range(times): self.step(i + 1, times)
        if dist.get_rank() == 0: open(output_path, "w").write(self.word * times)

ParaAttentionServer(InScript("abc"), "127.0.0.1", {port}, 2, preload="").run()
print("after run")
"""


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def start_script(tmp_path: Path, port: int) -> subprocess.Popen[str]:
    script = tmp_path / "four_lines.py"
    script.write_text(SCRIPT.format(port=port))
    return subprocess.Popen([sys.executable, str(script)], cwd=tmp_path, stdout=subprocess.PIPE, text=True)


def test_a_plain_script_with_its_own_class_and_no_guard_serves_until_ctrl_c(tmp_path: Path) -> None:
    port = free_port()
    process = start_script(tmp_path, port)
    wait_until(lambda: ready(port), 60)
    job_id = httpx.post(f"http://127.0.0.1:{port}/generate", json={"times": 3}).json()["request_id"]
    result = httpx.get(f"http://127.0.0.1:{port}/outputs/{job_id}", params={"wait": 30}, timeout=40)
    assert result.text == "abcabcabc"
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert output == "after run\n", "the script is run once, not again in each rank"


def test_killing_the_script_ends_its_server(tmp_path: Path) -> None:
    port = free_port()
    process = start_script(tmp_path, port)
    wait_until(lambda: ready(port), 60)
    everything = psutil.Process(process.pid).children(recursive=True)
    assert len(everything) >= 5
    process.kill()
    process.communicate()
    wait_until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in everything), 20)


@pytest.mark.parametrize("form", ["name", "class", "instance"])
def test_as_a_context_manager_it_serves_in_the_background(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from counting import CountingPredictor

    predictor = {"name": COUNTING, "class": CountingPredictor, "instance": CountingPredictor()}[form]
    with ParaAttentionServer(predictor, port=0, **SETTINGS) as server:
        steps: list[int] = []
        with server.client as client:
            client.generate(tmp_path / "out.txt", on_progress=lambda s: steps.append(s["step"]), seed=3, steps=30)
        assert (tmp_path / "out.txt").read_text().startswith("3 ")
        assert server.url.startswith("http://127.0.0.1:")
    assert server.url == ""


def test_an_instance_that_cannot_be_pickled_names_the_attribute() -> None:
    class HoldsALock(Predictor):
        def __init__(self) -> None:
            self.harmless = 1
            self.guard = threading.Lock()

    with pytest.raises(UsageError, match=r"HoldsALock.*attribute 'guard' \(lock\) cannot be pickled"):
        ParaAttentionServer(HoldsALock())


@pytest.mark.parametrize("wrong", [5, ["demo"], object()])
def test_what_is_no_predictor_is_refused_at_once(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"must be an instance or a class with setup.* or a name as for --model, not "):
        ParaAttentionServer(wrong)


def test_a_wrong_setting_is_named() -> None:
    with pytest.raises(UsageError, match="num_devices"):
        ParaAttentionServer("demo", num_devices=0)
    with pytest.raises(UsageError, match="nonsense"):
        ParaAttentionServer("demo", nonsense=1)


def test_a_failed_setup_and_a_taken_port_raise_their_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    faulty = Path(__file__).parents[1] / "predictors" / "faulty_setup.py"
    told = "setup failed on rank .*the weights are not there"
    with pytest.raises(SetupFailed, match=told), ParaAttentionServer(f"{faulty}:RaisesInSetup", port=0, **SETTINGS):
        pass
    with pytest.raises(SetupFailed, match=told):
        ParaAttentionServer(f"{faulty}:RaisesInSetup", port=0, **SETTINGS).run()
    port = free_port()
    import socket

    with socket.create_server(("127.0.0.1", port)), pytest.raises(PortTaken, match="choose another --port"):
        ParaAttentionServer(COUNTING, port=port, **SETTINGS).run()


@pytest.mark.parametrize("size", [1, 1 << 23], ids=["small", "larger than the line holds"])
@pytest.mark.parametrize(("end", "error"), [("import nowhere", ServerError), ("raise SystemExit(2)", UsageError)])
def test_a_daemon_that_ends_before_it_has_read_the_model_raises_the_error_of_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, end: str, error: type[ServerError]
) -> None:
    class Large(Predictor):
        weights = b"w" * size

    (tmp_path / "structlog.py").write_text(end)  # a module that the controller imports first of all
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ServerError) as caught, ParaAttentionServer(Large, port=0, **SETTINGS):
        pass
    assert type(caught.value) is error
    with pytest.raises(ServerError) as caught:
        ParaAttentionServer(Large, port=0, **SETTINGS).run()
    assert type(caught.value) is error
