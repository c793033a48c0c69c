"""Checks of the model: whether its predictor can be imported, and whether its files can be had."""

from __future__ import annotations

from typing import Any

from para_attn_server.cli.checks.check import Check, ok, problem, size_text
from para_attn_server.cli.child import ask
from para_attn_server.core.models import ModelSettings, models_of
from para_attn_server.core.settings import Settings

_NAMES = "give --model module.path:Class, path/to/file.py:Class or a name"


def model_checks(settings: Settings) -> list[Check]:
    """Nothing where no model is given; the hub is asked only where the model is a repository of it."""
    return [check for model in models_of(settings) for check in _checks_of(model)]


def _checks_of(model: ModelSettings) -> list[Check]:
    described = ask("para_attn_server.rank.describe", model.model)[0]
    if "error" in described:
        return [problem("model", described["error"], _NAMES)]
    checks = [ok("model", described["class"])]
    path = model.model_path or described["model_path"]
    return checks if path is None else [*checks, *hub_checks(path, ask("para_attn_server.rank.hub", path))]


def hub_checks(model_path: str, facts: dict[str, Any]) -> list[Check]:
    """facts: the answer of `para_attn_server.rank.hub`."""
    if not facts["repo"]:
        return [ok("model files", model_path)]
    token = "set" if facts["token"] else "not set"
    checks = [ok("model hub", f"{facts['endpoint']}, HF_TOKEN {token}"), _cache(facts)]
    if "problem" in facts:
        return [*checks, problem("model files", facts["problem"], facts["advice"])]
    found = "in the hub cache" if facts["cached"] else "will be downloaded from the model hub"
    return [*checks, ok("model files", f"{model_path}, {found}")]


def _cache(facts: dict[str, Any]) -> Check:
    room = "" if facts["free"] is None else f", {size_text(facts['free'])} free"
    return ok("hub cache", f"{facts['cache']}{room}")
