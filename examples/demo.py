"""Starts a server with the embedded model on two CPU ranks, has it draw one picture, and stops it again.

    python examples/demo.py ["a large red circle on the left on a blue background"]

Does from Python what two terminals would do: `para-attn-server --model demo --num-devices 2` in one, and
`para-attn-server generate ...` in the other.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from para_attn_server import ParaAttentionServer, ServerError

PROMPT = "a large red circle on the left on a blue background"
PICTURE = Path("outputs", "demo.png")


def main() -> int:
    """Run the demo; 0 when the picture is there and the server has stopped cleanly."""
    prompt = " ".join(sys.argv[1:]) or PROMPT
    PICTURE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="para-attn-server-demo-") as folder:
        try:
            draw(prompt, Path(folder))
        except (ServerError, subprocess.CalledProcessError) as error:
            print(f"the demo failed: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ninterrupted", file=sys.stderr)
            return 130
    say(f"the picture is {PICTURE.absolute()} ({PICTURE.stat().st_size} bytes)")
    return 0


def draw(prompt: str, folder: Path) -> None:
    """Start the server, draw, stop it."""
    say("starting: para-attn-server --model demo --num-devices 2")
    say("two ranks import PyTorch and load the model ...")
    state, outputs = folder / "state", folder / "outputs"
    with ParaAttentionServer(
        "demo", port=0, num_devices=2, state_dir=state, output_dir=outputs, log_level="warning"
    ) as server:
        with server.client as client:
            ranks = [each for group in client.server_status()["groups"] for each in group["ranks"]]
        say(
            "ready: " + ", ".join(f"rank {rank['rank']} is process {rank['pid']} on {rank['device']}" for rank in ranks)
        )
        say(f'drawing "{prompt}"')
        command = [sys.executable, "-P", "-m", "para_attn_server", "generate", "--url", server.url, "-o", str(PICTURE)]
        subprocess.run([*command, prompt], check=True)
        say("stopping the server")


def say(line: str) -> None:
    """Print what is going on, with the seconds since the start."""
    print(f"[{time.monotonic() - STARTED:5.1f} s] {line}", flush=True)


STARTED = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
