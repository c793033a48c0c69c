"""Checks of what is installed: packages, and whether the heavy ones import (asked of a child process)."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from para_attn_server.cli.checks.check import Check, ok, problem, warning
from para_attn_server.cli.child import ask
from para_attn_server.core import install
from para_attn_server.core.settings import Settings

_NEEDED = ("torch", "diffusers", "transformers", "gunicorn", "gevent")


def software_checks(facts: dict[str, Any]) -> list[Check]:
    """facts: the answer of `para_attn_server.worker.probe`."""
    return [_package(name, facts.get(name, {})) for name in _NEEDED] + [_para_attn(facts["para_attn"])]


def model_checks(settings: Settings) -> list[Check]:
    """Whether the predictor of --model can be imported; nothing where none is given."""
    if not settings.model:
        return []
    described = ask("para_attn_server.worker.describe", settings.model)[0]
    if "error" in described:
        return [problem("model", described["error"], "give --model module.path:Class, path/to/file.py:Class or a name")]
    return [ok("model", described["class"])]


def _package(name: str, facts: dict[str, Any]) -> Check:
    installed = _version(name)
    if installed is None:
        return problem(name, "not installed", f"pip install {name}")
    if "error" in facts:
        return problem(name, f"{installed}, but: {facts['error']}", install.again(name, installed))
    if name == "torch" and not facts["gloo"]:
        return problem(name, f"{installed}, without gloo", "install a build of torch with torch.distributed and gloo")
    built = f", {'CUDA ' + facts['cuda'] if facts['cuda'] else 'CPU'} build" if name == "torch" else ""
    return ok(name, installed + built)


def _para_attn(facts: dict[str, Any]) -> Check:
    installed = _version("para-attn")
    if installed is None:
        return warning("para-attn", "not installed", f"needed to share a model between ranks: {install.PARA_ATTN}")
    if "error" in facts:
        return problem("para-attn", f"{installed}, but: {facts['error']}", install.PARA_ATTN)
    return ok("para-attn", installed)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
