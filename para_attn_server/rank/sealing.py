"""The finished files of a run as the controller is to record them; the controller gives them their names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from para_attn_server.core import output
from para_attn_server.core.job import Output
from para_attn_server.core.wire.ranks import Run
from para_attn_server.rank.failures import OutputMissing, named
from para_attn_server.rank.outputs import RunOutputs

log = logging.getLogger(__name__)


def sealed(
    run: Run, files: RunOutputs, others: Sequence[str], returned: object, on_block: Callable[[], None]
) -> tuple[Output, ...]:
    """The outputs, that of output_path first. others: files that predict has left beside them, which do not stay.

    returned: what predict has returned besides. on_block: called while a large file is read. Raises OutputMissing, and
    what core.output.seal does.
    """
    further = files.names
    try:
        made = files.seal(on_block)
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).name
        if missing in further:
            raise OutputMissing(others, None, False, missing) from None
        raise OutputMissing(others, returned, output.written_by_others(run.output_path, run.job_id)) from None
    if others:
        log.warning("removed extra files beside the output: %s", named(others))
    return made
