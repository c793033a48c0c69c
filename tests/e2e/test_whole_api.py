"""schemathesis over the whole OpenAPI document of a real server: right and wrong requests of every kind, in chains too.

Two of its checks are left out. A 500 is no mistake here: it is how a failed job is told (that the web itself made none
is seen in the log). And not all that a schema cannot say is right: a deadline lies in the future, a key is used once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hostile import INSIDE, MAX_BODY
from serving import BOUNDED, RunningServer

from para_attn_server.http.kit.waiting import MAX_WAIT

LEFT_OUT = "positive_data_acceptance,not_a_server_error"
QUICK, THOROUGH = 10, 200
CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the server's own lie deep."""
    folder = tmp_path_factory.mktemp("sandbox")
    (folder / "a" / "b").mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def server(sandbox: Path) -> Iterator[RunningServer]:
    before = Path.cwd()
    os.chdir(sandbox / "a")  # the server's working directory too
    try:
        settings = {"state_dir": sandbox / "a" / "state", "output_dir": sandbox / "a" / "b" / "outputs"}
        server = RunningServer(BOUNDED, {**settings, "max_body": MAX_BODY})
    finally:
        os.chdir(before)
    server.wait_ready()
    yield server
    server.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that schemathesis got. seconds: how long it took."""

    status: int
    body: str
    seconds: float


def schemathesis(folder: Path, location: str, url: str, examples: int, *more: str) -> tuple[int, str, list[Answer]]:
    """Run it: its exit status, its report, and every answer that it got."""
    record = folder / "record.har"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "--no-color", "run", location]
    command += ["--url", url, "--checks", "all", "--exclude-checks", LEFT_OUT, "--max-examples", str(examples)]
    command += ["--continue-on-failure", "--request-timeout", "75", "--warnings", "off"]
    command += ["--report-har-path", str(record), *more]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900)
    entries = json.loads(record.read_text())["log"]["entries"]
    answers = [Answer(e["response"]["status"], e["response"]["content"]["text"], e["time"] / 1000) for e in entries]
    return ended.returncode, ended.stdout + ended.stderr, answers


def run(server: RunningServer, folder: Path, sandbox: Path, examples: int) -> None:
    """Everything at once: schemathesis finds nothing, and nothing happened that it does not see."""
    outputs = sandbox / "a" / "b" / "outputs"
    before = listing(sandbox, outputs)
    status, report, answers = schemathesis(folder, f"{server.url}/openapi.json", server.url, examples)
    assert status == 0, report
    assert "23 selected / 23 total" in report
    assert {200, 202, 400, 404, 405, 415} <= {answer.status for answer in answers}
    for answer in answers:
        assert not [inside for inside in INSIDE if inside in answer.body], answer
        assert answer.seconds < MAX_WAIT + 5, answer
    assert listing(sandbox, outputs) == before
    assert not [line for line in server.log().splitlines() if "Traceback" in line and of_the_server(line)]
    assert server.result(server.submit(prompt="a")).status_code == 200


def of_the_server(line: str) -> bool:
    """Whether a line of the log is none of the ranks, which tell there what the predictor raised."""
    return not (line.startswith("{") and json.loads(line)["process"].startswith("group"))


def listing(folder: Path, but: Path) -> set[Path]:
    """All there is in a folder, less what is below `but` and the database's log."""
    return {p for p in folder.rglob("*") if but not in p.parents and not p.name.startswith("jobs.sqlite3-")}


def test_no_answer_is_undocumented_or_of_another_shape(server: RunningServer, tmp_path: Path, sandbox: Path) -> None:
    run(server, tmp_path, sandbox, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_answer_is_undocumented_however_often_one_asks(server: RunningServer, tmp_path: Path, sandbox: Path) -> None:
    run(server, tmp_path, sandbox, THOROUGH)


def test_an_undocumented_status_is_found(server: RunningServer, tmp_path: Path) -> None:
    document = server.get("/openapi.json").json()
    del document["paths"]["/generate"]["post"]["responses"]["400"]
    changed = tmp_path / "openapi.json"
    changed.write_text(json.dumps(document))
    status, report, _ = schemathesis(tmp_path, str(changed), server.url, 5, "--include-path", "/generate")
    assert status == 1 and "Undocumented status code" in report
