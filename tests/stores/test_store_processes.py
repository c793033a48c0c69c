"""The store among processes: the queue's limit under concurrency, writers killed, forks, greenlets, power loss."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from runs import run_of

from para_attn_server.core.job import NewJob, Output, Result
from para_attn_server.stores.base import JobStore
from para_attn_server.stores.sql import SqlStore

RESULT = Result((Output("/out/a.png", "image/png", 1, "00"),))
PROGRAM = Path(__file__).with_name("store_process.py")
WAL_HEADER, FRAME_HEADER, PAGE = 32, 24, 4096
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def store(database: Path) -> Iterator[JobStore]:
    """The one store that several processes can open."""
    with closing(SqlStore.open(database, durable=False)) as opened:
        yield opened


@pytest.fixture
def start_process(database: Path) -> Iterator[Start]:
    """Starts store_process.py on the test's database; all are dead and reaped in the end."""
    started: list[subprocess.Popen[str]] = []

    def start(role: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROGRAM), role, str(database), *map(str, arguments)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def test_exactly_max_queued_get_in_from_several_processes(store: JobStore, start_process: Start) -> None:
    inserters = [start_process("insert", 15, 25) for _ in range(4)]
    assert [read_line(process) for process in inserters] == ["ready"] * 4
    for process in inserters:
        go(process)
    said = [line for process in inserters for line in process.communicate(timeout=60)[0].split()]
    accepted = [line for line in said if line != "full"]
    assert len(accepted) == 25 and len(said) == 60
    assert {job.id for job in store.queued(100)} == set(accepted)


def test_every_accepted_job_outlives_a_killed_writer(store: JobStore, start_process: Start) -> None:
    writer = start_process("insert", 100_000, 1_000_000)
    assert read_line(writer) == "ready"
    go(writer)
    accepted = [read_line(writer) for _ in range(40)]
    writer.send_signal(signal.SIGKILL)
    assert writer.stdout is not None
    accepted += writer.stdout.read().split("\n")[:-1]  # not communicate(): it passes over what is buffered already
    queued = store.queued(1_000_000)
    assert [job.id for job in queued][: len(accepted)] == accepted
    assert [store.arguments(job.id)["number"] for job in queued] == list(range(len(queued)))
    assert len(queued) <= len(accepted) + 1
    assert all([event.type for event in store.events(job.id)] == ["queued"] for job in queued)


def test_a_writer_killed_in_a_transaction_leaves_nothing_and_holds_nobody(
    store: JobStore, start_process: Start
) -> None:
    job = store.insert(NewJob({}, "/out/a.png"), 10, 1.0)
    holder = start_process("hold")
    assert read_line(holder) == "held"
    holder.kill()
    holder.wait()
    assert store.get(job.id) == job
    store.insert(NewJob({}, "/out/b.png"), 10, 2.0)


def open_descriptors(path: Path) -> int:
    return sum(link.exists() and link.samefile(path) for link in Path("/proc/self/fd").iterdir())


def test_a_forked_process_opens_a_connection_of_its_own(store: JobStore, database: Path) -> None:
    job = store.insert(NewJob({}, "/out/a.png"), 10, 1.0)
    inherited = open_descriptors(database)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.insert(NewJob({}, "/out/b.png"), 10, 2.0)
            code = 0 if store.get(job.id) == job and open_descriptors(database) == inherited + 1 else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert store.counts().queued == 2
    store.start(job.id, 0, 3.0)


def test_greenlets_of_a_patched_worker_share_a_store(store: JobStore, start_process: Start) -> None:
    said, _ = start_process("greenlets", 50).communicate(timeout=60)
    assert said.strip() == "50"
    assert store.counts().queued == 50


def test_opening_and_closing_leaks_no_descriptor(store: JobStore, database: Path) -> None:
    def cycle() -> int:
        one = SqlStore.open(database, durable=False)
        one.counts()
        one.close()
        return len(list(Path("/proc/self/fd").iterdir()))

    assert cycle() == cycle() == cycle()


def test_after_power_loss_every_returned_insert_is_there(database: Path, tmp_path: Path) -> None:
    """Cut the write-ahead log wherever a power loss could: what remains is a prefix of what was done."""
    web, controller = SqlStore.open(database, durable=True), SqlStore.open(database, durable=False)
    log = database.with_name(database.name + "-wal")
    inserted: list[tuple[str, int]] = []
    for number in range(8):
        job = web.insert(NewJob({"number": number}, "/out/a.png"), 1000, float(number))
        inserted.append((job.id, log.stat().st_size))
        if number % 3 == 0:
            controller.start(job.id, 0, 50.0)
            controller.succeed(
                job.id, Result((Output("/out/a.png", "image/png", 1, "00"),)), 60.0, run=run_of(controller, job.id)
            )
    frames = (log.stat().st_size - WAL_HEADER) // (FRAME_HEADER + PAGE)
    whole = [WAL_HEADER + count * (FRAME_HEADER + PAGE) for count in range(frames + 1)]
    cuts = [0, *whole, *(cut + FRAME_HEADER + PAGE // 2 for cut in whole[:-1])]
    try:
        for cut in cuts:
            check_after_cut(database, tmp_path / f"cut-{cut}", cut, inserted)
    finally:
        web.close()
        controller.close()


def check_after_cut(database: Path, folder: Path, cut: int, inserted: list[tuple[str, int]]) -> None:
    folder.mkdir()
    copy = Path(shutil.copy(database, folder / database.name))
    log = database.with_name(database.name + "-wal").read_bytes()
    copy.with_name(copy.name + "-wal").write_bytes(log[:cut])
    store = SqlStore.open(copy, durable=True)
    there = [job_id for job_id, _ in inserted if store.get(job_id) is not None]
    safe = [job_id for job_id, size in inserted if size <= cut]
    assert there == [job_id for job_id, _ in inserted][: len(there)], "a hole in the queue"
    assert there[: len(safe)] == safe, "an accepted job is gone"
    assert all(store.events(job_id) for job_id in there)
    for job in map(store.get, there):
        assert job is not None
        last = store.events(job.id)[-1].type
        assert last == {"queued": "queued", "running": "started", "succeeded": "succeeded"}[job.status]
    store.insert(NewJob({}, "/out/next.png"), 1000, 99.0)
    store.close()
    with sqlite3.connect(copy) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
