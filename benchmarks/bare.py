"""A predictor without the server: `torchrun --nproc-per-node 2 benchmarks/bare.py CLASS FOLDER [MODEL_PATH]`.

Every rank reads orders, one JSON object of predict's arguments a line, from the named pipe FOLDER/orders-RANK, and
writes one line to FOLDER/answers when it has done one, and once when it is set up. It ends at the end of its orders.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch.distributed as dist

import predictors


def main() -> None:
    """Set up once, then do as told."""
    name, folder, *model_path = sys.argv[1:]
    predictor = getattr(predictors, name)(*model_path)
    predictor.setup()
    output = Path(folder) / f"bare{predictor.output_suffix}"
    answers = os.open(Path(folder) / "answers", os.O_WRONLY)
    os.write(answers, b"ready\n")
    with (Path(folder) / f"orders-{dist.get_rank()}").open() as orders:
        for line in orders:
            predictor.predict(**json.loads(line), output_path=str(output))
            os.write(answers, b"done\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
