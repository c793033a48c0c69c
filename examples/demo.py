"""Starts a server with the embedded model on two CPU ranks, has it draw one picture, and stops it again.

    python examples/demo.py ["a large red circle on the left on a blue background"]

Does from Python what two terminals would do: `para-attn-server --model demo --num-devices 2` in one, and
`para-attn-server generate ...` in the other.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from para_attn_server import Client
from para_attn_server.core.process import die_with_parent, python_command

COMMAND = python_command("para_attn_server")
PROMPT = "a large red circle on the left on a blue background"
PICTURE = Path("outputs", "demo.png")
START_TIMEOUT = 300.0
STOP_TIMEOUT = 60.0


def main() -> int:
    """Run the demo; 0 when the picture is there and the server has stopped cleanly."""
    prompt = " ".join(sys.argv[1:]) or PROMPT
    PICTURE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="para-attn-server-demo-") as folder:
        log = Path(folder, "server.log")
        try:
            with running_server(Path(folder), log) as url:
                say(f'drawing "{prompt}"')
                subprocess.run([*COMMAND, "generate", "--url", url, "--output", PICTURE, prompt], check=True)
        except (RuntimeError, subprocess.CalledProcessError) as error:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:])
            print(f"\nthe demo failed: {error}\nthe end of the server's log:\n{tail}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ninterrupted", file=sys.stderr)
            return 130
    say(f"the picture is {PICTURE.absolute()} ({PICTURE.stat().st_size} bytes)")
    return 0


@contextmanager
def running_server(folder: Path, log: Path) -> Iterator[str]:
    """A server that takes work; yields its URL, and stops it in the end. Raises RuntimeError where that fails."""
    port, parent = free_port(), os.getpid()
    options = ["--model", "demo", "--num-devices", "2", "--port", str(port)]
    options += ["--state-dir", str(folder / "state"), "--output-dir", str(folder / "outputs")]
    say(f"starting: para-attn-server {' '.join(options[:6])}")
    with log.open("wb") as sink:
        # However this process ends, the kernel ends the server.
        server = subprocess.Popen(
            [*COMMAND, *options], stdout=sink, stderr=sink, preexec_fn=lambda: die_with_parent(parent)
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_ready(url, server)
        yield url
        say("stopping the server")
    finally:
        code = stop(server)
    if code != 0:
        raise RuntimeError(f"the server ended with exit code {code}")


def wait_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until the server takes work."""
    say("two ranks import PyTorch and load the model ...")
    end = time.monotonic() + START_TIMEOUT
    with Client(url) as client:
        while not client.ready():
            if server.poll() is not None:
                raise RuntimeError(f"the server ended with exit code {server.returncode}")
            if time.monotonic() > end:
                raise RuntimeError(f"the server was not ready after {START_TIMEOUT:.0f} s")
            time.sleep(0.2)
        ranks = [rank for group in client.server_status()["groups"] for rank in group["ranks"]]
    say("ready: " + ", ".join(f"rank {rank['rank']} is process {rank['pid']} on {rank['device']}" for rank in ranks))


def stop(server: subprocess.Popen[bytes]) -> int:
    """Ask the server to stop, and make it if it does not; returns its exit code."""
    server.send_signal(signal.SIGTERM)
    try:
        return server.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(line: str) -> None:
    """Print what is going on, with the seconds since the start."""
    print(f"[{time.monotonic() - STARTED:5.1f} s] {line}", flush=True)


STARTED = time.monotonic()

if __name__ == "__main__":
    sys.exit(main())
