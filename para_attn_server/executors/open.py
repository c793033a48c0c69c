"""Opens an executor by its URL. The kinds of executors are listed here; each is in a file of its own.

Nothing here knows what a kind does. A kind's file is imported at its first use.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from para_attn_server.core.errors import UsageError
from para_attn_server.executors.base import Executor, ExecutorOptions

KINDS = {
    "agent": "para_attn_server.executors.agent.executor",
    "local": "para_attn_server.executors.local",
}
"""By the scheme of its URL: the module that has a function `open_executor`."""


def open_executor(url: str, options: ExecutorOptions) -> Executor:
    """The executor at that URL; may take seconds. A scheme alone will do where a kind has no places.

    Raises UsageError where the URL names no executor, or one that cannot do what the options ask for, and ServerError
    where that cannot be found out now.
    """
    scheme, _, place = url.partition("://")
    if scheme not in KINDS:
        known = " or ".join(sorted(KINDS))
        raise UsageError(f"executor: {url!r} names no executor; it begins with {known}")
    opener: Callable[[str, ExecutorOptions], Executor] = importlib.import_module(KINDS[scheme]).open_executor
    return opener(place, options)
