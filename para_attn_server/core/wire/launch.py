"""What a rank needs to know to start: made by the controller, opened by the rank."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field

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
    model_path: passed to the class's constructor. search_path: entries for sys.path (rank/search_path.py).
    """

    name: str
    model_path: str | None = None
    pickled: bytes | None = None
    search_path: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RankSpec:
    """One rank of one group.

    port: of the group's rendezvous on loopback. devices: the group's GPUs as CUDA_VISIBLE_DEVICES names them, empty on
    CPU. threads: of PyTorch's intra-op pool; 0 leaves PyTorch's own default. cores: the CPU cores that a rank without a
    GPU is bound to; empty leaves that to the kernel.
    """

    model: ModelSpec
    group: int
    rank: int
    num_ranks: int
    port: int
    devices: list[str]
    threads: int
    cores: list[int]
    log_level: str
    log_format: str

    def environment(self) -> dict[str, str]:
        """The variables that torchrun would set for this rank (https://docs.pytorch.org/docs/stable/elastic/run.html)."""
        variables = {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.rank),
            "WORLD_SIZE": str(self.num_ranks),
            "LOCAL_WORLD_SIZE": str(self.num_ranks),
            "GROUP_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self.port),
            "GLOO_SOCKET_IFNAME": "lo",  # all ranks of a group are on this machine
            "CUDA_VISIBLE_DEVICES": ",".join(self.devices),
        }
        if self.threads:
            variables["OMP_NUM_THREADS"] = str(self.threads)
        return variables
