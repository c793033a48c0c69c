"""The failure matrix: every fault at every point on every choice of ranks, with one group and with two.

The cells are generated. Each runs on a real server with gloo ranks, shared by the cells of its group count, and says
what the job's client sees, what the next job sees, and how long the group needs to take work again. With
FAILURE_MATRIX set to a file, the table is written there (`make failure-matrix`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from leftovers import marked_processes
from serving import CHAOS, RunningServer, shared_server
from waiting import wait_until

pytestmark = pytest.mark.slow

STEP_TIMEOUT = 1.5
SETUP_TIMEOUT = 15
"""Seconds; the first setup waits for the forkserver, which imports torch."""
RAISING = {"raise": "ValueError", "wrong type": "TypeError", "memory": "out_of_memory"}
DYING = ("exit", "sigkill", "segfault", "fork")
HANGING = ("sigstop", "spin", "sleep")
POINTS = ("first", "middle", "last", "output")
RANKS = {0: "rank 0", 1: "rank 1", -1: "all ranks"}


@dataclass(frozen=True)
class Cell:
    """One fault at one point on some ranks."""

    kind: str
    point: str
    rank: int

    @property
    def rank_zero_publishes(self) -> bool:
        """The fault comes when rank zero no longer needs the broken rank."""
        return self.point == "output" and self.rank == 1

    def allowed(self) -> set[tuple[int, str | None, int]]:
        """What the client may see: status code, error type, attempts. More than one where two processes race."""
        done_at_once, done_again = (200, None, 1), (200, None, 2)
        if self.point == "writing" and self.kind not in (*RAISING, "garbage"):
            return {done_at_once, done_again}  # charged to the job after it where that has begun
        if self.kind == "garbage":
            return {done_at_once}
        if self.kind == "transient":
            return {done_at_once} if self.rank_zero_publishes else {done_again}
        if self.kind in RAISING:
            return {done_at_once} if self.rank_zero_publishes else {(500, RAISING[self.kind], 1)}
        return {done_at_once, done_again} if self.rank_zero_publishes else {done_again}

    @property
    def keeps_group(self) -> bool:
        """Whether the ranks must be the same processes afterward."""
        raising = self.kind in (*RAISING, "transient")
        return self.kind == "garbage" or (raising and (self.rank == -1 or self.point in ("output", "writing")))


CELLS = [Cell(k, p, r) for k in (*RAISING, "transient", *DYING, *HANGING, "garbage") for p in POINTS for r in RANKS]
CELLS += [Cell(kind, "writing", 0) for kind in ("raise", "wrong type", *DYING, "sigstop", "garbage")]
ROWS: dict[tuple[Cell, int], tuple[str, float]] = {}


@pytest.fixture(scope="module", params=[1, 2], ids=["one group", "two groups"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = {"step_timeout": f"{STEP_TIMEOUT}s", "num_groups": request.param}
    yield from matrix_server(tmp_path_factory.mktemp("matrix"), settings)


def matrix_server(folder: Path, settings: dict[str, Any], env: dict[str, str] | None = None) -> Iterator[RunningServer]:
    for running in shared_server(CHAOS, folder, env, **settings):
        running.groups = settings["num_groups"]
        wait_until(partial(ready, running), 90)
        yield running


@pytest.fixture(scope="module", autouse=True)
def _table() -> Iterator[None]:
    yield
    if "FAILURE_MATRIX" in os.environ:
        Path(os.environ["FAILURE_MATRIX"]).write_text(table())


def ready(server: RunningServer) -> bool:
    groups = server.get("/server_status").json().get("groups", [])
    return len(groups) == server.groups and all(group["state"] == "ready" for group in groups)


def all_pids(server: RunningServer) -> list[int]:
    groups = server.get("/server_status").json()["groups"]
    return [rank["pid"] for group in groups for rank in group["ranks"]]


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: f"{c.kind}-{c.point}-{RANKS[c.rank]}")
def test_cell(server: RunningServer, cell: Cell, tmp_path: Path) -> None:
    pids = all_pids(server)
    marker = "" if cell.kind in RAISING else str(tmp_path / "marker")
    accepted = time.monotonic()
    job_id = server.submit(kind=cell.kind, point=cell.point, rank=cell.rank, marker=marker, seed=1)
    neighbour = server.submit(seed=2)
    result = server.result(job_id)
    body = result.json()
    seen = (result.status_code, body.get("error", {}).get("type"), server.status(job_id)["attempts"])
    assert seen in cell.allowed(), body
    wait_until(lambda: ready(server), 30, "the group to take work again")
    healed = time.monotonic() - accepted
    assert server.result(neighbour).status_code == 200
    assert server.result(server.submit(seed=3)).status_code == 200
    assert (all_pids(server) == pids) == cell.keeps_group
    assert not [p for p in marked_processes() if is_helper(p)], "a helper of a dead rank is left"
    outputs = Path(server.result(neighbour).json()["output_path"]).parents[3]
    assert not list(outputs.rglob(".*.part*")), "a half-written output is left"
    ROWS[cell, server.groups] = (words(seen), healed)


def words(seen: tuple[int, str | None, int]) -> str:
    status, error, attempts = seen
    return f"{status}{' ' + error if error else ''}, attempt {attempts}"


def is_helper(process: psutil.Process) -> bool:
    try:
        return "3600" in process.cmdline()
    except psutil.Error:
        return False


def table() -> str:
    """The matrix as a page of the docs."""
    parts = [_PAGE]
    for groups in sorted({groups for _, groups in ROWS}):
        rows = {cell: result for (cell, count), result in ROWS.items() if count == groups}
        parts.append(f"## {groups} group{'s' * (groups > 1)}\n")
        parts.append(f"| fault | at | {' | '.join(f'on {rank}' for rank in RANKS.values())} |")
        parts.append("| --- | --- |" + " --- |" * len(RANKS))
        for kind, point in dict.fromkeys((cell.kind, cell.point) for cell in rows):
            told = [in_words(Cell(kind, point, rank), rows) for rank in RANKS]
            parts.append(f"| {kind} | {point} | {' | '.join(told)} |")
        parts.append("")
    return "\n".join(parts)


def in_words(cell: Cell, rows: dict[Cell, tuple[str, float]]) -> str:
    if cell not in rows:
        return ""
    words, healed = rows[cell]
    return f"{words}; kept" if cell.keeps_group and cell.point != "setup" else f"{words}; {healed:.1f} s"


_PAGE = """\
# Failure matrix

