"""para_attn called as its README has it, on two real ranks: the result is that of one process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pipelines import save_tiny_flux
from ranks import run_ranks

PROGRAM = Path(__file__).with_name("para_attn_on_ranks.py")
PLANS = ("ulysses", "ring", "batch")
EXACT = ["vae decode", "vae encode", "vae in a mesh decode", "vae in a mesh encode"]
EXACT += ["flux without a generator, ranks apart", *(f"flux {plan}, one rank alone" for plan in PLANS)]
CLOSE = [f"{family} {plan}" for family in ("flux", "hunyuan", "wan") for plan in PLANS]
CLOSE += ["flux with a cache that never hits", "hunyuan cached", "wan cached"]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The relative differences that both ranks found."""
    answers = run_ranks(2, PROGRAM, save_tiny_flux(tmp_path_factory.mktemp("weights")))
    first, second = (json.loads(answer) for answer in answers)
    assert first == second
    assert sorted(first) == sorted(EXACT + CLOSE)
    return first  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", CLOSE)
def test_as_one_process_up_to_rounding(found: dict[str, float], name: str) -> None:
    assert found[name] < 1e-5


@pytest.mark.parametrize("name", EXACT)
def test_as_one_process_bit_for_bit(found: dict[str, float], name: str) -> None:
    assert found[name] == 0.0


IMPORT_LATER = """
import sys
import para_attn_server.worker.parallel
from para_attn_server.worker import para_attn_compat
para_attn_compat.install()
assert not [name for name in sys.modules if name.startswith("para_attn.")], "nothing is imported for it"
from para_attn.context_parallel.diffusers_adapters import parallelize_pipe
import para_attn.para_attn_interface as interface
assert hasattr(interface.UnifiedAttnMode._call_unified_attn_func, "__wrapped__")
assert hasattr(interface.ulysses_attn_func, "__wrapped__")
import inspect
assert "def ulysses_attn_func" in inspect.getsource(interface), "the loader is as it was for whoever asks it"
"""


def test_whoever_imports_it_gets_it_mended() -> None:
    child = subprocess.run([sys.executable, "-c", IMPORT_LATER], capture_output=True, text=True, timeout=90)
    assert child.returncode == 0, child.stderr
