"""The launch specs of groups that start at the same moment."""

from __future__ import annotations

from para_attn_server.core.launch import ModelSpec
from para_attn_server.core.settings import Settings
from para_attn_server.daemon.launching import spec_maker


def test_groups_that_start_together_never_share_a_rendezvous_port() -> None:
    makers = [spec_maker(Settings(model="demo", num_groups=8), ModelSpec("demo"), n, 2, []) for n in range(8)]
    specs = [make() for _ in range(100) for make in makers]  # none of the ports is bound meanwhile
    assert all(first.port == second.port for first, second in specs)
    assert len({first.port for first, _ in specs}) == len(specs)
