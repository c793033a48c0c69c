"""Checks of what the server claims for itself: its address, its state directory, its output directory."""

from __future__ import annotations

import tempfile
from pathlib import Path

from para_attn_server.cli.checks.check import Check, ok, problem, size_text, warning
from para_attn_server.core.disk import free_bytes, nearest
from para_attn_server.core.listening import advice, listen
from para_attn_server.core.lock import LOCK_NAME, holder
from para_attn_server.core.settings import Settings

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "lustre", "gpfs", "glusterfs", "afs", "beegfs"}
_LITTLE_SPACE = 2**30


def place_checks(settings: Settings) -> list[Check]:
    """The address, the state directory (free, writable, local), the output directory (writable, with room)."""
    return [
        _address(settings.host, settings.port),
        _lock(settings.state_dir),
        _file_system(settings.state_dir),
        _writable("state directory", settings.state_dir, "--state-dir"),
        _writable("output directory", settings.output_dir, "--output-dir", settings.min_free),
    ]


def _address(host: str, port: int) -> Check:
    found = f"{host}:{port}"
    try:
        listen(host, port).close()
    except OSError as error:
        return problem("address", f"{found}: {error.strerror}", advice(error))
    return ok("address", f"{found} is free" if port else f"{host}, any free port")


def _lock(state_dir: Path) -> Check:
    name = "state directory lock"
    try:
        process = holder(state_dir)
    except OSError as error:
        return problem(name, f"{state_dir / LOCK_NAME}: {error.strerror}", "choose another --state-dir")
    if process is not None:
        return problem(name, f"another server (process {process})", "stop that one, or choose another --state-dir")
    return ok(name, "free")


def _file_system(state_dir: Path) -> Check:
    kind = file_system_of(nearest(state_dir), Path("/proc/mounts").read_text())
    if kind in _NETWORK or kind.startswith("fuse."):
        advice = "SQLite's write-ahead log needs a local disk: point --state-dir at one"
        return warning("state directory's disk", kind, advice)
    return ok("state directory's disk", kind)


def file_system_of(path: Path, mounts: str) -> str:
    """The type of the file system that `path` lies on; mounts: the text of /proc/mounts."""
    best, kind = -1, "unknown"
    for line in mounts.splitlines():
        _, place, this_kind, *_ = line.split()
        mounted = Path(place.replace("\\040", " "))
        if path.is_relative_to(mounted) and len(mounted.parts) >= best:
            best, kind = len(mounted.parts), this_kind
    return kind


def _writable(name: str, folder: Path, option: str, min_free: int = 0) -> Check:
    there = nearest(folder)
    found = str(folder) if there == folder else f"{folder} (will be created)"
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"doctor")
    except OSError as error:
        advice = f"make {there} writable for this user, or choose another {option}"
        return problem(name, f"{found}: {error.strerror}", advice)
    free = free_bytes(there)
    if free is None:
        return ok(name, found)
    found = f"{found}, {size_text(free)} free"
    if free < min_free:
        return problem(name, found, f"--min-free wants {size_text(min_free)}: make room, or choose another {option}")
    if free < _LITTLE_SPACE:
        shorten = "shorten --keep-outputs, set --max-output-bytes" if min_free else "shorten --keep"
        return warning(name, found, f"make room, {shorten}, or choose another {option}")
    return ok(name, found)
