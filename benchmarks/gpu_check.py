"""Checks on real GPUs what the tests can only check on CPU ranks, and measures it.

    python benchmarks/gpu_check.py [--quick] [--output docs/gpu-check.md]

One group over all visible GPUs (NCCL) draws with a FluxPipeline of random weights. Each picture is compared with the
plain pipeline's in one process. Ranks, the server and jobs are harmed; what the GPUs hold afterwards is read from
nvidia-smi. Keep the GPUs free of other programs meanwhile.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FluxPipeline
from gpu_model import save_wide_flux
from measure import spread
from PIL import Image
from server import HERE, ServerProcess, wait_until, workplace
from table import Row, machine, markdown, row_of, told, verdict

PROMPT = "a large red circle on the left"
MS = 1000.0
SAME = 0.02 * 255
"""Mean difference per channel up to which pictures of several ranks are the same; one rank's must be equal."""


def draw_plainly(model: Path, seeds: range, arguments: dict[str, Any]) -> tuple[dict[int, np.ndarray], float]:
    """The pictures of the plain pipeline in this process by seed, and the median seconds of one with its encoding."""
    pipe = FluxPipeline.from_pretrained(model, dtype=torch.bfloat16).to("cuda")
    pipe.set_progress_bar_config(disable=True)
    pictures, seconds = {}, []
    for seed in [seeds[0], *seeds]:  # the first one warms up
        begun = time.monotonic()
        picture = pipe(PROMPT, generator=torch.Generator().manual_seed(seed), **arguments).images[0]
        picture.save(io.BytesIO(), "PNG")
        seconds.append(time.monotonic() - begun)
        pictures[seed] = np.asarray(picture)
    del pipe
    torch.cuda.empty_cache()
    return pictures, statistics.median(seconds[1:])


def memory_used() -> int:
    """MiB that all visible GPUs hold."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return sum(int(line) for line in subprocess.check_output(command, text=True).split())


class Check:
    """A server on the GPUs, and the plain pipeline's pictures to compare with."""

    def __init__(self, folder: Path, model: Path, quick: bool) -> None:
        self.count = 4 if quick else 12
        self.arguments = (
            {"height": 512, "width": 512, "num_inference_steps": 4}
            if quick
            else {
                "height": 1024,
                "width": 1024,
                "num_inference_steps": 20,
            }
        )
        self.ranks = torch.cuda.device_count()
        self.plain, self.plain_seconds = draw_plainly(model, range(self.count), self.arguments)
        self.free = memory_used()
        self._folder, self._model = folder, model

    def server(self) -> ServerProcess:
        """Started on the state directory of the one before."""
        return ServerProcess(
            f"{HERE / 'gpu_model.py'}:BallastPredictor",
            self._folder / f"server-{time.time_ns()}.log",
            {"CUDA_VISIBLE_DEVICES": ",".join(map(str, range(self.ranks)))},
            **{"num-devices": self.ranks, "model-path": self._model, "device": "cuda"},
            **{"state-dir": self._folder / "state", "output-dir": self._folder / "outputs"},
        )

    def begin(self, server: ServerProcess, seed: int, **further: Any) -> str:
        """Queue a picture."""
        return server.submit(prompt=PROMPT, seed=seed, **{**self.arguments, **further})

    def differs(self, server: ServerProcess, job_id: str, seed: int) -> bool:
        """Whether the job did not succeed with the plain pipeline's picture."""
        code, job = server.end_of(job_id)
        if code != 200:
            return True
        picture = np.asarray(Image.open(job["output_path"]))
        off = np.abs(picture.astype(int) - self.plain[seed].astype(int)).mean()
        return bool(off > (0 if self.ranks == 1 else SAME))


def pictures(check: Check, server: ServerProcess) -> list[Row]:
    """Jobs one after the other: right, and how much longer than the plain pipeline."""
    seconds, wrong = [], 0
    check.differs(server, check.begin(server, 0), 0)  # warms up
    for seed in range(check.count):
        begun = time.monotonic()
        job_id = check.begin(server, seed)
        server.end_of(job_id)
        seconds.append(time.monotonic() - begun)
        wrong += check.differs(server, job_id, seed)
    taken = spread(seconds)
    rows = [
        Row("pictures that differ from the plain pipeline's", "", wrong, check.count, target=0),
        Row("plain pipeline, encoding included", "ms", MS * check.plain_seconds, check.count),
        row_of("job, from POST to its end", "ms", spread([MS * each for each in seconds])),
    ]
    if check.ranks == 1:
        rows.append(Row("added by the server", "ms", MS * (taken.p50 - check.plain_seconds), check.count))
    return rows


