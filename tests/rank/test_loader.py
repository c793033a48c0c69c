"""From a model's name to its class: each way in, and what is said where it leads nowhere."""

from __future__ import annotations

from pathlib import Path

import cloudpickle
import pytest
from counting import CountingPredictor

from para_attn_server.core.errors import UsageError
from para_attn_server.core.wire.launch import ModelSpec
from para_attn_server.rank.loader import load_class, load_predictor

COUNTING = Path(__file__).parents[1] / "predictors" / "counting.py"


def test_a_file_a_module_and_a_short_name_lead_to_their_classes() -> None:
    assert load_class(f"{COUNTING}:CountingPredictor").__name__ == "CountingPredictor"
    assert load_class("counting:CountingPredictor").__name__ == "CountingPredictor"
    assert load_class("demo").__name__ == "DemoPredictor"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nonsense", "known names: demo, flux"),
        ("no.such.module:Class", "no module"),
        ("/no/such/file.py:Class", "no file"),
        (f"{COUNTING}:Missing", "CountingPredictor"),
        (str(COUNTING).removesuffix(".py") + ":P", r"did you mean .*counting\.py:P"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_is_there(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_class(name)


def test_a_module_that_fails_inside_keeps_its_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "breaks.py").write_text("import a_package_that_is_not_installed\nclass P: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_installed"):
        load_class("breaks:P")


def test_a_pickled_class_and_a_pickled_instance_are_opened() -> None:
    instance = CountingPredictor()
    instance.word = "kept"
    assert load_predictor(ModelSpec("x", pickled=cloudpickle.dumps(instance))).word == "kept"
    assert isinstance(load_predictor(ModelSpec("x", pickled=cloudpickle.dumps(CountingPredictor))), CountingPredictor)


def test_the_model_path_reaches_the_constructor_or_is_refused() -> None:
    assert load_predictor(ModelSpec("demo", model_path="/weights")).model_path == "/weights"
    with pytest.raises(UsageError, match="--model-path: CountingPredictor takes no argument named model_path"):
        load_predictor(ModelSpec("counting:CountingPredictor", model_path="/weights"))
