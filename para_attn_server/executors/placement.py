"""Where the ranks of each group run on this machine: devices, cores, and the port on which they meet.

Nothing is asked of torch: whether it sees the GPUs is for the ranks (rank/device.py).
"""

from __future__ import annotations

import os
import random
import socket
from collections import deque
from pathlib import Path

from para_attn_server.core.errors import ServerError, UsageError
from para_attn_server.core.gpus import DEV, gpus_are_hidden, ranks_per_group, visible_gpus
from para_attn_server.core.wire.launch import GroupSpec, RankPlace, RankSpec
from para_attn_server.executors.base import ExecutorOptions

LOOPBACK, LOOPBACK_INTERFACE = "127.0.0.1", "lo"
_PORTS = range(20000, 32000)  # below the kernel's ephemeral range, from which outgoing connections take theirs
_given: deque[int] = deque(maxlen=1000)  # lately; other groups' ranks may not have bound theirs yet


class Placement:
    """The places of all groups of one server. Raises UsageError if there are too few GPUs.

    num_ranks: per group.
    """

    def __init__(self, options: ExecutorOptions) -> None:
        self.num_ranks, self._devices = group_devices(options)
        self._cores = sorted(os.sched_getaffinity(0))
        self._per_rank = len(self._cores) // (self.num_ranks * options.num_groups)
        self._bind_cores = options.bind_cores

    def rank_specs(self, spec: GroupSpec) -> list[RankSpec]:
        """A group's ranks, each time with a fresh port. Raises ServerError if there is none."""
        port = free_port()
        return [RankSpec(spec, rank, self._place(spec, rank, port)) for rank in range(spec.num_ranks)]

    def _place(self, spec: GroupSpec, rank: int, port: int) -> RankPlace:
        devices = self._devices[spec.group]
        bound = self._bind_cores and not devices
        first = (spec.group * spec.num_ranks + rank) * self._per_rank
        return RankPlace(
            local_rank=rank,
            local_ranks=spec.num_ranks,
            address=LOOPBACK,
            port=port,
            interface=LOOPBACK_INTERFACE,
            devices=devices,
            threads=0 if devices else max(1, self._per_rank),
            cores=self._cores[first:][: self._per_rank] if bound else [],
        )


def free_port() -> int:
    """A loopback port that nobody listens on now, and that is none of the last 1,000 given out."""
    for port in random.sample(_PORTS, 200):
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        _given.append(port)
        return port
    raise ServerError("no free loopback port for a group's rendezvous")


def group_devices(options: ExecutorOptions, dev: Path = DEV) -> tuple[int, list[list[str]]]:
    """Ranks per group, and the GPUs of each group (empty lists on CPU); raises UsageError if there are too few."""
    gpus = _gpus(options, dev)
    per_group = ranks_per_group(options.num_devices, options.num_groups, len(gpus))
    if not gpus:
        return per_group, [[] for _ in range(options.num_groups)]
    needed = per_group * options.num_groups
    if needed > len(gpus):
        raise UsageError(
            f"num_devices: {options.num_groups} group(s) of {per_group} need {needed} GPUs, "
            f"but {len(gpus)} are visible; lower --num-devices or --num-groups"
        )
    return per_group, [gpus[i * per_group : (i + 1) * per_group] for i in range(options.num_groups)]


def _gpus(options: ExecutorOptions, dev: Path) -> list[str]:
    if options.device == "cpu":
        return []
    if options.device == "cuda" and gpus_are_hidden():
        raise UsageError("device: cuda is asked for, but CUDA_VISIBLE_DEVICES is set and names no GPU; unset it")
    gpus = visible_gpus(dev)
    if options.device == "cuda" and not gpus:  # torch may know some all the same: WSL 2 has no such files in /dev
        return [str(index) for index in range((options.num_devices or 1) * options.num_groups)]
    return gpus
