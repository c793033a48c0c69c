"""Whether what a server needs is installed, and the commands that install what is missing, as errors and `doctor` print
them: each works as written, with any pip.

The package alone is the client and the command line; the extra `server` has the rest.
"""

from __future__ import annotations

import json
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution, requires, version

from para_attn_server.core.errors import UsageError

_NAME = "para-attn-server"

PARA_ATTN = "pip download --no-deps pip==26.2.1 && python pip-26.2.1-py3-none-any.whl/pip install para-attn==0.3.38"
"""pip 26.3 refuses para-attn's metadata, which names a direct URL in an extra. pip 26.2.1 takes it, and runs from its
wheel beside whatever pip is installed."""
VIDEO = 'pip install "imageio-ffmpeg>=0.6"'


def again(package: str, version: str) -> str:
    """A command that repairs an installed package, without touching any other."""
    return f"pip install --force-reinstall --no-deps {package}=={version.partition('+')[0]}"


def torch(build: str) -> str:
    """A command that replaces torch by another build of it, such as `cu126`, and leaves every other package."""
    index = f"https://download.pytorch.org/whl/{build}"
    return f'pip uninstall -y torch && pip install "torch>=2.6" --index-url {index}'


def require_server() -> None:
    """Raises UsageError where no server runs: on another system than Linux, or without the extra `server`."""
    if sys.platform != "linux":
        raise UsageError(
            f"para-attn-server runs on Linux only, not on {sys.platform}: it needs pidfd, memfd and PR_SET_PDEATHSIG. "
            "Use Linux, WSL 2 or Docker"
        )
    if missing := missing_for_server():
        raise UsageError(f"a server needs {', '.join(missing)}, which the client does not: {extra('server')}")


def missing_for_server() -> list[str]:
    """The packages of the extra `server` that are not installed."""
    try:
        needed = requires(_NAME) or []
    except PackageNotFoundError:  # run from a checkout
        return []
    names = [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in needed if re.search("extra == .server.", line)]
    return [name for name in names if installed(name) is None]


def extra(name: str) -> str:
    """A command that installs an extra of this package, from where it came: a checkout, a wheel or an index."""
    try:
        origin = json.loads(distribution(_NAME).read_text("direct_url.json") or "{}").get("url")
    except PackageNotFoundError:
        origin = None
    return f'pip install "{_NAME}[{name}]{f" @ {origin}" if origin else ""}"'


def installed(package: str) -> str | None:
    """Its version, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
