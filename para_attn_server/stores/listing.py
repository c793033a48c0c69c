"""The statement that lists jobs, newest first: one for each combination of filters, compiled once.

Each reads an index in its order and stops after a page. The arguments of jobs are never read.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, literal_column, select, tuple_

from para_attn_server.core.job import ANONYMOUS
from para_attn_server.stores.base import JobFilter, Place
from para_attn_server.stores.statements import JOB_COLUMNS, OUTPUT_COLUMNS
from para_attn_server.stores.tables import jobs, outputs

_TERMS: dict[str, ColumnElement[Any]] = {
    "status": jobs.c.status == bindparam("status"),
    "model": jobs.c.model == bindparam("model"),
    "owner": jobs.c.owner == bindparam("owner"),
    "created_after": jobs.c.created_at > bindparam("created_after"),
    "created_before": jobs.c.created_at < bindparam("created_before"),
    "behind": tuple_(jobs.c.created_at, jobs.c.seq) < tuple_(bindparam("behind_at"), bindparam("behind_seq")),
    # What the partial indexes hold, in the words that their definitions use.
    "ended": jobs.c.finished_at.is_not(None),
    "named": jobs.c.owner != literal_column(f"'{ANONYMOUS}'"),
}


def page(wanted: JobFilter, limit: int, behind: Place | None) -> tuple[Select[Any], dict[str, Any]]:
    """The statement for that page, and its parameters."""
    values = {name: value for name, value in _filters(wanted).items() if value is not None}
    terms = set(values)
    if wanted.status is not None and wanted.status.terminal:
        terms.add("ended")
    if wanted.owner is not None and wanted.owner != ANONYMOUS:
        terms.add("named")
    if behind is not None:
        terms.add("behind")
        values |= {"behind_at": behind[0], "behind_seq": behind[1]}
    return _statement(frozenset(terms)), {**values, "most": limit}


def _filters(wanted: JobFilter) -> dict[str, Any]:
    """The filters by name, as a database takes them."""
    found = {name: getattr(wanted, name) for name in JobFilter.__slots__}
    return {**found, "status": None if wanted.status is None else wanted.status.value}


@cache
def _statement(terms: frozenset[str]) -> Select[Any]:
    newest = (jobs.c.created_at.desc(), jobs.c.seq.desc())
    chosen = (
        select(jobs.c.seq)
        .where(*(_TERMS[name] for name in sorted(terms)))
        .order_by(*newest)
        .limit(bindparam("most"))
        .subquery()
    )
    return (
        select(*JOB_COLUMNS, *OUTPUT_COLUMNS)
        .select_from(chosen.join(jobs, jobs.c.seq == chosen.c.seq).outerjoin(outputs))
        .order_by(*newest, outputs.c.output_index)
    )
