"""What encoding and writing add to the gap between two queued jobs: `python benchmarks/writing.py [--quick]`.

One rank, so that one of two cores is free for the encoder. Jobs that return a picture of 1024 x 1024 pixels as PNG, or
a video of 5 s as MP4, take turns with jobs of the same predictor that draws the same and throws it away. Each job
sleeps longer than its output takes to encode; where it does not, the group waits (docs/job-life.md).
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from measure import Spread, spread
from processes import Server
from table import Row, machine, markdown, row_of, told, verdict

MS = 1000.0
BATCH = 4
"""Jobs of one kind in a row."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is drawn, and how: seconds that a job sleeps, and how many gaps are measured of each side."""

    name: str
    frames: int
    seconds: float
    gaps: int


def gaps(server: Server, numbers: itertools.count[int], kind: Kind, returned: bool) -> tuple[list[float], list[float]]:
    """Of one batch, in milliseconds: between its jobs, and what each took to be written."""
    batch = [next(numbers) for _ in range(BATCH + 1)]
    arguments = {"seconds": kind.seconds, "frames": kind.frames, "returned": returned}
    ids = [server.submit(**arguments, seed=number) for number in batch]
    done = [server.end_of(job_id)[1] for job_id in ids]
    (notes,) = server.stamps.read()
    between = [MS * (notes[after]["started"] - notes[before]["ended"]) for before, after in itertools.pairwise(batch)]
    return between, [MS * job["timings"]["phases"]["write"] for job in done]


def figures(server: Server, numbers: itertools.count[int], kind: Kind) -> list[Row]:
    """Both sides in turn."""
    with_output: list[float] = []
    without: list[float] = []
    written: list[float] = []
    while len(with_output) < kind.gaps:
        between, took = gaps(server, numbers, kind, returned=True)
        with_output += between
        written += took
        without += gaps(server, numbers, kind, returned=False)[0]
    more = statistics.median(with_output) - statistics.median(without)
    return [
        in_ms(f"{kind.name}: encode and write, beside the next job", spread(written)),
        in_ms(f"{kind.name}: gap", spread(with_output)),
        in_ms(f"{kind.name}: gap, thrown away", spread(without)),
        Row(f"{kind.name}: gap over that, p50", "ms", more, len(with_output), target=5.0),
    ]


def in_ms(figure: str, samples: Spread) -> Row:
    return row_of(figure, "ms", samples)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few jobs")
    quick = parser.parse_args().quick
    rows = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for run, kind in enumerate(
            [
                Kind("1024 px PNG", 0, 0.6 if quick else 1.2, 4 if quick else 20),
                Kind("5 s of 768 x 512 MP4", 120, 2.0 if quick else 6.0, 4 if quick else 8),
            ]
        ):
            suffix = ".mp4" if kind.frames else ".png"
            with closing(Server(Path(folder) / suffix, "DrawnPredictor", None, run=run, ranks=1)) as server:
                numbers = itertools.count(1)
                gaps(server, numbers, Kind("", kind.frames, 0.1, 1), returned=True)  # what is slow the first time
                rows += told(figures(server, numbers, kind))
    print(f"\n{machine()}; 1 rank; load of the machine before: {load:.1f}; {verdict(rows)}.\n\n{markdown(rows)}")


if __name__ == "__main__":
    main()
