"""A JobService of which some methods are replaced, for tests of what lies above it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import create_autospec

from para_attn_server.service.service import JobService


def service_with(**methods: Callable[..., Any]) -> Any:
    """methods: what is called in their place. One that JobService does not have raises AttributeError."""
    service = create_autospec(JobService, instance=True, spec_set=True)
    for name, method in methods.items():
        getattr(service, name).side_effect = method
    return service
