"""`predictors` lists what is installed and what a user's own file holds."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from para_attn_server.cli.main import command_line
from para_attn_server.cli.predictors import parameter_rows

MINE = '''
import enum
from typing import Annotated, Literal
from pydantic import Field

print("an import that talks")

class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"

class Mine:
    """Draws [nothing].

    More.
    """
    def __init__(self, needed):
        raise RuntimeError("no constructor runs")

    def predict(
        self,
        prompt: str,
        steps: Annotated[int, Field(ge=1, le=50, multiple_of=5, description="How long.")] = 20,
        mode: Literal["x", "y"] = "x",
        size: Size = Size.SMALL,
        seed: int | None = None,
        *,
        output_path: str,
    ):
        pass

class NoPath:
    def predict(self, prompt: str):
        pass
'''


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def predictors(*arguments: str) -> Result:
    return CliRunner().invoke(command_line, ["predictors", *arguments], env={"COLUMNS": "200"})


def test_every_installed_short_name_is_listed_with_its_parameters() -> None:
    result = predictors("--json")
    assert result.exit_code == 0, result.output
    described = {one["name"]: one for one in json.loads(result.output)}
    assert set(described) == entry_points(group="para_attn_server.predictors").names
    for one in described.values():
        assert one["doc"]
        assert "prompt" in one["schema"]["properties"]


def test_a_file_of_ones_own_is_shown_as_a_table(mine: Path) -> None:
    result = predictors(f"{mine}:Mine")
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: " ".join(line.split()) for line in result.output.splitlines() if line.strip()}
    assert "Draws [nothing]." in result.output
    assert lines["prompt"] == "prompt string required"
    assert lines["steps"] == "steps integer 20 >= 1, <= 50, multiple of 5 How long."
    assert lines["mode"] == 'mode "x" | "y" "x"'
    assert lines["size"] == 'size "small" | "large" "small"'
    assert lines["seed"] == "seed integer | null Drawn at random when left out."


def test_what_cannot_be_used_is_told_beside_what_can(mine: Path) -> None:
    result = predictors(f"{mine}:NoPath", f"{mine}:Mine", "nosuchname")
    assert result.exit_code == 1
    assert "output_path" in result.output
    assert "no predictor is named 'nosuchname'" in result.output
    assert "mine:Mine" in result.output


def test_bounds_of_an_optional_argument_are_shown() -> None:
    schema = {"properties": {"n": {"anyOf": [{"type": "integer", "minimum": 2}, {"type": "null"}], "default": None}}}
    assert parameter_rows(schema) == [("n", "integer | null", "null", ">= 2", "")]
