"""A model's name that leads nowhere is refused before anything starts, wherever it was given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from para_attn_server import ParaAttentionServer
from para_attn_server.core.errors import ExitCode, UsageError
from para_attn_server.core.lookup import check_model
from para_attn_server.core.settings import ENV_PREFIX, load_settings

WRONG = [
    ("nope", None, "--model: no predictor is named 'nope'; known names: demo, flux"),
    ("FLUX1", None, "--model: no predictor is named 'FLUX1'; did you mean flux? known names: demo, flux"),
    ("./no.py:Foo", None, "--model: there is no file "),
    ("~nobody-by-this-name/no.py:Foo", None, "--model: there is no file "),
    ("./preds:P", None, "--model: ./preds is a path, but not of a .py file; did you mean ./preds.py:P?"),
    ("a/preds", None, "did you mean a/preds.py:Class?"),
    (__file__, None, f"--model: {__file__} has no :Class at its end; write {__file__}:Class"),
    (f"{__file__}:", None, f"has no :Class at its end; write {__file__}:Class"),
    ("no.py", None, "--model: there is no file "),
    ("a.module:", None, "--model: a.module: has no class after the colon; write a.module:Class"),
    (".preds:P", None, "--model: '.preds' is not a module's name; write module.path:Class or"),
    (":P", None, "--model: '' is not a module's name"),
    ("flux", "~nobody-by-this-name/x", "--model-path: there is no "),
    ("flux", "/nonexistent", "--model-path: there is no /nonexistent"),
    ("flux", "./nonexistent", "--model-path: there is no "),
    ("flux", "~/nonexistent", "--model-path: there is no "),
]


@pytest.mark.parametrize(("model", "model_path", "words"), WRONG)
def test_a_name_that_leads_nowhere_is_refused_by_the_python_api(model: str, model_path: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        ParaAttentionServer(model, model_path=model_path)
    assert words in str(caught.value)


@pytest.mark.parametrize("module", ["para_attn_server", "para_attn_server.controller"])
@pytest.mark.parametrize(("model", "model_path", "words"), [WRONG[1], WRONG[4], WRONG[-1]])
def test_command_and_daemon_refuse_it_in_one_line_before_they_serve(
    module: str, model: str, model_path: str | None, words: str, tmp_path: Path
) -> None:
    given = {f"{ENV_PREFIX}MODEL": model, f"{ENV_PREFIX}MODEL_PATH": model_path or "some/repo"}
    code = [sys.executable, "-m", module, *(["serve"] if module == "para_attn_server" else [])]
    done = subprocess.run(code, capture_output=True, text=True, cwd=tmp_path, env=os.environ | given, timeout=60)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.startswith(f"para-attn-server: {words}")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


def test_what_may_be_there_is_left_to_the_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_model("demo", str(tmp_path))
    check_model("flux", "black-forest-labs/FLUX.1-dev")
    check_model("a.module:Class")
    check_model(f"{__file__}:Class")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "weights").mkdir()
    settings = load_settings(model_path="~/weights")
    assert settings.model_path == str(tmp_path / "weights")
    check_model("flux", settings.model_path)
