"""Progress bars of diffusers' pipelines are off in the ranks, unless somebody asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from diffusers import DiffusionPipeline

from para_attn_server.rank.quiet_bars import quiet_bars

_SETTING = "_progress_bar_config"


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    if _SETTING in vars(DiffusionPipeline):
        delattr(DiffusionPipeline, _SETTING)


@pytest.mark.parametrize(("variable", "off"), [("1", True), ("0", False), (None, False)])
def test_a_bar_is_off_where_tqdm_is(variable: str | None, off: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    if variable is not None:
        monkeypatch.setenv("TQDM_DISABLE", variable)
    quiet_bars()
    pipe = object.__new__(DiffusionPipeline)
    with pipe.progress_bar(total=3) as bar:
        assert bar.disable is off


def test_what_a_predictor_sets_on_its_pipe_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    quiet_bars()
    pipe = object.__new__(DiffusionPipeline)
    pipe.set_progress_bar_config(disable=False)
    with pipe.progress_bar(total=3) as bar:
        assert not bar.disable
