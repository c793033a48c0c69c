"""Checks of what is installed: packages, and whether the heavy ones import (asked of a child process)."""

from __future__ import annotations

from typing import Any

from para_attn_server.cli.checks.check import Check, ok, problem, warning
from para_attn_server.core import install

_EXTRAS = {
    "video": (("imageio-ffmpeg",), "for MP4, WebM, FLAC and MP3, made or given"),
    "lora": (("peft",), "for LoRA weights"),
}
_NEEDED = ("torch", "diffusers", "transformers", "gunicorn", "gevent")


def software_checks(facts: dict[str, Any]) -> list[Check]:
    """facts: the answer of `para_attn_server.rank.probe`."""
    needed = [_package(name, facts.get(name, {})) for name in _NEEDED]
    return [*needed, _para_attn(facts["para_attn"]), *(_extra(name, *extra) for name, extra in _EXTRAS.items())]


def _package(name: str, facts: dict[str, Any]) -> Check:
    found = install.installed(name)
    if found is None:
        return problem(name, "not installed", install.extra("server"))
    if "error" in facts:
        return problem(name, f"{found}, but: {facts['error']}", install.again(name, found))
    if name == "torch" and not facts["gloo"]:
        return problem(name, f"{found}, without gloo", "install a build of torch with torch.distributed and gloo")
    built = f", {'CUDA ' + facts['cuda'] if facts['cuda'] else 'CPU'} build" if name == "torch" else ""
    return ok(name, found + built)


def _para_attn(facts: dict[str, Any]) -> Check:
    found = install.installed("para-attn")
    if found is None:
        return warning("para-attn", "not installed", f"needed to share a model between ranks: {install.PARA_ATTN}")
    if "error" in facts:
        return problem("para-attn", f"{found}, but: {facts['error']}", install.PARA_ATTN)
    return ok("para-attn", found)


def _extra(name: str, packages: tuple[str, ...], use: str) -> Check:
    """An extra that only some models need: its absence is reported, not judged."""
    missing = [package for package in packages if install.installed(package) is None]
    if missing:
        return ok(f"extra {name}", f"not installed; {use}: pip install {' '.join(missing)}")
    return ok(f"extra {name}", ", ".join(f"{package} {install.installed(package)}" for package in packages))
