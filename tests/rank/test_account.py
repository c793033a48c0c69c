"""What a rank notes of a run: values, seconds, memory."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from para_attn_server.rank import account as module
from para_attn_server.rank.account import RunAccount, note_plan

MIB = 2**20


@pytest.fixture(autouse=True)
def no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other tests have spread in this process."""
    monkeypatch.setattr(module, "_plan", {})


def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets what time it is."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: now.seconds)
    return lambda seconds: setattr(now, "seconds", 100.0 + seconds)


def test_the_first_step_counts_as_long_as_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    at, account = clock(monkeypatch), RunAccount()
    account.begin()
    for seconds in (5.0, 6.0, 7.0, 8.0):
        at(seconds)
        account.stepped()
    at(30.0)
    assert account.timings() == {"prepare": 4.0, "denoise": 4.0}


def test_a_first_step_that_came_at_once_leaves_no_time_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    at, account = clock(monkeypatch), RunAccount()
    account.begin()
    for seconds in (0.5, 2.5):
        at(seconds)
        account.stepped()
    assert account.timings() == {"prepare": 0.0, "denoise": 2.5}


def test_of_a_single_step_nothing_is_known() -> None:
    account = RunAccount()
    account.begin()
    assert account.timings() == {}
    account.stepped()
    assert account.timings() == {}


def test_what_the_rank_knows_comes_first_and_what_is_reported_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_plan", {})
    account = RunAccount()
    arguments = {"seed": 3, "width": 100, "height": None, "prompt": "secret", "image": b"x"}
    pipe = SimpleNamespace(transformer=torch.nn.Linear(1, 1).to(torch.bfloat16).weight, dtype=torch.float32)
    account.report({"width": 96, "cache": "first block"})
    account.report({"cache": None})
    known = {"seed": 3, "width": 96, "steps": 4, "ranks": 2, "dtype": "bfloat16", "cache": None}
    assert account.applied(arguments, 4, 2, pipe) == known
    note_plan(ulysses=2)
    assert RunAccount().applied({}, 0, 2, None) == {"ranks": 2, "plan": {"ulysses": 2}}


class Careless:
    """A pipeline whose type of numbers cannot be had."""

    @property
    def dtype(self) -> torch.dtype:
        raise StopIteration


def test_a_pipeline_that_does_not_say_its_numbers_is_no_failure() -> None:
    assert RunAccount().applied({}, 0, 1, Careless()) == {"ranks": 1}


def test_what_is_reported_is_a_copy_in_json_and_bounded() -> None:
    account, values = RunAccount(), {"sizes": [1, 2]}
    account.report(values)
    values["sizes"].append(3)
    for wrong in (object(), float("nan"), "x" * 4096):
        with pytest.raises((TypeError, ValueError)):
            account.report({"a": wrong})
    assert account.applied({}, 0, 1, None) == {"ranks": 1, "sizes": [1, 2]}


def test_the_peak_of_a_run_is_its_own() -> None:
    peaks = []
    for size in (200 * MIB, 1):
        account = RunAccount()
        account.begin()
        memory = bytearray(size)
        peaks.append(account.peak_memory())
        del memory
    large, small = peaks
    assert large is not None and small is not None and large - small > 150 * MIB
