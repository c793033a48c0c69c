"""What is known of the model: the request schema that the ranks reported, read from the store."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from para_attn_server.core.arguments.inputs import input_kinds
from para_attn_server.core.arguments.request import RequestValidator
from para_attn_server.core.arguments.shape import Shaper
from para_attn_server.stores.base import SCHEMA_DOCUMENT, JobStore

_FRESH = 1.0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """schema: JSON Schema of a request body, with its compiled check; output_suffix: of outputs the server names.

    name: as clients may see it, without the folders of this machine. shaper: gives the shapes of requests.
    inputs: the arguments that are pictures, videos or sounds, each with its kind.
    """

    schema: dict[str, Any]
    validator: RequestValidator
    output_suffix: str
    name: str
    shaper: Shaper
    inputs: dict[str, str]


class ModelInfoReader:
    """Reads what the model has reported, at most once a second when there is something."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._info: ModelInfo | None = None
        self._read_at = -_FRESH

    def current(self) -> ModelInfo | None:
        """The latest report, None before the first."""
        if self._info is None or time.monotonic() - self._read_at >= _FRESH:
            self._info = self._read()
            self._read_at = time.monotonic()
        return self._info

    def _read(self) -> ModelInfo | None:
        document = self._store.document(SCHEMA_DOCUMENT)
        if document is None or document["schema"] is None:
            return None
        schema = document["schema"]
        name = document["model"].rpartition("/")[2].replace(".py:", ":")
        if self._info is not None and (self._info.schema, self._info.name) == (schema, name):
            return self._info
        suffix = document["output_suffix"]
        return ModelInfo(schema, RequestValidator(schema), suffix, name, Shaper(schema), input_kinds(schema))
