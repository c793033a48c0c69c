"""Rings of live events stay within their bounds, and lose previews first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from para_attn_server.core.live_ring import MOST_BYTES, MOST_BYTES_TOGETHER, MOST_EVENTS, Entry, Ring, Rings

SIZES = st.tuples(st.integers(0, MOST_BYTES // 3), st.booleans())


def numbers(ring: Ring[int], after: int = 0) -> list[int]:
    return [entry.number for entry in ring.after(after)]


def filled(entries: list[tuple[int, bool]]) -> Ring[int]:
    ring: Ring[int] = Ring(1)
    for number, (size, binary) in enumerate(entries, start=1):
        ring.add(Entry(number, number, size, binary))
    return ring


@given(st.lists(SIZES, max_size=40))
def test_a_ring_holds_the_latest_in_order_and_no_more_than_it_may(entries: list[tuple[int, bool]]) -> None:
    ring = filled(entries)
    kept = numbers(ring)
    assert kept == sorted(kept) and kept[-1:] == ([len(entries)] if entries else [])
    assert ring.size == sum(entries[number - 1][0] for number in kept) <= MOST_BYTES
    assert ring.last == len(entries)
    assert numbers(ring, 3) == [number for number in kept if number > 3]


def test_so_many_events_and_the_oldest_go_first() -> None:
    ring = filled([(1, False)] * (MOST_EVENTS + 3))
    assert numbers(ring) == list(range(4, MOST_EVENTS + 4))


def test_previews_go_before_anything_else() -> None:
    ring = filled([(1, False), (1, True), (1, False), (1, True)] + [(1, False)] * (MOST_EVENTS - 2))
    assert numbers(ring)[:3] == [1, 3, 5]


@given(st.lists(st.tuples(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), SIZES), max_size=200))
def test_all_rings_together_are_bounded_too(entries: list[tuple[str, tuple[int, bool]]]) -> None:
    rings: Rings[int] = Rings()
    for number, (job_id, (size, binary)) in enumerate(entries, start=1):
        if rings.get(job_id) is None:
            rings.begin(job_id, 1)
        rings.add(job_id, Entry(number, number, size, binary))
        known = [ring for name in set("abcdefghijklmnopqrstuvwxyz") if (ring := rings.get(name)) is not None]
        assert sum(ring.size for ring in known) == rings._size <= MOST_BYTES_TOGETHER
    for name in "abcdefghijklmnopqrstuvwxyz":
        rings.end(name)
    assert rings._size == 0
