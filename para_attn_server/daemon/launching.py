"""The launch specs of a group's ranks."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Callable

from para_attn_server.core.errors import ServerError
from para_attn_server.core.launch import ModelSpec, RankSpec
from para_attn_server.core.settings import Settings

_PORTS = range(20000, 32000)  # below the kernel's ephemeral range, from which outgoing connections take theirs


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerError("no free loopback port for a group's rendezvous")


def spec_maker(
    settings: Settings, model: ModelSpec, group: int, num_ranks: int, devices: list[str]
) -> Callable[[], list[RankSpec]]:
    """A function that makes a group's launch specs, each time with a fresh rendezvous port."""
    cores = len(os.sched_getaffinity(0))
    threads = 0 if devices else max(1, cores // (num_ranks * settings.num_groups))

    def make() -> list[RankSpec]:
        port = free_port()
        return [
            RankSpec(model, group, rank, num_ranks, port, devices, threads, settings.log_level, settings.log_format)
            for rank in range(num_ranks)
        ]

    return make
