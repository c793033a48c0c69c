"""`predictors` lists what is installed and what a user's own file holds."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from para_attn_server.cli.main import command_line
from para_attn_server.cli.predictors import parameter_rows
from para_attn_server.core.errors import UsageError

MINE = '''
import enum
from typing import Annotated, Literal
from pydantic import Field
from para_attn_server import Predictor

print("an import that talks")

class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"

class Mine:
    """Draws [nothing].

    More.
    """
    def __init__(self, needed, dtype: Literal["float16", "auto"] = "auto", model_path: str = "x"):
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

class Silent(Predictor):
    def predict(self, a_name_of_an_argument_that_is_very_long_but_is_told_whole: str, *, output_path: str):
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


def predictors(*arguments: str, columns: int = 200) -> Result:
    return CliRunner().invoke(command_line, ["predictors", *arguments], env={"COLUMNS": str(columns)})


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
    assert lines["needed"] == "needed Any required"
    assert lines["dtype"] == "dtype Literal['float16', 'auto'] auto"
    assert "model_path" not in lines, "which has an option of its own"
    assert lines["prompt"] == "prompt string required"
    assert lines["steps"] == "steps integer 20 >= 1, <= 50, multiple of 5 How long."
    assert lines["mode"] == 'mode "x" | "y" "x"'
    assert lines["size"] == 'size "small" | "large" "small"'
    assert lines["seed"] == "seed integer | null Drawn at random when left out."


def test_what_cannot_be_used_is_told_beside_what_can(mine: Path) -> None:
    result = predictors(f"{mine}:NoPath", f"{mine}:Mine", "nosuchname")
    assert result.exit_code == 1
    assert isinstance(result.exception, UsageError)
    assert "output_path" in result.output
    assert str(result.exception).startswith("--model: no predictor is named 'nosuchname'; known names: demo, flux")
    assert "mine:Mine" in result.output


@pytest.mark.parametrize("columns", [10, pytest.param(80, marks=pytest.mark.slow)])
def test_names_are_whole_however_narrow_the_terminal(mine: Path, columns: int) -> None:
    result = predictors("demo", f"{mine}:Silent", columns=columns)
    assert "num_inference_steps " in result.output
    assert "a_name_of_an_argument_that_is_very_long_but_is_told_whole " in result.output
    assert "…" not in result.output


def test_a_predictor_that_says_nothing_of_itself_gets_no_words_of_its_base_class(mine: Path) -> None:
    result = predictors(f"{mine}:Silent")
    assert "Base class" not in result.output
    lines = result.output.splitlines()
    assert lines[0].endswith(":Silent")
    assert lines[1].startswith("parameter"), "and no empty line in its place"
    assert json.loads(predictors(f"{mine}:Silent", "--json").output)[0]["doc"] == ""


def test_a_name_that_leads_nowhere_is_a_usage_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "para_attn_server", "predictors", "nope"], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("para-attn-server: --model: no predictor is named 'nope'; known names: demo, flux")


def test_bounds_of_an_optional_argument_are_shown() -> None:
    schema = {"properties": {"n": {"anyOf": [{"type": "integer", "minimum": 2}, {"type": "null"}], "default": None}}}
    assert parameter_rows(schema) == [("n", "integer | null", "null", ">= 2", "")]


def test_a_file_that_ends_the_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import sys\nsys.exit(0)\n")
    result = predictors(f"{tmp_path / 'script.py'}:Mine", columns=1000)
    assert result.exit_code == 1
    assert "script.py" in result.output and "ends the program when it is imported (SystemExit: 0)" in result.output