def cancels(check: Check, server: ServerProcess) -> list[Row]:
    """Cancel each job after some step; the next one must be drawn as ever."""
    took, wrong = [], 0
    for seed in range(check.count):
        job_id = check.begin(server, seed)
        wait_until(lambda job=job_id: server.step_of(job) >= 1, "a step", every=0.002)
        begun = time.monotonic()
        server.connection.request("POST", f"/cancel/{job_id}")
        took.append(MS * (time.monotonic() - begun))
        wrong += server.end_of(job_id)[0] != 410
        wrong += check.differs(server, check.begin(server, seed), seed)
    step = MS * check.plain_seconds / check.arguments["num_inference_steps"]
    return [
        row_of(f"cancel: POST to response, one step being at most {step:.0f} ms", "ms", spread(took), step + 30),
        Row("cancel: not canceled, or a wrong picture afterwards", "", wrong, check.count, target=0),
    ]


def dead_ranks(check: Check, server: ServerProcess) -> list[Row]:
    """SIGKILL of a rank in a job: the group heals with the weights on the GPUs again, and the job is drawn."""
    healed, done, wrong, held = [], [], 0, []
    for seed in range(max(2, check.count // 3)):
        job_id = check.begin(server, seed)
        wait_until(lambda job=job_id: server.step_of(job) >= 1, "a step", every=0.002)
        before = memory_used()
        struck = time.time()
        os.kill(server.group()["ranks"][-1]["pid"], signal.SIGKILL)
        healed.append(MS * (server.log.wait_for("worker group is ready", struck)["at"] - struck))
        wrong += check.differs(server, job_id, seed)
        done.append(MS * (time.time() - struck))
        held.append(memory_used() - before)
    return [
        row_of("SIGKILL of a rank: until the group is ready again", "ms", spread(healed)),
        row_of("SIGKILL of a rank: until its job has been drawn again", "ms", spread(done)),
        Row("SIGKILL of a rank: jobs that failed, or wrong pictures", "", wrong, len(done), target=0),
        Row("SIGKILL of a rank: GPU memory held more than before", "MiB", max(held), len(held), target=300),
    ]


def out_of_memory(check: Check, server: ServerProcess) -> list[Row]:
    """A job that cannot fit fails by name; the ranks stay, and the next job is drawn."""
    pids = [rank["pid"] for rank in server.group()["ranks"]]
    code, body = server.end_of(check.begin(server, 0, ballast=1000))
    named = code == 500 and body["error"]["type"] == "out_of_memory"
    wrong = check.differs(server, check.begin(server, 1), 1)
    stayed = [rank["pid"] for rank in server.group()["ranks"]] == pids
    return [
        Row("out of memory: not reported as such", "", not named, 1, target=0),
        Row("out of memory: ranks restarted, or the next picture wrong", "", wrong or not stayed, 1, target=0),
    ]


def given_back(check: Check, what: str, harm: Callable[[], None]) -> Row:
    """Until the GPUs are as free as before the server."""
    begun = time.monotonic()
    harm()
    wait_until(lambda: memory_used() <= check.free + 50, "the GPUs to be free", 60, every=0.02)
    return Row(f"{what}: until the GPUs are free", "ms", MS * (time.monotonic() - begun), 1, target=5000)


def all_figures(folder: Path, quick: bool) -> list[Row]:
    """Every row of the table."""
    check = Check(folder, save_wide_flux(folder), quick)
    with closing(check.server()) as server:
        rows = told([Row("start to the group being ready", "s", server.ready, 1)])
        for figures in (pictures, cancels, dead_ranks, out_of_memory):
            rows += told(figures(check, server))
        job_id = check.begin(server, 0)
        rows += told([given_back(check, "SIGKILL of the controller in a job", server.process.kill)])
    with closing(check.server()) as server:
        wrong = check.differs(server, job_id, 0)
        rows += told([Row("SIGKILL of the controller: its job lost, or a wrong picture", "", wrong, 1, target=0)])
        rows += told([given_back(check, "SIGTERM", server.process.terminate)])
    return rows


def report(rows: list[Row], command: str) -> str:
    """The document."""
    cards = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    nccl = ".".join(map(str, torch.cuda.nccl.version()))
    return _DOCUMENT.format(
        cards=f"{cards}; CUDA {torch.version.cuda}, NCCL {nccl}; {machine()}",
        command=command,
        date=datetime.now(UTC).date(),
        verdict=verdict(rows),
        table=markdown(rows),
    )


_DOCUMENT = """\
# On GPUs

What the tests check on CPU ranks over gloo, checked and measured on real GPUs over NCCL: one group over all of them
draws with a FluxPipeline of 1.8 billion random weights in bfloat16, as wide as FLUX.1 but with fewer blocks.
`make gpu-check` runs this command, which writes this page; the GPUs must be free:

    {command}

Measured on {date}, on {cards}; {verdict}.

{table}
"""


def main() -> int:
    """Measure, print, write; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small pictures, fewer of them")
    parser.add_argument("--output", type=Path, help="write the page there")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu-check needs a GPU that torch can use: see para-attn-server doctor", file=sys.stderr)
        return 2
    with workplace(None) as folder:
        rows = all_figures(folder, options.quick)
    page = report(rows, "python benchmarks/gpu_check.py" + " --quick" * options.quick)
    print(page)
    if options.output:
        options.output.write_text(page, encoding="utf-8")
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
