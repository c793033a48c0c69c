"""Programs of other makers that tests run where they are installed. `.ci/run` installs them."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str) -> str:
    """Where it is. Skips the test on a machine without it: only the CI has to have everything."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not installed; .ci/run installs it")
    if found is None:
        pytest.skip(f"{name} is not installed on this machine")
    return found
