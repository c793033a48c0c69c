"""Detects kills of the kernel's out-of-memory killer: nothing else distinguishes such a SIGKILL from others.

The kernel counts its kills per memory cgroup, and the ranks live in the controller's. Sources: memory.events of cgroup
v2 (https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files), memory.oom_control of v1, and
/proc/vmstat, which counts for the whole machine, where there is neither. All of them have a line `oom_kill N`.
"""

from __future__ import annotations

from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MACHINE = Path("/proc/vmstat")


class OomKills:
    """The kills of the last seconds that no death has been explained by yet.

    The count does not say who was killed. So a kill explains only a death that is seen before the second `look` after
    it. source: a file with a line `oom_kill N`.
    """

    def __init__(self, source: Path | None = None) -> None:
        self._source = source or find_source()
        self._explained = self._last = self._count()

    def look(self) -> None:
        """To be called every second or so."""
        self._explained, self._last = max(self._explained, self._last), self._count()

    def take(self) -> bool:
        """True if there was a kill just now that has explained no death so far; it explains one from here on."""
        struck = self._count() > self._explained
        self._explained += struck
        return struck

    def _count(self) -> int:
        return _oom_kills(self._source) or 0


def find_source(cgroup_file: Path = Path("/proc/self/cgroup"), mounted: Path = _CGROUPS) -> Path:
    """The narrowest counter that covers this process."""
    candidates = []
    for line in _read(cgroup_file).splitlines():
        _, controllers, path = line.split(":", 2)
        # in a container the path may be the host's, while what is mounted is the container's own
        for folder in (path.strip("/"), ""):
            if not controllers:
                candidates.append(mounted / folder / "memory.events")
            elif "memory" in controllers.split(","):
                candidates.append(mounted / "memory" / folder / "memory.oom_control")
    return next((file for file in candidates if _oom_kills(file) is not None), _MACHINE)


def _oom_kills(file: Path) -> int | None:
    for line in _read(file).splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return None


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
