"""Where ranks of groups that start at the same moment run and meet, and the environment that they have."""

from __future__ import annotations

import os

from para_attn_server.core.settings import Settings
from para_attn_server.core.wire.launch import GroupSpec, GroupWish, ModelSpec, RankPlace, RankSpec, leave_launcher
from para_attn_server.executors.base import ExecutorOptions
from para_attn_server.executors.placement import Placement


def groups(count: int, num_ranks: int = 2) -> tuple[Placement, list[GroupSpec]]:
    options = ExecutorOptions.of(Settings(device="cpu"), [GroupWish(num_ranks)] * count)
    return Placement(options), [GroupSpec(ModelSpec("demo"), n, num_ranks, "info", "json") for n in range(count)]


def test_groups_that_start_together_never_share_a_rendezvous_port() -> None:
    placement, specs = groups(8)
    launches = [
        placement.rank_specs(spec) for _ in range(100) for spec in specs
    ]  # none of the ports is bound meanwhile
    assert all(first.place.port == second.place.port for first, second in launches)
    assert len({first.place.port for first, _ in launches}) == len(launches)


def test_ranks_without_a_gpu_share_the_cores() -> None:
    placement, specs = groups(1, num_ranks=1)
    (rank,) = placement.rank_specs(specs[0])
    assert rank.place.cores == sorted(os.sched_getaffinity(0)) and rank.place.threads == len(rank.place.cores)
    placement, specs = groups(2, num_ranks=1)
    taken = [core for spec in specs for rank in placement.rank_specs(spec) for core in rank.place.cores]
    assert len(taken) == len(set(taken))


def test_a_rank_has_the_environment_that_torchrun_would_give_it() -> None:
    place = RankPlace(1, 2, "10.0.0.7", 1234, node=3, devices=["4", "5"], threads=6)
    rank = RankSpec(GroupSpec(ModelSpec("demo"), 0, 8, "info", "json"), 7, place)
    assert rank.environment() == {
        "RANK": "7",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "8",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "3",
        "MASTER_ADDR": "10.0.0.7",
        "MASTER_PORT": "1234",
        "CUDA_VISIBLE_DEVICES": "4,5",
        "OMP_NUM_THREADS": "6",
    }


def test_what_a_launcher_has_left_in_the_environment_is_removed_and_settings_of_libraries_stay() -> None:
    left = (
        "TORCHELASTIC_USE_AGENT_STORE TORCHELASTIC_RUN_ID ROLE_RANK ROLE_NAME GROUP_RANK GROUP_WORLD_SIZE "
        "PET_NPROC_PER_NODE RANK LOCAL_RANK NODE_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT"
    )
    stays = "NCCL_DEBUG GLOO_DEVICE_TRANSPORT TORCH_NCCL_BLOCKING_WAIT CUDA_VISIBLE_DEVICES OMP_NUM_THREADS HOME RANKS"
    environment = dict.fromkeys(f"{left} {stays}".split(), "1")
    leave_launcher(environment)
    assert sorted(environment) == sorted(stays.split())


def test_groups_of_different_sizes_have_cores_of_their_own() -> None:
    options = ExecutorOptions.of(Settings(device="cpu"), [GroupWish(2), GroupWish(1)])
    placement = Placement(options)
    placement._cores, placement._per_rank = list(range(6)), 2
    specs = [GroupSpec(ModelSpec("demo"), group, ranks, "info", "json") for group, ranks in enumerate(placement.ranks)]
    places = [rank.place for spec in specs for rank in placement.rank_specs(spec)]
    assert [place.cores for place in places] == [[0, 1], [2, 3], [4, 5]]
