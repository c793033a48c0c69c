"""When a server whose models cannot be set up gives up, and what it says."""

from __future__ import annotations

from para_attn_server.controller.first_setups import FirstSetups
from para_attn_server.core.errors import ExitCode
from para_attn_server.core.wire.ranks import SetupError
from para_attn_server.pool.backoff import SetupFailure

FAILED = SetupFailure(SetupError(1, "no weights", "Traceback ..."))
WRONG = SetupFailure(SetupError(0, "UsageError: --set dtype: unknown", "", usage=True))


def test_it_is_over_when_every_model_has_failed() -> None:
    setups = FirstSetups(["a", "b"])
    for _ in range(2):
        setups.failed("a", FAILED)
        assert not setups.hopeless and setups.exit_code is ExitCode.OK
    setups.failed("b", WRONG)
    assert setups.hopeless and setups.exit_code is ExitCode.SETUP_FAILED
    reason, traceback = setups.why()
    assert reason == f"model a: {FAILED}; model b: {WRONG}" and traceback == "Traceback ..."


def test_the_only_model_needs_no_name_and_what_is_wrongly_given_is_a_matter_of_usage() -> None:
    setups = FirstSetups(["a"])
    setups.failed("a", WRONG)
    assert setups.exit_code is ExitCode.USAGE
    assert setups.why() == (str(WRONG), "")
