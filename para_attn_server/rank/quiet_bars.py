"""Switches diffusers' progress bars off, which ask for themselves whether to be shown and not TQDM_DISABLE."""

from __future__ import annotations

import os
import sys
from typing import Any


def quiet_bars() -> None:
    """Show no bar of a pipeline that is not told otherwise by `set_progress_bar_config`, if TQDM_DISABLE says so.

    Does nothing where diffusers is not imported yet.
    """
    pipelines: Any = sys.modules.get("diffusers.pipelines.pipeline_utils")
    if pipelines is not None and os.environ.get("TQDM_DISABLE", "0") not in ("", "0"):
        pipelines.DiffusionPipeline._progress_bar_config = {"disable": True}  # an instance's own comes first
