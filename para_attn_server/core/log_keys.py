"""Keys of the server's own log events, for alerts and queries: a key stays when the words of its event change.

Every event that this package logs has one (tests/core/test_log_keys.py); lines of predictors and libraries have none.
"""

from __future__ import annotations

from typing import Any

KEYS = {
    # jobs and runs
    "job accepted": "job.accepted",
    "job started": "job.started",
    "job ended": "job.ended",
    "job deleted": "job.deleted",
    "job failed on this rank": "job.failed_on_rank",
    "old jobs removed": "job.old_removed",
    "removal of old jobs resumes": "job.removal_resumed",
    "the wall clock has jumped; removal of old jobs pauses": "job.removal_paused",
    "a run is lost": "run.lost",
    "run is stuck": "run.stuck",
    "stacks of a stuck run": "run.stacks",
    "a start is undone": "run.start_undone",
    "late message dropped": "run.late_message",
    "call from outside the run ignored: only the thread of predict, and threads that it starts in this run, can step, "
    "log, emit, report or name outputs": "run.call_from_outside",
    # groups and ranks
    "worker group is ready": "group.ready",
    "worker group is rebuilt": "group.rebuilt",
    "backing off before relaunch": "group.backoff",
    "setup failed": "group.setup_failed",
    "a rank is stopped in its setup; killing its group": "group.stopped_in_setup",
    "the setup waits for a change of the predictor": "group.waits_for_change",
    "rank died": "rank.died",
    "rank failed": "rank.failed",
    "ranks are being started": "rank.forkserver_loading",
    "rank is loading": "rank.loading",
    "ranks cannot be launched": "rank.launch_failed",
    "ranks do not end": "rank.end_late",
    "downloading hub files": "rank.downloading",
    "cannot read a rank's message; killing the rank": "rank.message_unreadable",
    "failed to handle a rank's message": "rank.message_failed",
    "invalid data on a rank's pipe; killing the rank": "rank.pipe_invalid",
    "killed processes that dead ranks had left": "rank.helpers_killed",
    "teardown() has not returned in time; the rank ends": "rank.teardown_late",
    "teardown() has raised; the rank ends all the same": "rank.teardown_raised",
    "arguments not representable in JSON are compared as sent: %s": "rank.arguments_compared_as_sent",
    "arguments not representable in JSON; ranks compare them as sent: %s": "rank.arguments_not_json",
    "the forkserver shows no sign of life; killing it": "forkserver.silent",
    "the forkserver's socket is missing; starting a new forkserver": "forkserver.socket_missing",
    "the resource tracker did not exit; killing it": "tracker.killed",
    "the resource tracker of an earlier server did not exit; killing it": "tracker.former_killed",
    "the working folder was removed; ranks start in / from now on": "rank.working_folder_removed",
    # models
    "jobs wait for a model that this server does not have": "model.missing",
    "the model's arguments have changed since it was loaded; they are followed": "model.arguments_changed",
    "the predictor has changed; starting its ranks anew": "model.reloaded",
    # agents
    "agent is listening": "agent.listening",
    "agent is there": "agent.connected",
    "a connection was refused": "agent.connection_refused",
    "failed to handle what an agent reports": "agent.report_failed",
    "the agent cannot be reached": "agent.unreachable",
    "the agent is lost": "agent.lost",
    "the agent shows no sign of life": "agent.silent",
    "the controller is gone": "agent.controller_gone",
    "the controller shows no sign of life": "agent.controller_silent",
    "unhandled error for a controller": "agent.error",
    "unhandled error in the agent's loop": "agent.loop_error",
    # outputs and uploads
    "an output has replaced a file": "output.replaced_file",
    "an output was removed before it was renamed": "output.removed_early",
    "cannot rename an output; retrying": "output.rename_failed",
    "cannot remove an old output": "output.remove_failed",
    "output is not written": "output.not_written",
    "what predict() returned cannot be written": "output.write_failed",
    "removed extra files beside the output: %s": "output.extra_removed",
    "removed partial outputs of an earlier server": "output.partial_removed",
    "the output root is too large to search for partial outputs": "output.root_too_large",
    "cannot remove an upload": "upload.remove_failed",
    "uploads removed": "upload.removed",
    # the store
    "job store unavailable; queued writes will be retried": "store.unavailable",
    "job store is available again": "store.available",
    "failed to prepare a write": "store.write_unprepared",
    "failed to record job transition": "store.transition_failed",
    "ignoring illegal job transition": "store.transition_illegal",
    "a write has come too late": "store.write_stale",
    "what follows from a write has failed": "store.follow_up_failed",
    "the end of a job cannot be written as it was": "store.end_changed",
    "an observer of transitions failed": "store.observer_failed",
    "the queue's database cannot be used: %s": "store.database_unusable",
    "the queue's database was gone and has been written anew": "store.database_rewritten",
    "the queue's database was replaced; what it held is kept": "store.database_replaced",
    "the queue's database was replaced, and cannot be kept": "store.database_lost",
    "the queue's write-ahead log is damaged; what it held is lost": "store.wal_damaged",
    # places on disk
    "new jobs would fail": "place.unusable",
    "all required paths are available again": "place.available",
    "cannot recreate a path in the state directory": "place.recreate_failed",
    "the output root was missing; recreated it": "place.output_root_recreated",
    "the temporary folder was missing; recreated it": "place.temporary_recreated",
    "the control socket was missing; recreated it": "place.control_socket_recreated",
    # the web server and the control channel
    "request": "web.request",
    "%s %s failed": "web.request_failed",
    "%s %s: %s": "web.request_refused",
    "cannot start the web server": "web.start_failed",
    "web server exited; restarting": "web.exited",
    "the web server shows no sign of life; killing it": "web.silent",
    "a web worker shows no sign of life; killing it": "web.worker_silent",
    "control channel: already closed": "control.closed",
    "control channel: cannot connect: %s": "control.connect_failed",
    "control channel: cannot send: %s": "control.send_failed",
    "control channel: connection lost: %s": "control.lost",
    "control channel: invalid message; reconnecting": "control.invalid",
    "invalid message on control connection; closing": "control.invalid_from_web",
    # the server
    "new state directory": "server.new_state_directory",
    "serving": "server.serving",
    "draining: running jobs may finish": "server.draining",
    "second signal: stopping immediately": "server.second_signal",
    "stopped": "server.stopped",
    "the server ends": "server.ends",
    "the program that started the server is gone": "server.owner_gone",
    "process was paused": "server.paused",
    "unhandled error in main loop": "server.loop_error",
    "unhandled error in housekeeping": "server.housekeeping_error",
    "uncaught exception": "server.uncaught",
    "uncaught exception in a thread": "server.uncaught_in_thread",
    "log lines were lost": "log.lines_lost",
    "output": "log.stray_output",
}


def add_key(_logger: Any, _method: str, event: Any) -> Any:
    """A structlog processor: the event's `key`, if it has one."""
    record = event.get("_record")  # of the standard library's loggers, whose event has its arguments filled in
    text = record.msg if record is not None and isinstance(record.msg, str) else event.get("event")
    if isinstance(text, str) and (key := KEYS.get(text)) is not None:
        event["key"] = key
    return event
