"""para_attn called as its README has it, on two real ranks: the result is that of one process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pipelines import save_tiny_flux
from ranks import run_ranks

PROGRAM = Path(__file__).with_name("para_attn_on_ranks.py")
PLANS = ("ulysses", "ring", "batch")
EXACT = ["vae decode", "vae encode", "vae in a mesh decode", "vae in a mesh encode"]
EXACT += ["wan vae decode", "wan vae decode, a tuple", "wan vae encode", "flux with a cache elsewhere"]
EXACT += ["flux without a generator, ranks apart", *(f"flux {plan}, one rank alone" for plan in PLANS)]
CLOSE = [f"{family} {plan}" for family in ("flux", "hunyuan", "wan", "wan expand_timesteps") for plan in PLANS]
CLOSE += ["flux with a cache that never hits", "hunyuan cached", "wan cached", "wan expand_timesteps cached"]
OTHER = ["flux with a cache that always hits", "flux with a cache that now hits"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The relative differences that both ranks found."""
    answers = run_ranks(2, PROGRAM, save_tiny_flux(tmp_path_factory.mktemp("weights")))
    first, second = (json.loads(answer) for answer in answers)
    assert first == second
    assert sorted(first) == sorted(EXACT + CLOSE + OTHER)
    return first  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", CLOSE)
def test_as_one_process_up_to_rounding(found: dict[str, float], name: str) -> None:
    assert found[name] < 1e-5


@pytest.mark.parametrize("name", EXACT)
def test_as_one_process_bit_for_bit(found: dict[str, float], name: str) -> None:
    assert found[name] == 0.0


@pytest.mark.parametrize("name", OTHER)
def test_each_pipeline_has_a_cache_of_its_own_threshold(found: dict[str, float], name: str) -> None:
    assert found[name] > 1e-4
