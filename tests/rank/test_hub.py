"""A model whose files cannot be had: one sentence with the next step, soon, whatever the reason."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub import model_hub, silent_hub
from ranks import free_port

from para_attn_server.cli.checks.check import State
from para_attn_server.cli.checks.model import hub_checks

ASK = "import json, sys; from para_attn_server.rank.hub import facts; print(json.dumps(list(map(facts, sys.argv[1:]))))"


def ask(home: Path, endpoint: str, *repos: str, **environment: str) -> list[dict[str, Any]]:
    """The facts of each repository, asked of a process of its own: the hub's library reads its settings once."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *repos],
        env={**clean, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def test_without_a_token(tmp_path: Path) -> None:
    with model_hub() as url:
        gated, unknown, huge, fine = ask(tmp_path, url, "owner/gated", "owner/gone", "owner/huge", "owner/fine")
    assert gated["problem"] == "owner/gated is gated and HF_TOKEN is not set"
    assert gated["advice"].startswith(f"accept its license at {url}/owner/gated and set HF_TOKEN")
    assert unknown["problem"] == f"there is no repository owner/gone at {url}"
    assert huge["problem"].startswith("owner/huge needs 931322574.6 GiB, but the disk of the hub cache has ")
    assert "HF_HOME" in huge["advice"]
    assert "problem" not in fine and fine["cached"] is False
    assert not any(tmp_path.rglob("*.safetensors")), "nothing is downloaded"
    states = [check.state for check in hub_checks("owner/gated", gated)]
    assert states == [State.OK, State.OK, State.PROBLEM]
    assert all(check.state is State.OK for check in hub_checks("owner/fine", fine))


def test_with_a_token_that_does_not_help(tmp_path: Path) -> None:
    with model_hub() as url:
        gated, refused = ask(tmp_path, url, "owner/gated", "owner/private-token", HF_TOKEN="hf_x")
    assert gated["problem"] == "owner/gated is gated and your HF_TOKEN has no access"
    assert refused["problem"] == f"the model hub {url} refuses owner/private-token with HTTP status 401"
    assert refused["advice"] == "set HF_TOKEN to a valid token"


def test_without_a_hub(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    (refused,) = ask(tmp_path, url, "owner/fine")
    assert refused["problem"].startswith(
        f"owner/fine is not in the hub cache and the model hub {url} cannot be reached"
    )
    assert "HF_ENDPOINT" in refused["advice"]
    (offline,) = ask(tmp_path, url, "owner/fine", HF_HUB_OFFLINE="1")
    assert offline["problem"] == "owner/fine is not in the hub cache and HF_HUB_OFFLINE is set"


@pytest.mark.slow
def test_a_hub_that_does_not_answer_costs_seconds(tmp_path: Path) -> None:
    with silent_hub() as url:
        (silent,) = ask(tmp_path, url, "owner/fine")
    assert "cannot be reached (" in silent["problem"]


@pytest.mark.parametrize("path", ["/no/such/folder", "./here", "~/there", "not a repo id", "a/b/c"])
def test_a_local_path_is_no_matter_of_the_hub(tmp_path: Path, path: str) -> None:
    (facts,) = ask(tmp_path, f"http://127.0.0.1:{free_port()}", path)
    assert facts["repo"] is False and "problem" not in facts


@pytest.mark.slow
def test_the_command_ends_with_one_sentence(tmp_path: Path) -> None:
    with model_hub() as url:
        done = subprocess.run(
            [sys.executable, "-m", "para_attn_server", "--model=flux", "--model-path=owner/gated", "--port=0"],
            cwd=tmp_path,
            env={**os.environ, "HF_HOME": str(tmp_path / "hub"), "HF_ENDPOINT": url, "HF_TOKEN": ""},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 3
    assert "owner/gated is gated and HF_TOKEN is not set: accept its license" in done.stderr
    assert "Traceback" not in done.stderr
