"""The web processes, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stand_in import pool_view
from waiting import wait_until
from web import Web


@pytest.fixture(scope="module")
def shared_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """One web for a module."""
    web = Web(tmp_path_factory.mktemp("web"), max_queue=5000, max_body=100_000)
    yield web
    web.close()


@pytest.fixture
def web(shared_web: Web) -> Iterator[Web]:
    """The module's web; afterwards its pool is as it was and no job waits or runs."""
    yield shared_web
    controller = shared_web.controller
    for job in [*controller.store.running(), *controller.store.queued(5000)]:
        controller.cancel(job.id)
    controller.leave_at_once = controller.answers = controller.beats = True
    controller.show(pool_view())
    shared_web.put_schema()
    wait_until(lambda: shared_web.get("/readyz").status_code == 200, 5, "ready again")
