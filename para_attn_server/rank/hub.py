"""`python -m para_attn_server.rank.hub REPO`: whether a model's files can be had from the model hub, as JSON.

A rank asks the same before setup(), and `doctor` before the start: a gated or unknown repository, a missing token, a
hub that cannot be reached and a full disk each become one sentence with the next step. Nothing is downloaded.
Source: https://huggingface.co/docs/huggingface_hub (token, endpoint and cache come from its variables HF_TOKEN,
HF_ENDPOINT, HF_HOME, HF_HUB_OFFLINE).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, get_hf_file_metadata, get_token, hf_hub_url, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from para_attn_server.core.disk import free_bytes, nearest
from para_attn_server.core.errors import SetupFailed

TIMEOUT = 4.0
"""Seconds that the hub has for each of the two answers."""
_INDEX = "model_index.json"


class ModelUnavailable(SetupFailed):
    """A model's files cannot be had. found: why; advice: the next step."""

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(f"{found}: {advice}")
        self.found, self.advice = found, advice


def check(model_path: Any) -> None:
    """Raises ModelUnavailable where `model_path` names a repository whose files cannot be had.

    Anything but a repository's id passes: a local path is the predictor's to open.
    """
    if isinstance(model_path, str) and is_repo(model_path) and not cached(model_path):
        needed = bytes_to_download(model_path)
        free = cache_free()
        if free is not None and needed > free:
            raise ModelUnavailable(
                f"{model_path} needs {_size(needed)}, but the disk of the hub cache has {_size(free)} free",
                "free some space there, or set HF_HOME to a folder on a larger disk",
            )


def is_repo(model_path: str) -> bool:
    """Whether it is an id such as `owner/name` and no local path."""
    if Path(model_path).exists() or model_path.startswith(("/", ".", "~")):
        return False
    try:
        validate_repo_id(model_path)
    except HFValidationError:
        return False
    return True


def cached(repo: str) -> bool:
    """Whether a snapshot of the repository is in the hub cache; not whether it is complete."""
    try:
        return (Path(snapshot_download(repo, local_files_only=True)) / _INDEX).exists()
    except (LocalEntryNotFoundError, OSError):
        return False


def bytes_to_download(repo: str) -> int:
    """Bytes of the files that `from_pretrained` takes; raises ModelUnavailable where they cannot be had."""
    try:
        info = HfApi().model_info(repo, files_metadata=True, timeout=TIMEOUT)
        get_hf_file_metadata(hf_hub_url(repo, _INDEX), timeout=TIMEOUT)  # a gated repository's info is for everybody
    except RemoteEntryNotFoundError:
        pass  # no pipeline; a predictor may know what to do with it
    except Exception as error:
        raise _unavailable(error, repo) from error
    files = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    parts = {name: size for name, size in files.items() if "/" in name} or files
    safe = {Path(name).parent for name in parts if name.endswith(".safetensors")}
    doubled = (".bin", ".pt", ".msgpack", ".onnx", ".onnx_data")
    return sum(size for name, size in parts.items() if Path(name).parent not in safe or not name.endswith(doubled))


def cache_free() -> int | None:
    """What is free on the disk of the hub cache, which need not exist yet; None where that is not known."""
    return free_bytes(nearest(Path(constants.HF_HUB_CACHE)))


def _unavailable(error: Exception, repo: str) -> ModelUnavailable:
    hub, token = constants.ENDPOINT, get_token()
    elsewhere = "choose another with --model-path"
    if isinstance(error, GatedRepoError):
        found = f"{repo} is gated and {'your HF_TOKEN has no access' if token else 'HF_TOKEN is not set'}"
        account = "with the account of your HF_TOKEN" if token else "and set HF_TOKEN to a token of that account"
        return ModelUnavailable(found, f"accept its license at {hub}/{repo} {account}, or {elsewhere}")
    if isinstance(error, RepositoryNotFoundError):
        access = "check that your HF_TOKEN may read it" if token else "set HF_TOKEN"
        found = f"there is no repository {repo} at {hub}"
        return ModelUnavailable(found, f"check the spelling, or {access} if it is private, or {elsewhere}")
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        advice = "set HF_TOKEN to a valid token" if status in (401, 403) else "try again later, or set HF_ENDPOINT"
        return ModelUnavailable(f"the model hub {hub} refuses {repo} with HTTP status {status}", advice)
    missing = f"{repo} is not in the hub cache"
    if isinstance(error, OfflineModeIsEnabled):
        advice = f"unset it, or download the model first with `hf download {repo}`"
        return ModelUnavailable(f"{missing} and HF_HUB_OFFLINE is set", advice)
    advice = "check the network, set HF_ENDPOINT to a mirror, or give a local folder with --model-path"
    reason = str(error) or type(error).__name__
    return ModelUnavailable(f"{missing} and the model hub {hub} cannot be reached ({reason})", advice)


def facts(model_path: str) -> dict[str, Any]:
    """What `doctor` shows: repo, cached, cache, free, token, endpoint; problem and advice where files cannot be had."""
    found: dict[str, Any] = {
        "repo": is_repo(model_path),
        "cache": str(constants.HF_HUB_CACHE),
        "free": cache_free(),
        "token": get_token() is not None,
        "endpoint": constants.ENDPOINT,
    }
    try:
        check(model_path)
    except ModelUnavailable as error:
        return {**found, "problem": error.found, "advice": error.advice}
    return {**found, "cached": found["repo"] and cached(model_path)}


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


if __name__ == "__main__":
    print(json.dumps(facts(sys.argv[1])))
