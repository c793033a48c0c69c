"""What the web knows of the served models, by the store: their names, and the request schemas that the ranks reported.

It outlives a restart, so that jobs are accepted while a model is still being loaded; it does not outlive a change of
the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from para_attn_server.core.errors import StateDirError
from para_attn_server.core.job import Job, JobStatus
from para_attn_server.core.wire.ranks import Ready
from para_attn_server.stores.base import MODELS_DOCUMENT, JobFilter, JobStore

log = structlog.get_logger()
FORMER_DOCUMENT = "schema"
"""The document of servers that had one model."""
_MOST_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class Identity:
    """name: the short one. words: which model it is. version: changes with its code, as far as that can be seen."""

    name: str
    words: str
    version: str

    @property
    def label(self) -> str:
        """What servers with one model called it in its jobs."""
        return _label(self.words)


class ModelInfoWriter:
    """Keeps the `models` document of a store: an entry of each served model in their order, the default one first.

    Behind them are entries of models that are not served any more and have unfinished jobs: these stay queued, and none
    is ever run by another model of the same name.
    """

    def __init__(self, models: Sequence[Identity]) -> None:
        self.models = models
        self._called: Mapping[str | None, str] = {
            None: models[0].name,
            **{model.label: model.name for model in reversed(models)},
            **{model.name: model.name for model in models},
        }

    def name_of(self, job: Job) -> str:
        """The short name of the job's model, which may not be served."""
        return self._called.get(job.model) or str(job.model)

    def serves(self, name: str) -> bool:
        """Whether this server has the model of that name."""
        return self._called.get(name) == name

    def claim(self, store: JobStore) -> None:
        """Take the store over for these models; a schema of another model or version is forgotten.

        Raises StateDirError while jobs wait there of another model of the same name: this one would refuse them or
        misdraw them.
        """
        known = {entry["name"]: entry for entry in self._entries(store)}
        for model in self.models:
            before = known.get(model.name)
            if before is not None and before["words"] != model.words:
                self._check_unfinished(store, before["words"], model.name)
        former = []
        for name, entry in known.items():
            if not self.serves(name) and (count := _unfinished(store, name)):
                log.warning("jobs wait for a model that this server does not have", model=name, jobs=count)
                former.append({**entry, "served": False})
        self._put(store, [_entry(model, known.get(model.name)) for model in self.models] + former)

    def reported(self, store: JobStore, name: str, ready: Ready) -> None:
        """The ranks of that model are set up and have reported the arguments of predict."""
        entries = self._entries(store)
        entry = next(each for each in entries if each["name"] == name)
        known = {"schema": ready.schema, "output_suffix": ready.output_suffix}
        if {key: entry[key] for key in known} != known:
            if entry["schema"] is not None:  # a rank was started anew, with the code that is there now
                log.warning("the model's arguments have changed since it was loaded; they are followed", model=name)
            entry.update(known)
            self._put(store, entries)

    def _entries(self, store: JobStore) -> list[dict[str, Any]]:
        document = store.document(MODELS_DOCUMENT)
        return self._taken_over(store) if document is None else document["models"]

    def _taken_over(self, store: JobStore) -> list[dict[str, Any]]:
        """The entry that the document of a server with one model stands for."""
        former = store.document(FORMER_DOCUMENT)
        if former is None:
            return []
        words, known = former["model"], {key: former[key] for key in ("version", "schema", "output_suffix")}
        for model in self.models:
            if model.words == words:
                return [{"name": model.name, "label": model.label, "words": words, "served": True, **known}]
        self._check_unfinished(store, words, None)
        return []

    @staticmethod
    def _check_unfinished(store: JobStore, words: str, name: str | None) -> None:
        if count := _unfinished(store, name):
            raise StateDirError(
                f"the state directory holds {count} unfinished job(s) of another model ({words}); start that model to "
                "finish them, or choose another --state-dir"
            )

    @staticmethod
    def _put(store: JobStore, entries: list[dict[str, Any]]) -> None:
        store.put_document(MODELS_DOCUMENT, {"models": entries})


def _entry(model: Identity, before: Mapping[str, Any] | None) -> dict[str, Any]:
    same = before is not None and (before["words"], before["version"]) == (model.words, model.version)
    known = before if same and before is not None else {"schema": None, "output_suffix": ""}
    return {
        "name": model.name,
        "label": model.label,
        "words": model.words,
        "version": model.version,
        "served": True,
        "schema": known["schema"],
        "output_suffix": known["output_suffix"],
    }


def _unfinished(store: JobStore, name: str | None) -> int:
    """How many jobs of a model have not ended, of all models without a name; not all of very many are counted."""
    found = (store.listed(JobFilter(status, name), _MOST_COUNTED) for status in (JobStatus.QUEUED, JobStatus.RUNNING))
    return sum(map(len, found))


def _label(words: str) -> str:
    return words.rpartition("/")[2].replace(".py:", ":")
