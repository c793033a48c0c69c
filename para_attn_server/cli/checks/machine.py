"""Checks of the machine: kernel, cores, memory, limits, loopback, clock."""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import shutil
import socket
import sys
import time
from pathlib import Path

from para_attn_server.cli.checks.check import Check, ok, problem, size_text, warning
from para_attn_server.core.settings import Settings

_MEMORY_PER_RANK = 400 * 2**20  # torch and diffusers in one rank, without any weights
_SPARE_FILES = 256


def machine_checks(settings: Settings, ranks: int, gpus: int) -> list[Check]:
    """ranks: how many rank processes the settings ask for; gpus: how many GPUs they share."""
    checks = [_python(), _kernel(), _cores(ranks, gpus), _memory(ranks), _open_files(settings), _loopback(), _clock()]
    return [*checks, _shared_memory(gpus)]


def _python() -> Check:
    return ok("Python", f"{platform.python_version()} at {sys.executable}")


def _kernel() -> Check:
    """Ranks are watched by pidfd, agree on steps in a memfd, and come from a forkserver."""
    found = f"{platform.system()} {platform.release()}"
    lacking = [name for name in ("pidfd_open", "memfd_create") if not hasattr(os, name)]
    if "forkserver" not in multiprocessing.get_all_start_methods():
        lacking.append("forkserver")
    try:
        os.close(os.pidfd_open(os.getpid()))
        os.close(os.memfd_create("para-attn-server-doctor"))
    except (AttributeError, OSError) as error:
        lacking.append(str(error))
    if lacking:
        return problem("kernel", f"{found}, without {', '.join(lacking)}", "use Linux 5.3 or newer")
    return ok("kernel", f"{found}, with forkserver, pidfd, memfd")


def _cores(ranks: int, gpus: int) -> Check:
    cores = len(os.sched_getaffinity(0))
    if not gpus and ranks > cores:
        return warning(
            "CPU cores", f"{cores} for {ranks} ranks", "they share them: lower --num-devices or --num-groups"
        )
    return ok("CPU cores", f"{cores}")


def _memory(ranks: int) -> Check:
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(lines[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    found = f"{size_text(free)} free of {size_text(total)}"
    if free < ranks * _MEMORY_PER_RANK:
        needed = size_text(ranks * _MEMORY_PER_RANK)
        return warning("memory", found, f"{ranks} ranks need about {needed} before any weights: free some memory")
    return ok("memory", found)


def _shared_memory(gpus: int) -> Check:
    """NCCL and data loaders keep buffers in /dev/shm; containers often give it 64 MiB."""
    try:
        usage = shutil.disk_usage("/dev/shm")
    except OSError as error:
        return warning("/dev/shm", str(error), "mount a tmpfs there; NCCL and data loaders need it")
    found = f"{size_text(usage.free)} free of {size_text(usage.total)}"
    if usage.free < (2**30 if gpus > 1 else 32 * 2**20):
        return warning("/dev/shm", found, "give the container more, for example --shm-size=1g")
    return ok("/dev/shm", found)


def _open_files(settings: Settings) -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.web_connections + _SPARE_FILES
    found = f"{soft} (at most {hard})"
    if soft < needed:
        return warning("open files", found, f"raise it with ulimit -n {needed}, or lower --web-connections")
    return ok("open files", found)


def _loopback() -> Check:
    """Ranks of one machine meet on 127.0.0.1; on CPU gloo is configured to use the interface `lo`."""
    names = [name for _, name in socket.if_nameindex()]
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return problem("loopback", f"127.0.0.1: {error.strerror}", "bring it up: ip link set lo up")
    if "lo" not in names:
        return problem("loopback", f"interfaces: {', '.join(names)}", "ranks on CPU need an interface named lo")
    return ok("loopback", "lo, 127.0.0.1")


def _clock() -> Check:
    """A job's age is reckoned by the clock: one that is years off would remove outputs at once, or never."""
    found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if time.time() < Path(__file__).stat().st_mtime - 86400:
        return warning("clock", f"{found}, before this program was installed", "set the clock, for example with NTP")
    return ok("clock", found)
