"""What is known of the models: their names, and the request schemas that the ranks reported, read from the store."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from para_attn_server.core.arguments.inputs import input_kinds
from para_attn_server.core.arguments.request import RequestValidator
from para_attn_server.core.arguments.shape import Shaper
from para_attn_server.core.job import Job
from para_attn_server.stores.base import MODELS_DOCUMENT, JobStore

_FRESH = 1.0


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """schema: JSON Schema of a request body, with its compiled check; output_suffix: of outputs the server names.

    name: the short one. shaper: gives the shapes of requests. inputs: the arguments that are pictures, videos or
    sounds, each with its kind.
    """

    schema: dict[str, Any]
    validator: RequestValidator
    output_suffix: str
    name: str
    shaper: Shaper
    inputs: dict[str, str]


class ModelInfoReader:
    """Reads what the models have reported, at most once a second when there is something."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._known: dict[str, ModelInfo | None] = {}
        self._called: dict[str | None, str] = {}
        self._read_at = -_FRESH

    def current(self) -> dict[str, ModelInfo | None]:
        """The models that are served, the default one first; None for one whose arguments are not known yet."""
        if not self._known or None in self._known.values():
            self._read()
        return self.lately()

    def lately(self) -> dict[str, ModelInfo | None]:
        """The same as it was in the last second."""
        if time.monotonic() - self._read_at >= _FRESH:
            self._read()
        return self._known

    def name_of(self, job: Job) -> str | None:
        """The short name of a job's model, which may not be served; as known lately."""
        return self._called.get(job.model, job.model)

    def _read(self) -> None:
        document, self._read_at = self._store.document(MODELS_DOCUMENT) or {"models": []}, time.monotonic()
        served = [entry for entry in document["models"] if entry["served"]]
        self._known = {entry["name"]: self._info(entry) for entry in served}
        called = {entry[key]: entry["name"] for key in ("label", "name") for entry in reversed(served)}
        self._called = {None: served[0]["name"], **called} if served else {}

    def _info(self, entry: Mapping[str, Any]) -> ModelInfo | None:
        name, schema = entry["name"], entry["schema"]
        if schema is None:
            return None
        before = self._known.get(name)
        if before is not None and before.schema == schema:
            return before
        suffix = entry["output_suffix"]
        return ModelInfo(schema, RequestValidator(schema), suffix, name, Shaper(schema), input_kinds(schema))
