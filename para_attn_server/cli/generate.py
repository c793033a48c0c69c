"""`para-attn-server generate`: one job from prompt to file."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from para_attn_server.cli.arguments import request_arguments
from para_attn_server.cli.remote import RETRY_FOR, url_option
from para_attn_server.core.media_types import UNKNOWN, media_type
from para_attn_server.core.signals import raise_interrupts

if TYPE_CHECKING:
    from para_attn_server.client import Client


@click.command("generate")
@click.argument("words", metavar="[PROMPT | NAME=VALUE]...", nargs=-1)
@click.option("--param", "-p", "params", metavar="NAME=VALUE", multiple=True, help="An argument of the model.")
@click.option(
    "--output",
    "-o",
    type=click.Path(allow_dash=True),
    default="./",
    help="File to save, a folder to save in (created if it ends with / and is missing), or - for standard output. "
    "Default: named after the job, in the current folder.",
)
@url_option
def command(words: tuple[str, ...], params: tuple[str, ...], output: str, url: str) -> None:
    """Submit a job, follow its progress, save its output.

    The words are the prompt; those of the form NAME=VALUE are other arguments of the model, which `para-attn-server
    predictors` and the server's GET /schema list. Ctrl-C cancels the job on the server.

    \b
    Examples:
      para-attn-server generate a large red circle on a blue background
      para-attn-server generate "a small star" num_inference_steps=10 seed=7 -o star.png
      para-attn-server generate --url http://gpu-box:5000 --param prompt="a=b" --param width=1024
    """
    from para_attn_server.client import Client

    raise_interrupts()
    folder = Path(output).parent
    if not folder.is_dir():
        raise click.UsageError(f"--output: there is no folder {folder}")
    with Client(url, retry_for=RETRY_FOR) as client:
        request_id = client.submit(**request_arguments(words, params, client.schema()))
        try:
            status = _followed(client, request_id)
            saved = _saved(client, request_id, output)
        except KeyboardInterrupt:
            _cancel(client, request_id)
            raise click.Abort from None
    if saved is not None:
        _warn_of_suffix(saved, status)
    seed = "" if status.get("seed") is None else f" (seed {status['seed']})"
    click.echo(f"saved {saved or 'to standard output'}{seed}", err=saved is None)


def _followed(client: Client, request_id: str) -> dict[str, Any]:
    from para_attn_server.cli.progress import display

    click.echo(f"job {request_id}", err=True)
    with display() as shown:
        return client.wait(request_id, on_progress=shown.show)


def _saved(client: Client, request_id: str, output: str) -> Path | None:
    """Where the output is now; None for standard output."""
    from para_attn_server.client import ClientError

    try:
        if output != "-":
            return client.save(request_id, output)
        _write_to_stdout(client, request_id)
        return None
    except OSError as error:
        where = f"{client.url}/outputs/{request_id}"
        raise ClientError(
            f"the job is done, but {output} cannot be written ({error.strerror}); it is at {where}"
        ) from error


def _write_to_stdout(client: Client, request_id: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # a download that breaks starts over
        whole = client.save(request_id, Path(folder) / "output")
        with whole.open("rb") as data, os.fdopen(1, "wb", closefd=False) as out:
            shutil.copyfileobj(data, out)


def _warn_of_suffix(saved: Path, status: dict[str, Any]) -> None:
    """A file keeps the name that was asked for, but nobody should take it for another kind than it is."""
    right = Path(status["output_path"]).suffix
    kind = media_type(f"x{right}")
    if kind != UNKNOWN and saved.suffix and media_type(saved) != kind:
        click.echo(f"warning: {saved} is {kind}, whose suffix is {right}", err=True)


def _cancel(client: Client, request_id: str) -> None:
    from para_attn_server.client import ClientError

    click.echo(f"\ncanceling job {request_id} ...", err=True)
    try:
        status = client.cancel(request_id)["status"]
    except ClientError as error:
        click.echo(f"job {request_id} was not canceled: {error}", err=True)
    else:
        click.echo(f"job {request_id} is {status} on the server", err=True)
