"""What counts as a sign of life of a run: its heartbeat, and for so long the lines that it logs."""

from __future__ import annotations

from pathlib import Path

from para_attn_server.pool.run import JobRun


def test_lines_count_for_the_step_timeout_and_no_longer(tmp_path: Path) -> None:
    run = JobRun("a", 1, 100.0, tmp_path / "part", {})
    run.look_for_life(1.0, 101.0, 0.0, step_timeout=10.0)
    for now in range(102, 112):
        run.look_for_life(1.0, float(now), float(now), step_timeout=10.0)
        assert run.silence(float(now)) == 0.0, "it says what it does"
    run.look_for_life(1.0, 112.0, 112.0, step_timeout=10.0)
    assert run.silence(112.0) == 11.0, "but it has made no step since 101"
    run.look_for_life(2.0, 113.0, 112.0, step_timeout=10.0)
    assert run.silence(113.0) == 0.0
    run.look_for_life(2.0, 115.0, 114.5, step_timeout=10.0)
    assert run.silence(115.0) == 0.0, "after a step they count anew"


def test_without_lines_silence_is_since_the_last_heartbeat(tmp_path: Path) -> None:
    run = JobRun("a", 1, 100.0, tmp_path / "part", {})
    run.look_for_life(1.0, 101.0, 0.0, step_timeout=10.0)
    run.look_for_life(1.0, 105.0, 0.0, step_timeout=10.0)
    assert run.silence(105.0) == 4.0
