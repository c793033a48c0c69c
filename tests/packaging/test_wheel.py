"""The wheel, installed outside the checkout, has everything: modules, migrations, embedded weights, short names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's contents."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)], check=True, timeout=120
    )
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True, timeout=120)
    return target


def run(installed: Path, cwd: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_serves_the_embedded_model_from_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    script = (
        "import para_attn_server, para_attn_predictors\n"
        "from para_attn_server import ParaAttentionServer\n"
        f"assert para_attn_server.__file__.startswith({str(installed)!r})\n"
        f"assert para_attn_predictors.__file__.startswith({str(installed)!r})\n"
        "with ParaAttentionServer('demo', port=0, num_devices=2) as server, server.client as client:\n"
        "    client.generate('picture.png', prompt='a red circle', height=64, width=64, num_inference_steps=2)\n"
    )
    run(installed, tmp_path, "-c", script)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_and_the_short_names_are_there(installed: Path, tmp_path: Path) -> None:
    listed = run(installed, tmp_path, "-m", "para_attn_server", "predictors")
    assert "demo" in listed
    assert "flux" in listed
    assert (installed / "bin" / "para-attn-server").is_file()
