"""What a group asks its executor for, and what the executor gives each rank to start with."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any

CONTROLLER_VARIABLE = "PARA_ATTN_CONTROLLER_PID"
"""Environment variable that names the process which the forkserver may not outlive."""
PRELOAD_VARIABLE = "PARA_ATTN_PRELOAD"
"""Environment variable that names the modules to import, separated by commas."""


_LAUNCHERS = ("TORCHELASTIC_", "ROLE_", "GROUP_", "PET_")
_OF_A_RANK = frozenset(
    {"RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
)


def leave_launcher(environment: MutableMapping[str, str]) -> None:
    """Remove what a launcher (torchrun) that started this program has left in its environment.

    It describes the launcher's ranks: with TORCHELASTIC_USE_AGENT_STORE ours would wait for its store. Settings of the
    libraries stay (NCCL_*, GLOO_*, TORCH_NCCL_*).
    """
    for name in list(environment):
        if name in _OF_A_RANK or name.startswith(_LAUNCHERS):
            del environment[name]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which predictor to serve.

    name: `module.path:Class`, `path/to/file.py:Class` or a short name; a label where `pickled` is set.
    pickled: a predictor class or instance as cloudpickle's bytes, opened by ranks only.
    model_path: passed to the class's constructor. search_path: entries for sys.path (rank/search_path.py). options:
    further arguments of the constructor, by name; JSON values. served_as: the short name by which jobs name the model.
    """

    name: str
    model_path: str | None = None
    pickled: bytes | None = None
    search_path: list[str] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    served_as: str = ""


@dataclass(frozen=True, slots=True)
class GroupWish:
    """What is wanted of a group's place. num_devices: how many ranks, None for as many as there are GPUs for.

    gpus: which ones, by the names that CUDA_VISIBLE_DEVICES has for them; empty for any. A GPU that two groups name is
    shared by them.
    """

    num_devices: int | None = None
    gpus: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of a server, and its groups."""

    spec: ModelSpec
    groups: list[GroupWish]

    @property
    def name(self) -> str:
        """The short name by which jobs name it."""
        return self.spec.served_as


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """What a group asks its executor for: so many ranks of a model. Where they run, and where they meet, it does not
    know. max_pixels: of a picture that the ranks decode. store_key: of the store that knows its uploads."""

    model: ModelSpec
    group: int
    num_ranks: int
    log_level: str
    log_format: str
    max_pixels: int = 2**26
    store_key: str = ""


@dataclass(frozen=True, slots=True)
class RankPlace:
    """Where a rank runs and where it meets the others: its executor's choice.

    local_rank of local_ranks: among the group's ranks on its machine. address, port: of the rendezvous, where rank zero
    is. interface: the network interface on which gloo connects; empty leaves that to gloo. node: which of the group's
    machines, from 0. devices: the group's GPUs there as CUDA_VISIBLE_DEVICES names them, empty on CPU. threads: of
    PyTorch's intra-op pool; 0 leaves PyTorch's own default. cores: the CPU cores that a rank without a GPU is bound to;
    empty leaves that to the kernel.
    """

    local_rank: int
    local_ranks: int
    address: str
    port: int
    interface: str = ""
    node: int = 0
    devices: list[str] = field(default_factory=list)
    threads: int = 0
    cores: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RankSpec:
    """One rank of one group."""

    of: GroupSpec
    rank: int
    place: RankPlace

    def environment(self) -> dict[str, str]:
        """The variables that torchrun would set for this rank (https://docs.pytorch.org/docs/stable/elastic/run.html)."""
        place = self.place
        variables = {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(place.local_rank),
            "WORLD_SIZE": str(self.of.num_ranks),
            "LOCAL_WORLD_SIZE": str(place.local_ranks),
            "GROUP_RANK": str(place.node),
            "MASTER_ADDR": place.address,
            "MASTER_PORT": str(place.port),
            "CUDA_VISIBLE_DEVICES": ",".join(place.devices),
        }
        if place.interface:
            variables["GLOO_SOCKET_IFNAME"] = place.interface
        if place.threads:
            variables["OMP_NUM_THREADS"] = str(place.threads)
        return variables
