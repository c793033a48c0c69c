"""The code in docs/predictors.md is the code of the examples, makes valid schemas and runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import predictor as example
import pytest
from ranks import world_of_one

from para_attn_server.core.arguments.model import arguments_model
from para_attn_server.core.arguments.schema import request_schema
from para_attn_server.core.predictor import Predictor

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = re.findall(r"```python\n(.*?)```", (DOCS / "predictors.md").read_text(encoding="utf-8"), re.DOTALL)


def predictors(block: str) -> list[type[Predictor]]:
    """The predictor classes that a block defines."""
    names: dict[str, Any] = {"__name__": "documented"}
    exec(compile(block, "docs/predictors.md", "exec"), names)
    return [value for value in names.values() if isinstance(value, type) and value.__module__ == "documented"]


def test_the_first_block_is_the_example() -> None:
    text = Path(str(example.__file__)).read_text(encoding="utf-8")
    assert text.endswith(BLOCKS[0]) and BLOCKS[0].startswith("from typing")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.findall(r"class (\w+)\(Predictor", block)[0])
def test_every_block_makes_a_schema(block: str) -> None:
    served = [found for found in predictors(block) if issubclass(found, Predictor)]
    assert served
    for found in served:
        schema = request_schema(arguments_model(found().predict))
        assert schema["additionalProperties"] is False


def test_a_predictor_without_a_pipeline_runs(tmp_path: Path) -> None:
    (block,) = (block for block in BLOCKS if "AveragePredictor" in block)
    (found,) = predictors(block)
    averages: Any = found()
    with world_of_one():
        averages.setup()
        averages.predict(str(tmp_path / "average.txt"), seed=3, rounds=200)
    assert 0.4 < float((tmp_path / "average.txt").read_text()) < 0.6


def test_links_lead_somewhere() -> None:
    for page in ("predictors.md", "parallel.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (DOCS / page).read_text(encoding="utf-8")):
            assert (DOCS / target).exists(), f"{page}: {target}"
