"""The model's contract with its callers: the request schema that the ranks reported, read from the store."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from para_attn_server.core.arguments.request import RequestValidator
from para_attn_server.stores.base import SCHEMA_DOCUMENT, JobStore

_FRESH = 1.0


@dataclass(frozen=True, slots=True)
class Contract:
    """schema: JSON Schema of a request body, with its compiled check; output_suffix: of outputs the server names."""

    schema: dict[str, Any]
    validator: RequestValidator
    output_suffix: str


class ModelInfoReader:
    """Reads the contract, at most once a second when there is one."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._contract: Contract | None = None
        self._read_at = -_FRESH

    def current(self) -> Contract | None:
        """The contract, None until the model has reported it."""
        if self._contract is None or time.monotonic() - self._read_at >= _FRESH:
            self._contract = self._read()
            self._read_at = time.monotonic()
        return self._contract

    def _read(self) -> Contract | None:
        document = self._store.document(SCHEMA_DOCUMENT)
        if document is None or document["schema"] is None:
            return None
        schema = document["schema"]
        if self._contract is not None and self._contract.schema == schema:
            return self._contract
        return Contract(schema, RequestValidator(schema), document["output_suffix"])
