"""`para-attn-server generate`: one job from prompt to file."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from para_attn_server.cli.arguments import request_arguments
from para_attn_server.cli.remote import RETRY_FOR, url_option
from para_attn_server.core.media_types import UNKNOWN, media_type
from para_attn_server.core.signals import raise_interrupts

if TYPE_CHECKING:
    from para_attn_server.client import Client, JobOptions


def _notes(_context: click.Context, _option: click.Parameter, text: str | None) -> dict[str, Any] | None:
    try:
        found = None if text is None else json.loads(text)
    except ValueError:
        found = text
    if found is None or isinstance(found, dict):
        return found
    raise click.BadParameter("""must be a JSON object, such as '{"album": "spring"}'""")


@click.command("generate")
@click.argument("words", metavar="[PROMPT | NAME=VALUE]...", nargs=-1)
@click.option("--param", "-p", "params", metavar="NAME=VALUE", multiple=True, help="An argument of the model.")
@click.option(
    "--output",
    "-o",
    type=click.Path(allow_dash=True),
    default="./",
    help="File to save, a folder to save in (created if it ends with / and is missing), or - for standard output. "
    "Default: named after the job, in the current folder. Further outputs of the job are saved beside it, as NAME-1.",
)
@click.option("--model", metavar="NAME", help="The model to use, of a server with several. Default: its first.")
@click.option("--ttl", metavar="DURATION", help="How long the result is of use, such as 5m; then the job fails.")
@click.option("--deadline", metavar="TIME", help="The same as a time, such as 2030-01-31T12:00:00Z.")
@click.option("--priority", type=click.Choice(["low", "normal", "high"]), help="The job's class in the queue.")
@click.option(
    "--target", metavar="DURATION|TIME", help="When the result should be there; orders the queue, no reason to fail."
)
@click.option("--idempotency-key", metavar="KEY", help="A name for the request: sent again, it is the same job.")
@click.option("--metadata", metavar="JSON", callback=_notes, help="Notes of your own, a small JSON object.")
@url_option
def command(words: tuple[str, ...], params: tuple[str, ...], output: str, url: str, **options: Any) -> None:
    """Submit a job, follow its progress, save its outputs.

    The words are the prompt; those of the form NAME=VALUE are other arguments of the model, which `para-attn-server
    predictors` and the server's GET /schema list. NAME=@FILE uploads a picture, video or sound, where the model takes
    one. Ctrl-C cancels the job on the server.

    \b
    Examples:
      para-attn-server generate a large red circle on a blue background
      para-attn-server generate "a small star" num_inference_steps=10 seed=7 -o star.png
      para-attn-server generate "the same at night" image=@photo.jpg -o night.png
      para-attn-server generate --url http://gpu-box:5000 --param prompt="a=b" --param width=1024
    """
    from para_attn_server.client import Client

    raise_interrupts()
    folder = Path(output).parent
    if not folder.is_dir():
        raise click.UsageError(f"--output: there is no folder {folder}")
    with Client(url, retry_for=RETRY_FOR) as client:
        arguments = request_arguments(words, params, client.schema(options["model"]))
        request_id = client.submit(options=_given(options), **arguments)
        try:
            status = _followed(client, request_id)
            saved = _saved(client, request_id, output)
        except KeyboardInterrupt:
            _cancel(client, request_id)
            raise click.Abort from None
    _say_saved(saved, status)


def _given(options: dict[str, Any]) -> JobOptions:
    return cast("JobOptions", {name: value for name, value in options.items() if value is not None})


def _followed(client: Client, request_id: str) -> dict[str, Any]:
    from para_attn_server.cli.progress import display

    click.echo(f"job {request_id}", err=True)
    with display() as shown:
        return client.wait(request_id, on_progress=shown.show)


def _saved(client: Client, request_id: str, output: str) -> list[Path]:
    """Where the outputs are now; empty for standard output, which gets the first one."""
    from para_attn_server.client import ClientError

    try:
        if output != "-":
            return client.save_all(request_id, output)
        _write_to_stdout(client, request_id)
        return []
    except OSError as error:
        where = f"{client.url}/outputs/{request_id}"
        raise ClientError(
            f"the job is done, but {output} cannot be written ({error.strerror}); it is at {where}"
        ) from error


def _say_saved(saved: list[Path], status: dict[str, Any]) -> None:
    if saved:
        _warn_of_suffix(saved[0], status)
    seed = "" if status.get("seed") is None else f" (seed {status['seed']})"
    where = ", ".join(map(str, saved)) or "to standard output"
    click.echo(f"saved {where}{seed}", err=not saved)


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
