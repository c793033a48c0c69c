"""On whose behalf the service is called. Nobody has to say who they are yet: every request has the one caller below.

How a dialect finds out who calls is not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from para_attn_server.core.job import ANONYMOUS


class Scope(StrEnum):
    """What a caller may do beside submitting jobs and doing what they like with their own."""

    EVERY_JOB = "every-job"
    """See, cancel and delete jobs of other owners."""


@dataclass(frozen=True, slots=True)
class Caller:
    """owner: of the jobs that they submit, and of their idempotency keys. scopes: what else they may."""

    owner: str
    scopes: frozenset[Scope] = frozenset()

    @property
    def sees_every_job(self) -> bool:
        """Whether the jobs of other owners are there for them."""
        return Scope.EVERY_JOB in self.scopes

    def sees(self, owner: str) -> bool:
        """Whether a job of that owner is there for them."""
        return self.sees_every_job or owner == self.owner


ANONYMOUS_CALLER = Caller(ANONYMOUS, frozenset(Scope))
"""Everybody, as long as nobody has to say who they are: they may do everything."""
