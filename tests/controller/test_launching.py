"""The launch specs of groups that start at the same moment, and the environment that ranks have."""

from __future__ import annotations

from para_attn_server.controller.launching import spec_maker
from para_attn_server.core.settings import Settings
from para_attn_server.core.wire.launch import ModelSpec, leave_launcher


def test_groups_that_start_together_never_share_a_rendezvous_port() -> None:
    makers = [spec_maker(Settings(model="demo", num_groups=8), ModelSpec("demo"), n, 2, []) for n in range(8)]
    specs = [make() for _ in range(100) for make in makers]  # none of the ports is bound meanwhile
    assert all(first.port == second.port for first, second in specs)
    assert len({first.port for first, _ in specs}) == len(specs)


def test_what_a_launcher_has_left_in_the_environment_is_removed_and_settings_of_libraries_stay() -> None:
    left = (
        "TORCHELASTIC_USE_AGENT_STORE TORCHELASTIC_RUN_ID ROLE_RANK ROLE_NAME GROUP_RANK GROUP_WORLD_SIZE "
        "PET_NPROC_PER_NODE RANK LOCAL_RANK NODE_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT"
    )
    stays = "NCCL_DEBUG GLOO_DEVICE_TRANSPORT TORCH_NCCL_BLOCKING_WAIT CUDA_VISIBLE_DEVICES OMP_NUM_THREADS HOME RANKS"
    environment = dict.fromkeys(f"{left} {stays}".split(), "1")
    leave_launcher(environment)
    assert sorted(environment) == sorted(stays.split())
