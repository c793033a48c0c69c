"""Draws a picture through a running server and shows its progress; `make serve` starts one.

python examples/client.py "a small green star on the right on a black background" star.png
"""

from __future__ import annotations

import argparse
from typing import Any

from para_attn_server import Client


def show(status: dict[str, Any]) -> None:
    """One line for each look at the job."""
    step, total = status.get("step"), status.get("total_steps")
    print(status["status"] + (f", step {step} of {total}" if step and total else ""), flush=True)


def main() -> None:
    """Submit, follow, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompt")
    parser.add_argument("picture", help="where to save it")
    parser.add_argument("--url", default="http://127.0.0.1:5000")
    parser.add_argument("--seed", type=int, help="the server draws one if left out")
    arguments = parser.parse_args()
    seed = {} if arguments.seed is None else {"seed": arguments.seed}
    with Client(arguments.url) as client:
        request_id = client.submit(prompt=arguments.prompt, **seed)
        result = client.wait(request_id, on_progress=show)
        path = client.save(request_id, arguments.picture)
    print(f"{path}: {result['size']} bytes, seed {result['seed']}")


if __name__ == "__main__":
    main()
