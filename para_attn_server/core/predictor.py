"""The predictor contract: what a user's class must have, and a base class with defaults.

A predictor needs `setup(self)`, `predict(self, ...)` and an attribute `pipe`; inheriting from `Predictor` is optional.
What predict returns on rank zero is the job's output; one that takes an argument `output_path` may write it itself.
This module knows nothing of torch or of the ranks: what a step or a log line does is bound by the rank that runs the
predictor, and does nothing outside a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

TEARDOWN_TIMEOUT = 10.0
"""Seconds that a predictor's teardown() has."""


class Reporter(Protocol):
    """What a rank binds to a predictor while a job runs."""

    def step(self, step: int, total: int | None) -> None:
        """Report that `step` steps of `total` are done; raises JobCanceled where the job is to be left."""

    def log(self, text: object) -> None:
        """Add a line to the job's log."""

    def emit(self, kind: str, data: Any) -> None:
        """Send a live event to whoever listens to the job."""

    def report(self, values: Mapping[str, Any]) -> None:
        """Keep what was really used for the job."""

    def output_path(self, suffix: str | None, role: str) -> Path:
        """Where one more output of the job is to be written."""


class TransientError(Exception):
    """Raise it, or a subclass, from `predict` where another try may do better: a download that broke off, say.

    The job is then tried again, up to `--max-attempts` times in all; any other exception fails it at once.
    """


class Predictor:
    """Base class with defaults for a predictor.

    Attributes
    ----------
    pipe : diffusers.DiffusionPipeline or None
        The pipeline whose steps are reported and canceled; None for a predictor that calls `self.step`.
    output_suffix : str
        The file suffix of outputs that the server names, such as `.png` or `.mp4`; it chooses the format.
    """

    pipe: Any = None
    output_suffix: str = ".png"
    _reporter: Reporter | None = None

    def setup(self) -> None:
        """Load the model and call `torch.distributed.init_process_group()`; runs once in every rank.

        The environment is as torchrun sets it (RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT).
        """

    def teardown(self) -> None:
        """Free what the operating system does not: runs once in every rank, at its orderly end and not in a job.

        It has 10 seconds. Not called where a rank is killed: after a fault, or in a job that a stop does not wait for.
        """

    def limits(self) -> dict[str, dict[str, Any]]:
        """Bounds that are known only after setup, as JSON Schema keywords, by argument of predict or by an expression.

        Known keywords: minimum, maximum, multipleOf. An expression has names of arguments, whole numbers, + - * // %
        and parentheses. Example: `{"width": {"multipleOf": 32}, "num_frames - 1": {"multipleOf": 4}}`.

        Returns
        -------
        dict of str to dict
            Keywords and their numbers, by argument or expression; the same on every rank.
        """
        return {}

    def step(self, step: int, total: int | None = None) -> None:
        """Report that a step is done. Every rank must call it equally often.

        Not needed where `pipe` is a diffusers pipeline. Outside a server it does nothing.

        Parameters
        ----------
        step : int
            How many steps are done, from 1.
        total : int, optional
            How many there will be.

        Raises
        ------
        JobCanceled
            The job is canceled: a BaseException, on every rank at the same call. Let it pass.
        """
        if self._reporter is not None:
            self._reporter.step(step, total)

    def log(self, text: object) -> None:
        """Add a line to the job's log (from rank zero). Never waits and never raises; outside a server it does nothing.

        Of a second up to 50 lines are kept, the first and the last, each of up to 4 KiB; of a job 2,000 likewise.

        Parameters
        ----------
        text : object
            What `str()` makes of it; several lines are allowed.
        """
        if self._reporter is not None:
            self._reporter.log(text)

    def emit(self, kind: str, data: Any) -> None:
        """Send a live event of the job to whoever listens to it (from rank zero), such as a preview or a piece of text.

        Never waits. Pieces of the kind `text` are joined where they come fast; of bytes only the latest of a kind is
        sent then. Nothing is kept: what must not be lost belongs to the output. Outside a server it does nothing.

        Parameters
        ----------
        kind : str
            A word of your own, of small letters.
        data : JSON values or bytes
            JSON up to 64 KiB, bytes up to 1 MiB.

        Raises
        ------
        TypeError, ValueError
            The data is not what JSON has; on every rank. What is too large is dropped, and the job's log says so.
        """
        if self._reporter is not None:
            self._reporter.emit(kind, data)

    def report(self, **applied: Any) -> None:
        """Say what predict has really used, by name: `self.report(width=1024, cache="first block")`.

        Every rank must report the same; else the job fails as `applied_mismatch`. Shown with the job as `applied`, with
        what the server knows by itself: seed, width and height where predict takes them, steps, ranks, plan and dtype.
        Outside a server it does nothing.

        Parameters
        ----------
        **applied : JSON values
            By name; up to 4,096 characters a job.
        """
        if self._reporter is not None:
            self._reporter.report(applied)

    def output_path(self, suffix: str | None = None, role: str = "output") -> Path:
        """Where to write one more output of the job, beside the first.

        Rank zero must write every file that it asks for. Outside a server the files are `output-1.png`, `output-2.png`
        and so on in the working folder.

        Parameters
        ----------
        suffix : str, optional
            The format, such as `.png` or `.json`; without it that of the first output.
        role : str
            What the file is to the job, such as `mask`; shown with it.

        Returns
        -------
        pathlib.Path
            A file in a folder that is there already.
        """
        if self._reporter is not None:
            return self._reporter.output_path(suffix, role)
        self._named = getattr(self, "_named", 0) + 1
        return Path(f"output-{self._named}{self.output_suffix if suffix is None else suffix}")


def output_suffix(predictor: Any) -> Any:
    """The file suffix of its outputs, also of one that does not inherit."""
    return getattr(predictor, "output_suffix", Predictor.output_suffix)
