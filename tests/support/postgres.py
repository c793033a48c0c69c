"""A real PostgreSQL for tests: on loopback and on a socket in a folder of its own, with a database for each that asks.

It runs as an unprivileged user, as it must, and is gone with the process that started it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from leftovers import MARK
from waiting import wait_until

from para_attn_server.stores.open import prepare_store

_SETTINGS = {
    "fsync": "off",  # what the operating system has outlives a killed process, and no test takes its power away
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "listen_addresses": "127.0.0.1",
    "log_min_messages": "warning",
    "jit": "off",
    "dynamic_shared_memory_type": "mmap",  # no name in /dev/shm, where tests look for what is left
}
_OURS = "starts_with(application_name, 'para-attn-server')"
LOCKED_OUT = "locked_out"
"""A user who needs the password `pass@word`."""
PASSWORD = "pass@word"


def programs() -> Path:
    """Where PostgreSQL's programs are. Skips the test on a machine without them: only the CI has to have everything."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = str(folders[-1]) if folders else shutil.which("initdb")
    if found is None and os.environ.get("CI"):
        pytest.fail("PostgreSQL is not installed; .ci/run installs it")
    if found is None:
        pytest.skip("PostgreSQL is not installed on this machine")
    return Path(found).parent


class RunningPostgres:
    """A server with nothing in it."""

    def __init__(self) -> None:
        self._programs = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._become: dict[str, Any] = {}
        if os.getuid() == 0:  # which it refuses
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._become = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._data = self.folder / "data"
        self._env = {name: value for name, value in os.environ.items() if name != MARK and not name.startswith("PG")}
        self._do("initdb", "-D", str(self._data), "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8",
                 "--locale=C.UTF-8")  # fmt: skip
        hba = self._data / "pg_hba.conf"
        hba.write_text(f"host all {LOCKED_OUT} 127.0.0.1/32 scram-sha-256\n{hba.read_text()}")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def _do(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self._env, capture_output=True, text=True, **self._become)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Also again, after a kill: what was left of it must be gone first, and it tries until then."""
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = ["setpriv", "--pdeathsig", "KILL", str(self._programs / "postgres"), "-D", str(self._data)]
        command += ["-p", str(self.port), "-k", str(self.folder), *settings]

        def up() -> bool:
            if self.process is None or self.process.poll() is not None:
                log = (self.folder / "log").open("ab")
                with log:
                    self.process = subprocess.Popen(
                        command, cwd=self.folder, env=self._env, stdout=log, stderr=log, **self._become
                    )
            with contextlib.suppress(psycopg.Error), self.connect():
                return True
            return False

        wait_until(up, 60, "PostgreSQL to start")

    def url(self, database: str = "postgres") -> str:
        """Of a database, over TCP."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """An administrator's connection."""
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=5)

    def new_database(self, template: str = "template1") -> str:
        """An empty database, or a copy of another one that nobody has open; its name."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with self.connect() as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        """Away with it, whoever has it open."""
        with self.connect() as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def sessions(self, database: str) -> list[dict[str, Any]]:
        """The stores' sessions in it."""
        with self.connect() as admin:
            rows = admin.execute(
                f"SELECT pid, application_name, state FROM pg_stat_activity WHERE datname = %s AND {_OURS}", (database,)
            ).fetchall()
        return [dict(zip(("pid", "name", "state"), row, strict=True)) for row in rows]

    def disconnect(self, database: str) -> int:
        """End the stores' sessions in it, as an administrator may; how many there were."""
        with self.connect() as admin:
            found = admin.execute(
                f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND {_OURS}",
                (database,),
            ).fetchall()
        return len(found)

    def pids(self) -> list[int]:
        """Of the server and all its sessions."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """SIGSTOP for all of its processes while this lasts."""
        pids = self.pids()
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL for all of its processes."""
        assert self.process is not None
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)

    def close(self) -> None:
        """The end of it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


def running_postgres() -> Iterator[RunningPostgres]:
    """For a fixture to yield from."""
    server = RunningPostgres()
    try:
        yield server
    finally:
        server.close()


def prepared(server: RunningPostgres) -> str:
    """A database with the present schema."""
    name = server.new_database()
    prepare_store(server.url(name))
    return name


EMPTY = (
    "DELETE FROM jobs; DELETE FROM documents; DELETE FROM uploads; DELETE FROM writers; "
    "UPDATE output_totals SET jobs = 0, bytes = 0, evicted = 0"
)
"""Makes a store's database as new, but for the numbers that are given out."""
