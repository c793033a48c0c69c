"""`para-attn-server try`: a predictor's first run, without a server. The ranks run below a child process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from para_attn_server.cli.arguments import request_arguments
from para_attn_server.cli.files import with_digests
from para_attn_server.core.errors import InvalidInput, ServerError, SetupFailed, UsageError
from para_attn_server.core.install import require_server
from para_attn_server.core.lookup import check_model
from para_attn_server.core.process import python_command
from para_attn_server.core.settings import Settings, load_settings
from para_attn_server.core.signals import raise_interrupts

_ENDS_WITHIN = 20.0
"""Seconds that the child has to end its ranks."""


@click.command("try")
@click.argument("model")
@click.argument("words", metavar="[PROMPT | NAME=VALUE]...", nargs=-1)
@click.option("--num-devices", type=click.IntRange(1), help="Ranks. Default: all visible GPUs, else 2 on the CPU.")
@click.option("--device", type=click.Choice(["auto", "cuda", "cpu"]), help="Where the ranks run. Default: auto.")
@click.option("--model-path", help="Weights for the predictor: a local path or a hub repo id.")
@click.option("--set", metavar="NAME=VALUE", multiple=True, help="An argument of the predictor's constructor.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="error",
    help="Lowest level that the ranks log. Default: error.",
)
@click.option("--param", "-p", "params", metavar="NAME=VALUE", multiple=True, help="An argument of predict.")
@click.option(
    "--output",
    "-o",
    type=click.Path(),
    default="./",
    help="File to write, whose suffix chooses the format, or a folder. Default: the current folder, a new name.",
)
def command(model: str, words: tuple[str, ...], params: tuple[str, ...], output: str, **settings: Any) -> None:
    """Run a predictor once, without a server.

    Starts the ranks, calls setup() and predict() on each, prints where the output is, and ends. MODEL is a short name,
    module.path:Class or path/to/file.py:Class; the other words are as for `generate`.

    \b
    Examples:
      para-attn-server try demo "a small star" -o star.png
      para-attn-server try examples/variations.py:Variations image=@photo.jpg -o made.png
      para-attn-server try my_predictor.py:MyPredictor prompt="a small star" steps=10 --num-devices 4
    """
    require_server()
    raise_interrupts()
    check_model(model, settings["model_path"])
    if not (Path(output) if output.endswith("/") else Path(output).parent).is_dir():
        raise click.UsageError(f"--output: there is no folder {Path(output).parent}")
    given = {name: value for name, value in settings.items() if value not in (None, ())}
    with tempfile.TemporaryDirectory(prefix="para-attn-server-try-", ignore_cleanup_errors=True) as folder:
        places = {"state_dir": Path(folder, "state"), "output_dir": Path(folder, "outputs")}
        loaded = load_settings(model=model, **given, **places)
        with _Child(loaded) as child:
            try:
                made = _tried(child, words, params, output, loaded.max_pixels)
            except KeyboardInterrupt:
                raise click.Abort from None
        for path in _moved(made, output):
            click.echo(f"saved {path}")


def _tried(
    child: _Child, words: tuple[str, ...], params: tuple[str, ...], output: str, max_pixels: int
) -> dict[str, Any]:
    """What the child has made: job_id and outputs."""
    from para_attn_server.cli.progress import display
    from para_attn_server.core.arguments.request import RequestValidator

    click.echo("setting up the ranks", err=True)
    ready = child.hear()
    click.echo(f"{ready['ranks']} rank{'s are' if ready['ranks'] > 1 else ' is'} ready on {ready['device']}", err=True)
    try:
        given, inputs = with_digests(request_arguments(words, params, ready["ready"]), ready["ready"], max_pixels)
        arguments = RequestValidator(ready["ready"]).validate(given)
    except InvalidInput as error:
        raise click.UsageError(str(error)) from None
    name = None if Path(output).is_dir() else Path(output).name
    if "seed" in arguments:
        click.echo(f"seed {arguments['seed']}", err=True)
    child.tell({"arguments": arguments, "name": name, "inputs": inputs})
    with display() as shown:
        for said in child.news():
            if "step" in said:
                shown.show({"status": "running", **said})
            elif "log" not in said:
                return said
            for line in said.get("log", ()):
                click.echo(line, err=True)
    raise ServerError("the child process has ended without a word")


def _moved(made: dict[str, Any], output: str) -> Iterator[Path]:
    """Each output, at its place."""
    folder = Path(output) if Path(output).is_dir() else Path(output).parent
    for path in map(Path, made["outputs"]):
        target = folder / path.name.replace(made["job_id"], made["job_id"][:8])
        shutil.move(path, target)
        yield target


class _Child:
    """The process that has the ranks (controller/trial.py). Its end is awaited when the block is left."""

    def __init__(self, settings: Settings) -> None:
        self._process = subprocess.Popen(
            python_command("para_attn_server.controller.trial"),
            env=settings.as_environment(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tell(self, words: dict[str, Any]) -> None:
        """One line to the child."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()

    def news(self) -> Iterator[dict[str, Any]]:
        """What it says. Raises the ServerError that it ends with."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said: dict[str, Any] = json.loads(line)
            if "error" in said:
                if said.get("traceback") and not said.get("usage"):  # that is the server's, and its sentence says it
                    click.echo(said["traceback"], err=True)
                kind = UsageError if said.get("usage") else SetupFailed if said.get("setup") else ServerError
                raise kind(said["error"])
            yield said

    def hear(self) -> dict[str, Any]:
        """The next thing that it says."""
        for said in self.news():
            return said
        raise ServerError("the child process has ended without a word")
