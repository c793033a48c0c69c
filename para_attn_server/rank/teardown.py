"""Calls a predictor's teardown() at the orderly end of a rank. It is never waited for beyond its deadline.

Where even the deadline cannot be seen to, since native code keeps the interpreter, the controller kills the rank.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from typing import Any

from para_attn_server.core.predictor import TEARDOWN_TIMEOUT, Predictor

log = logging.getLogger(__name__)


def has_teardown(predictor: Any) -> bool:
    """Whether there is one of its own."""
    own = getattr(type(predictor), "teardown", None)
    return callable(own) and own is not Predictor.teardown


def tear_down(predictor: Any, timeout: float = TEARDOWN_TIMEOUT) -> None:
    """Call teardown(), if there is one. What it raises is logged. timeout: seconds after which the process ends."""
    if not has_teardown(predictor):
        return
    timer = threading.Timer(timeout, _give_up, (threading.get_ident(), timeout))
    timer.daemon = True
    timer.start()
    try:
        predictor.teardown()
    except BaseException:  # sys.exit(), too, is no reason to end otherwise
        log.exception("teardown() has raised; the rank ends all the same")
    timer.cancel()


def _give_up(thread: int, timeout: float) -> None:
    frame = sys._current_frames().get(thread)
    stacks = "".join(traceback.format_stack(frame)) if frame is not None else ""
    log.error("teardown() has not returned in time; the rank ends", extra={"seconds": timeout, "stacks": stacks})
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
