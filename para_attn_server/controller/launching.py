"""The launch specs of a group's ranks, and the identity of the model that they load."""

from __future__ import annotations

import hashlib
import os
import random
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path

from para_attn_server.core.errors import ServerError
from para_attn_server.core.settings import Settings
from para_attn_server.core.wire.launch import ModelSpec, RankSpec

_PORTS = range(20000, 32000)  # below the kernel's ephemeral range, from which outgoing connections take theirs
_given: deque[int] = deque(maxlen=1000)  # lately; other groups' ranks may not have bound theirs yet


def free_port() -> int:
    """A loopback port that nobody listens on now, and that is none of the last 1,000 given out."""
    for port in random.sample(_PORTS, 200):
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.append(port)
        return port
    raise ServerError("no free loopback port for a group's rendezvous")


def identity(model: ModelSpec) -> tuple[str, str]:
    """The model in words, and a version that changes with its code where that can be seen without importing it."""
    code = model.pickled or b""
    path = Path(model.name.rpartition(":")[0]).expanduser()
    if not code and path.suffix == ".py" and path.is_file():
        code = path.read_bytes()
    words = model.name if model.model_path is None else f"{model.name} with {model.model_path}"
    return words, hashlib.sha256(code).hexdigest()[:16]


def spec_maker(
    settings: Settings, model: ModelSpec, group: int, num_ranks: int, devices: list[str]
) -> Callable[[], list[RankSpec]]:
    """A function that makes a group's launch specs, each time with a fresh rendezvous port."""
    cores = sorted(os.sched_getaffinity(0))
    per_rank = len(cores) // (num_ranks * settings.num_groups)
    threads = 0 if devices else max(1, per_rank)
    bound = settings.bind_cores and not devices

    def make() -> list[RankSpec]:
        port = free_port()
        return [
            RankSpec(
                model,
                group,
                rank,
                num_ranks,
                port,
                devices,
                threads,
                cores[(group * num_ranks + rank) * per_rank :][:per_rank] if bound else [],
                settings.log_level,
                settings.log_format,
            )
            for rank in range(num_ranks)
        ]

    return make
