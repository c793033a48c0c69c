"""What each owner has had of the groups."""

from __future__ import annotations

from para_attn_server.pool.shares import Shares


def test_differences_between_owners_count() -> None:
    shares = Shares()
    shares.among({"a", "b"})
    shares.add("a", 30.0)
    shares.add("b", 10.0)
    assert shares.among({"a", "b"}) == {"a": 20.0, "b": 0.0}


def test_an_owner_that_comes_begins_at_the_least_of_the_others() -> None:
    shares = Shares()
    shares.among({"a", "b"})
    shares.add("a", 30.0)
    shares.add("b", 10.0)
    assert shares.among({"a", "b", "c"}) == {"a": 20.0, "b": 0.0, "c": 0.0}


def test_nothing_is_saved_up_while_an_owner_has_no_jobs() -> None:
    shares = Shares()
    shares.among({"a", "b"})
    shares.add("a", 30.0)
    shares.among({"a"})
    shares.add("a", 30.0)
    shares.add("b", 5.0)
    assert shares.among({"a", "b"}) == {"a": 0.0, "b": 0.0}
