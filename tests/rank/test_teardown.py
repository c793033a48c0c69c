"""A predictor's teardown(): called once, and never in the way of the end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from para_attn_server.core.errors import SetupFailed
from para_attn_server.core.predictor import Predictor
from para_attn_server.rank.predictor_checks import check_before_setup
from para_attn_server.rank.teardown import has_teardown, tear_down


class Plain(Predictor):
    """Has none of its own."""

    def predict(self) -> str:
        return ""


class Closing(Plain):
    """Counts its calls."""

    calls = 0

    def teardown(self) -> None:
        self.calls += 1


class Raising(Plain):
    """Leaves in a way that no `except Exception` sees."""

    def teardown(self) -> None:
        sys.exit("no more")


class Taking(Plain):
    """Wants to know more than there is."""

    def teardown(self, now: float) -> None:  # type: ignore[override]
        pass


class Later(Plain):
    """Would never run."""

    async def teardown(self) -> None:  # type: ignore[override]
        pass


class Foreign:
    """Does not inherit."""

    def teardown(self) -> None:
        self.closed = True


def test_it_is_called_where_there_is_one() -> None:
    closing, foreign = Closing(), Foreign()
    for predictor in (Plain(), closing, foreign):
        tear_down(predictor)
    assert (closing.calls, foreign.closed) == (1, True)
    assert [has_teardown(one) for one in (Plain(), closing, foreign)] == [False, True, True]


def test_what_it_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    tear_down(Raising())
    assert "teardown() has raised" in caplog.text and "no more" in caplog.text


def test_one_that_hangs_ends_with_its_process() -> None:
    program = """
import logging, threading
from para_attn_server.rank.teardown import tear_down
logging.basicConfig(format="%(message)s %(stacks)s")
class Hanging:
    def teardown(self):
        threading.Event().wait()
tear_down(Hanging(), 0.1)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert "teardown() has not returned in time" in done.stderr and "in teardown" in done.stderr


@pytest.mark.parametrize(("kind", "words"), [(Taking, r"teardown\(\) must take no arguments"), (Later, "a coroutine")])
def test_one_that_cannot_be_called_is_refused_at_setup(kind: type[Predictor], words: str) -> None:
    with pytest.raises(SetupFailed, match=words):
        check_before_setup(kind())
