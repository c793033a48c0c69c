"""Whether any model can be set up at the server's start, and why not. What follows is the controller's business."""

from __future__ import annotations

from collections.abc import Iterable

from para_attn_server.core.errors import ExitCode
from para_attn_server.pool.backoff import SetupFailure


class FirstSetups:
    """The failed setups of a server that has not had a ready group yet. models: their names."""

    def __init__(self, models: Iterable[str]) -> None:
        self._models, self._failures = frozenset(models), dict[str, SetupFailure]()

    def failed(self, model: str, failure: SetupFailure) -> None:
        """A model could not be set up; it is tried again as long as another one may do better."""
        self._failures[model] = failure

    @property
    def hopeless(self) -> bool:
        """Every model has failed."""
        return self._failures.keys() >= self._models

    @property
    def exit_code(self) -> ExitCode:
        """OK while there is hope."""
        if not self.hopeless:
            return ExitCode.OK
        usage = all(failure.error.usage for failure in self._failures.values())
        return ExitCode.USAGE if usage else ExitCode.SETUP_FAILED

    def why(self) -> tuple[str, str]:
        """The reason of each, and the tracebacks that say more."""
        named = len(self._models) > 1
        reasons = [f"model {model}: {failure}" if named else str(failure) for model, failure in self._failures.items()]
        tracebacks = [failure.error.traceback for failure in self._failures.values() if not failure.error.usage]
        return "; ".join(reasons), "\n".join(filter(None, tracebacks))
