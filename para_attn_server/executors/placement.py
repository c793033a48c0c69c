"""Where the ranks of each group run on this machine: devices, cores, and the port on which they meet.

Nothing is asked of torch: whether it sees the GPUs is for the ranks (rank/device.py).
"""

from __future__ import annotations

import os
import random
import socket
from collections import Counter, deque
from itertools import count, islice
from pathlib import Path

from para_attn_server.core.errors import ServerError, UsageError
from para_attn_server.core.gpus import DEV, gpus_are_hidden, ranks_of_groups, visible_gpus
from para_attn_server.core.wire.launch import GroupSpec, RankPlace, RankSpec
from para_attn_server.executors.base import ExecutorOptions

LOOPBACK, LOOPBACK_INTERFACE = "127.0.0.1", "lo"
_PORTS = range(20000, 32000)  # below the kernel's ephemeral range, from which outgoing connections take theirs
_given: deque[int] = deque(maxlen=1000)  # lately; other groups' ranks may not have bound theirs yet


class Placement:
    """The places of all groups of one server. Raises UsageError if there are too few GPUs.

    ranks: of each group.
    """

    def __init__(self, options: ExecutorOptions) -> None:
        self.ranks, self._devices = group_devices(options)
        self._cores = sorted(os.sched_getaffinity(0))
        self._per_rank = len(self._cores) // sum(self.ranks)
        self._bind_cores = options.bind_cores

    def rank_specs(self, spec: GroupSpec) -> list[RankSpec]:
        """A group's ranks, each time with a fresh port. Raises ServerError if there is none."""
        port = free_port()
        return [RankSpec(spec, rank, self._place(spec, rank, port)) for rank in range(spec.num_ranks)]

    def _place(self, spec: GroupSpec, rank: int, port: int) -> RankPlace:
        devices = self._devices[spec.group]
        bound = self._bind_cores and not devices
        first = (sum(self.ranks[: spec.group]) + rank) * self._per_rank
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


def group_devices(options: ExecutorOptions, dev: Path = DEV) -> tuple[list[int], list[list[str]]]:
    """Ranks and GPUs of each group (empty lists on CPU); raises UsageError if there are too few, or not those named."""
    gpus = _gpus(options, dev)
    _check_named(options, gpus)
    named = {gpu for wish in options.groups for gpu in wish.gpus}
    free = [gpu for gpu in gpus if gpu not in named]
    ranks = ranks_of_groups(options.groups, len(free) if gpus else None)
    if not gpus:
        return ranks, [[] for _ in options.groups]
    wanted = sum(number for number, wish in zip(ranks, options.groups, strict=True) if not wish.gpus)
    if wanted > len(free):
        sizes = " and ".join(f"{ranks.count(size)} group(s) of {size}" for size in sorted(set(ranks), reverse=True))
        raise UsageError(
            f"num_devices: {sizes} need {wanted + len(named)} GPUs, but {len(gpus)} are visible; "
            "lower --num-devices or --num-groups"
        )
    rest = iter(free)
    return ranks, [wish.gpus or list(islice(rest, number)) for number, wish in zip(ranks, options.groups, strict=True)]


def _check_named(options: ExecutorOptions, gpus: list[str]) -> None:
    """Raises UsageError for a GPU that is not there, or that a group of several ranks would share."""
    named = Counter(gpu for wish in options.groups for gpu in wish.gpus)
    if named and options.device == "cpu":
        raise UsageError("gpus: --device cpu uses no GPU; leave out one of them")
    for gpu in named:
        if gpu not in gpus:
            raise UsageError(f"gpus: GPU {gpu} is not visible; there are {', '.join(gpus) or 'none'}")
    for wish in options.groups:
        if shared := next((gpu for gpu in wish.gpus if named[gpu] > 1 and len(wish.gpus) > 1), None):
            raise UsageError(
                f"gpus: GPU {shared} is named twice, once by a group of {len(wish.gpus)}; only groups of one rank may "
                "share a GPU"
            )


def _gpus(options: ExecutorOptions, dev: Path) -> list[str]:
    if options.device == "cpu":
        return []
    if options.device == "cuda" and gpus_are_hidden():
        raise UsageError("device: cuda is asked for, but CUDA_VISIBLE_DEVICES is set and names no GPU; unset it")
    gpus = visible_gpus(dev)
    if options.device == "cuda" and not gpus:  # torch may know some all the same: WSL 2 has no such files in /dev
        named = [gpu for wish in options.groups for gpu in wish.gpus]
        free = (str(index) for index in count() if str(index) not in named)
        more = sum(wish.num_devices or 1 for wish in options.groups if not wish.gpus)
        return [*dict.fromkeys(named), *islice(free, more)]
    return gpus
