"""Every error of the project, in one tree.

    ServerError
    ├── UsageError              a setting or a model name is wrong; exit code 2
    ├── SetupFailed             a predictor's setup() failed or broke the contract; exit code 3
    ├── PortTaken               the address cannot be bound; exit code 4
    ├── StoreUnavailable        the job store cannot be used now
    │   └── StateDirError       the state directory is in use, unreadable or too new; exit code 5
    ├── InvalidInput            a request's arguments are wrong; names each field
    ├── JobNotFound             no job has that id
    ├── ModelNotFound           the server has no model of that name
    ├── UploadNotFound          the owner has no upload of that id
    ├── UploadTooLarge          an upload has more bytes than --max-upload
    ├── NothingToCancel         no job is queued or running under that id (or at all)
    ├── JobActive               a job is queued or running, and only one that has ended can be deleted
    ├── IdempotencyConflict     the same Idempotency-Key came with another request
    ├── QueueFull               --max-queue jobs are waiting already
    ├── NotAccepting            no schema yet, all groups broken, or the server is stopping
    ├── InsufficientStorage     less than --min-free is free for new outputs
    ├── OutputGone              the file of a succeeded job was removed or replaced by somebody
    │   ├── OutputExpired       the server has removed it after --keep-outputs
    │   └── OutputEvicted       the server has removed it to stay within --max-output-bytes
    ├── ControllerUnreachable   the controller does not respond on its control socket
    └── IllegalTransition       a job was asked to go where its life does not lead
        └── StaleRun            by a writer that speaks of another run than the one under way

Errors cross processes as data: `JobError` is what a failed job carries, from the rank that saw it to the client.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """What the command's exit status means."""

    OK = 0
    USAGE = 2
    SETUP_FAILED = 3
    PORT_TAKEN = 4
    STATE_DIR = 5


class ServerError(Exception):
    """Root of all errors that this project raises on purpose."""

    exit_code = 1


class UsageError(ServerError):
    """A setting or a model name is wrong."""

    exit_code = ExitCode.USAGE


class SetupFailed(ServerError):
    """A predictor could not be made ready."""

    exit_code = ExitCode.SETUP_FAILED


class PortTaken(ServerError):
    """The address cannot be bound."""

    exit_code = ExitCode.PORT_TAKEN


class StoreUnavailable(ServerError):
    """The job store cannot be used now. public: why, for clients, without a path; None: only the log has it."""

    exit_code = ExitCode.STATE_DIR

    def __init__(self, message: str, public: str | None = None) -> None:
        super().__init__(message)
        self.public = public


class StateDirError(StoreUnavailable):
    """The state directory cannot be used, and with it the store."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field of a request: `pointer` is a JSON pointer fragment such as `#/steps`."""

    pointer: str
    detail: str


class InvalidInput(ServerError):
    """A request's arguments are wrong; `fields` names each and says what is valid."""

    def __init__(self, fields: list[FieldError]) -> None:
        super().__init__("; ".join(f"{f.pointer.removeprefix('#/')}: {f.detail}" for f in fields))
        self.fields = fields


class JobNotFound(ServerError):
    """No job has that id (or it was removed after --keep)."""


class ModelNotFound(ServerError):
    """The server has no model of that name. models: those that it has."""

    def __init__(self, name: str, models: list[str]) -> None:
        super().__init__(f"there is no model {name[:100]!r}; this server has {', '.join(models)}")
        self.models = models


class UploadNotFound(ServerError):
    """The owner has no upload of that id, or has it no more. digest: the id."""

    def __init__(self, digest: str) -> None:
        super().__init__("there is no such upload: one that no job uses is removed after an hour; send the file again")
        self.digest = digest


class UploadTooLarge(ServerError):
    """An upload has more bytes than --max-upload allows."""

    def __init__(self, most: int) -> None:
        super().__init__(f"a file may have up to {most} bytes (--max-upload)")


class NothingToCancel(ServerError):
    """No job is queued or running under that id, or none is running at all."""


class JobActive(ServerError):
    """The job is queued or running; only one that has ended can be deleted."""


class IdempotencyConflict(ServerError):
    """The same Idempotency-Key came before with another request."""


class QueueFull(ServerError):
    """As many jobs are queued as --max-queue allows. retry_after: seconds until the next one starts, where known."""

    def __init__(self, limit: int, retry_after: int | None = None) -> None:
        super().__init__(f"the queue is full ({limit} jobs are waiting); try again later")
        self.limit, self.retry_after = limit, retry_after


class NotAccepting(ServerError):
    """The server takes no new work now; the message says why."""


class InsufficientStorage(ServerError):
    """Less is free on the disk of an output than --min-free wants: `free` of `wanted` bytes."""

    def __init__(self, free: int, wanted: int) -> None:
        super().__init__(f"{free} bytes are free for outputs, and --min-free wants {wanted}; free some space")
        self.free, self.wanted = free, wanted


class OutputGone(ServerError):
    """The file of a job that has succeeded is not there any more: somebody has removed or replaced it."""


class OutputExpired(OutputGone):
    """The server has removed the file, at `removed_at` (Unix seconds), after --keep-outputs."""

    def __init__(self, removed_at: float) -> None:
        super().__init__("The output's file was removed from the server after the time for which outputs are kept.")
        self.removed_at = removed_at


class OutputEvicted(OutputGone):
    """The server has removed the file, at `removed_at` (Unix seconds), to stay within --max-output-bytes."""

    def __init__(self, removed_at: float) -> None:
        super().__init__("The output's file was removed from the server to make room for newer ones.")
        self.removed_at = removed_at


class ControllerUnreachable(ServerError):
    """The controller does not respond on its control socket."""


class IllegalTransition(ServerError):
    """A job's status does not allow the change that was asked for."""


class StaleRun(IllegalTransition):
    """A write is about a run that is not the one under way: an earlier one's, or another controller's."""


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, as data.

    type: the class name of the predictor's exception, or what the server found: `invalid_input`, `arguments_mismatch`,
    `applied_mismatch`, `out_of_memory`, `output_missing`, `output_invalid`, `output_unwritable`, `rank_lost`,
    `hang`, `poison` (its group was lost in every attempt), `timeout` or `expired` (its deadline passed). message: for
    the client, without traceback or server paths.
    rank and step: where it happened, None where that has no meaning. hint: what to change, if known.
    """

    type: str
    message: str
    rank: int | None = None
    step: int | None = None
    hint: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields that are set, ready for JSON."""
        return {key: value for key, value in asdict(self).items() if value is not None}