The outcome for a job and its worker group, for each fault at each point on each choice of two ranks, with one group in
the pool and with two. `make failure-matrix` injects them all into real servers with gloo ranks and writes this page.

Each cell gives the final response to the job's client and the attempt that led to it; then whether the group was kept,
or the seconds from the job's acceptance until the job had ended and every group accepted work again. A hang has a
budget of 1.5 s here. A fault in setup lasts until its cause is in `/server_status`; a job that comes meanwhile waits or
runs on the other group, and the seconds start at the end of the fault and include the pause before the next try. The
test fails unless, after each cell, the next jobs succeed and no process, no shared memory and no partial output is
left. At `writing`, rank zero encodes the output of a run that is over, and the next job may have begun: a group that is
lost then is charged to that job. If three jobs of different arguments in a row fail, their group is rebuilt once
([operations.md](operations.md)).
"""


CAUSE_IN_SETUP = {
    "raise": "ValueError",
    "wrong type": "TypeError",
    "memory": "MemoryError",
    "exit": "exited with status 3 during setup",
    "fork": "exited with status 3 during setup",
    "sigkill": "was killed by SIGKILL during setup",
    "segfault": "was killed by SIGSEGV during setup",
    "sigstop": "was stopped during setup",
    **dict.fromkeys(("spin", "sleep"), f"not done within {SETUP_TIMEOUT} s"),
}
SETUP_CELLS = [Cell(kind, "setup", rank) for kind in (*RAISING, *DYING, *HANGING, "garbage") for rank in RANKS]


@pytest.fixture(scope="module")
def setup_order(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that makes setup break while it exists."""
    return tmp_path_factory.mktemp("order") / "break"


@pytest.fixture(scope="module", params=[1, 2], ids=["one group", "two groups"])
def setup_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, setup_order: Path
) -> Iterator[RunningServer]:
    settings = {"setup_timeout": f"{SETUP_TIMEOUT}s", "num_groups": request.param}
    yield from matrix_server(tmp_path_factory.mktemp("setup"), settings, {"CHAOS_SETUP": str(setup_order)})


@pytest.mark.parametrize("cell", SETUP_CELLS, ids=lambda c: f"{c.kind}-{c.point}-{RANKS[c.rank]}")
def test_setup_cell(setup_server: RunningServer, setup_order: Path, cell: Cell) -> None:
    """A group that cannot be set up backs off, and heals when the fault is gone; jobs wait or are done by another."""
    server = setup_server
    setup_order.write_text(f"{cell.rank} {cell.kind}")
    try:
        psutil.Process(server.rank_pid(0)).kill()
        job_id = submit_while_it_recovers(server, cell)
    finally:
        setup_order.unlink()
    gone = time.monotonic()
    wait_until(lambda: ready(server), SETUP_TIMEOUT + 30, "the group to take work again")
    healed = time.monotonic() - gone
    seen = (server.result(job_id).status_code, None, server.status(job_id)["attempts"])
    assert seen == (200, None, 1)
    at_once = [server.submit(seed=5, delay=0.05) for _ in range(server.groups)]  # ends each group's row of failures
    assert [server.result(job_id).status_code for job_id in at_once] == [200] * server.groups
    assert not [p for p in marked_processes() if is_helper(p)], "a helper of a dead rank is left"
    ROWS[cell, server.groups] = (words(seen), healed)


def submit_while_it_recovers(server: RunningServer, cell: Cell) -> str:
    cause = CAUSE_IN_SETUP.get(cell.kind, "")
    wait_until(lambda: recovering(server, cause), SETUP_TIMEOUT + 20, f"recovering, because of {cause}")
    job_id = server.submit(seed=4)
    if cause and server.groups == 1:
        assert server.status(job_id)["status"] == "queued", "accepted and queued while the group heals"
    if server.groups == 2:
        assert server.result(job_id).status_code == 200, "the other group goes on working"
    return job_id


def recovering(server: RunningServer, cause: str) -> bool:
    group = server.group()
    return group["state"] == "recovering" and cause in (group["cause"] or "")
