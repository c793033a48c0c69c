"""Every setting of the server, declared once.

The command's options, the environment variables (`PARA_ATTN_SERVER_` + upper-case name), the arguments of
`ParaAttentionServer` and the table in docs/settings.md all derive from the fields here.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from para_attn_server.core.errors import UsageError

ENV_PREFIX = "PARA_ATTN_SERVER_"
DATABASE_URL = "DATABASE_URL"
_DURATION = re.compile(r"(\d{1,100}(?:\.\d{1,100})?)\s{0,10}(ms|s|m|h|d|)", re.ASCII)
_BYTES = re.compile(r"(\d{1,30}(?:\.\d{1,30})?)\s{0,10}(b|[kmgt]i?b?|)", re.ASCII)
_SIZES = {"": 1} | {f"{unit}{i}": (1024 if i else 1000) ** n for n, unit in enumerate("kmgt", 1) for i in ("", "i")}
_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


PATH_PREFIX = re.compile(r"(/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~-]+)*")
"""A path below which a proxy may publish the API. Clients resolve `.` and `..`, which would lead elsewhere."""


def parse_duration(value: Any) -> Any:
    """Seconds from a number or from text such as `500ms`, `10s`, `5m`, `12h`, `7d`; anything else is passed on."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip().lower())
        if match is None:
            raise ValueError("must be a duration such as 500ms, 10s, 5m, 12h or 7d")
        return float(match[1]) * _UNITS[match[2]]
    return value


def parse_bytes(value: Any) -> Any:
    """Bytes from a number or from text such as `64KiB`, `500MB`, `2G`; anything else is passed on."""
    if isinstance(value, str):
        match = _BYTES.fullmatch(value.strip().lower())
        if match is None:
            raise ValueError("must be a number of bytes such as 1048576, 64KiB, 500MB or 2GiB")
        return round(float(match[1]) * _SIZES[match[2].removesuffix("b")])
    return value


def listed(value: str) -> list[str]:
    """The parts of a setting that is a list separated by commas."""
    return [part.strip() for part in value.split(",") if part.strip()]


Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
"""Seconds; also given as text with a unit."""

Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(ge=0, json_schema_extra={"format": "bytes"})]
"""A number of bytes; also given as text with a unit: powers of 1000 (`MB`, `M`) or of 1024 (`MiB`)."""


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def parse_assignments(value: Any) -> Any:
    """A dict from `NAME=VALUE`, several of these, or a JSON object as text; anything else is passed on."""
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return {name: each for part in value for name, each in parse_assignments(part).items()}
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("{"):
        return json.loads(value)
    name, equals, text = value.partition("=")
    if not (equals and name.strip().isidentifier()):
        raise ValueError("must be NAME=VALUE, such as dtype=float16")
    return {name.strip(): text}


Assignments = Annotated[dict[str, JsonValue], NoDecode, BeforeValidator(parse_assignments)]
"""Values by name; also given as texts."""


def parse_names(value: Any) -> Any:
    """A list from a name, several of these, or a JSON list as text; anything else is passed on."""
    if isinstance(value, str):
        names: Any = json.loads(value) if value.lstrip().startswith("[") else [value] if value else []
        return names
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return [name for each in value for name in parse_names(each)]
    return value


Names = Annotated[list[str], NoDecode, BeforeValidator(parse_names)]
"""One name or several."""


AnyCase = BeforeValidator(_lower)
"""For a choice of words: `INFO` means `info`, as logging's own names are written."""


SECTIONS = {
    "model": "Model and ranks",
    "max_queue": "Jobs",
    "state_dir": "Files",
    "host": "HTTP",
    "log_level": "Logs",
}
"""How help and docs group the settings: the first setting of each section, in order, and its title."""


class Settings(BaseSettings):
    """The settings of one server. Frozen: a running server's settings never change.

    Raises pydantic's ValidationError; `load_settings` turns that into a UsageError in plain words.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="forbid", protected_namespaces=(), validate_default=True
    )

    model: Names = Field(
        [],
        description="Predictor to serve: module.path:Class, path/to/file.py:Class or a short name (demo, flux). "
        "Give it once for each of several models; the first is the default. As a variable: one, or a JSON list.",
    )
    config: Path | None = Field(
        None,
        description="TOML file with the models to serve, in place of --model: devices, groups and options of each. See "
        "models.md.",
    )
    model_path: str | None = Field(
        None,
        description="Weights for the predictor: a local path or a hub repo id. Default: the predictor's own.",
    )
    set: Assignments = Field(
        {},
        description="Argument of the predictor's constructor, as NAME=VALUE; give it once for each. As a variable: one "
        "NAME=VALUE, or a JSON object.",
    )
    device: Annotated[Literal["auto", "cuda", "cpu"], AnyCase] = Field(
        "auto",
        description="Where ranks run: cuda (GPUs), cpu, or auto (GPUs if the machine has any). Setup fails if a rank "
        "should have a GPU and its torch sees none.",
    )
    executor: str = Field(
        "local",
        description="What runs the ranks: local (this machine), or agent://HOST:PORT (a para-attn-server agent there). "
        "See executors.md.",
    )
    num_devices: int | None = Field(
        None, ge=1, description="Ranks per worker group. Default: all visible GPUs over --num-groups, else 2 on CPU."
    )
    num_groups: int = Field(1, ge=1, description="Worker groups in the pool.")
    preload: str = Field(
        "diffusers.pipelines.flux.pipeline_flux,transformers.models.clip.modeling_clip,"
        "transformers.models.t5.modeling_t5,torch.distributed.device_mesh",
        description="Comma-separated modules, imported once and shared by all ranks, so that a rank starts quickly. "
        "They must neither start threads nor touch a GPU when imported.",
    )
    bind_cores: bool = Field(
        True,
        description="Bind the main thread of each rank without a GPU to separate CPU cores, so that ranks do not "
        "displace each other. Turn it off if several servers share a machine's cores.",
    )
    reload: bool = Field(
        False,
        description="Start the ranks anew when the predictor's file changes, or a Python file beside it. For "
        "development: a job that they are in runs again, and a setup that fails does not end the server.",
    )
    setup_timeout: Duration = Field(1800.0, description="How long a predictor's setup() may take.")

    max_queue: int = Field(
        1000, ge=1, description="Most jobs that may be queued; beyond that POST /generate returns 429."
    )
    max_attempts: int = Field(2, ge=1, description="How often a job is tried if its worker group is lost.")
    job_timeout: Duration | None = Field(
        None, gt=0, description="How long a job may run before it is canceled and fails. Default: no limit."
    )
    step_timeout: Duration = Field(
        1800.0,
        gt=0,
        description="How long a running job may go without a step before its worker group counts as hung. Between "
        "steps the job's own pace sets a tighter limit.",
    )
    min_step_timeout: Duration = Field(
        60.0,
        description="How long any step may take before the worker group counts as hung, however quick the job's other "
        "steps were.",
    )
    cancel_timeout: Duration = Field(
        30.0, description="How long a canceled job may take to leave before its worker group is rebuilt."
    )
    shutdown_timeout: Duration = Field(
        120.0, description="How long running jobs may finish after the first SIGTERM or Ctrl-C."
    )
    keep: Duration = Field(7 * 86400.0, description="How long finished jobs are kept.")
    keep_outputs: Duration | None = Field(
        None,
        description="How long the output files of finished jobs are kept; at most --keep, since a job's file goes with "
        "the job. Default: --keep.",
    )

    state_dir: Path = Field(
        Path(".para-attn-server"), description="Folder of the queue's database and the control socket."
    )
    store: str | None = Field(
        None,
        repr=False,  # it may have a password in it
        description="URL of the job store: `sqlite:///path` or `postgresql://...`. Default: `DATABASE_URL`, where that "
        "names a PostgreSQL database; else a SQLite file in --state-dir. See stores.md.",
    )
    migrate: bool = Field(
        True,
        description="Bring the job store to this version's schema at the start. With --no-migrate a store of another "
        "schema is refused; para-attn-server db upgrade migrates it.",
    )
    output_dir: Path = Field(Path("outputs"), description="Output root; outputs are written below it.")
    allow_any_output_path: bool = Field(
        False, description="Let requests write outside --output-dir. Only for callers whom you trust with your files."
    )
    max_output_bytes: Bytes | None = Field(
        None,
        description="Most bytes that the output files of all jobs may have together; beyond that the files of the jobs "
        "that ended first are removed. Default: no limit.",
    )
    min_free: Bytes = Field(
        100 * 2**20,
        description="Bytes that must be free on the outputs' disk; with less, POST /generate returns 507 and no queued "
        "job is started. Never less than 64KiB.",
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(5000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    root_path: str = Field(
        "",
        description="Path under which a proxy publishes this API, such as /pictures: URLs in responses begin with it. "
        "The forwarded prefix of a trusted proxy precedes it.",
    )
    trusted_proxy: str = Field(
        "",
        description="Comma-separated addresses or networks of proxies whose forwarded prefix, proto and host headers "
        "are trusted. Default: none.",
    )
    allowed_host: str = Field(
        "",
        description="Comma-separated host names that are served in addition to localhost and the loopback addresses if "
        "--host is one of these. On another --host every name is served unless some are given here.",
    )
    cors_origin: str = Field(
        "",
        description="Comma-separated origins of web pages that may call this API, such as https://app.example.com. "
        "Default: none.",
    )
    max_body: Bytes = Field(16 * 2**20, ge=1, description="Largest request body in bytes; a larger one gets 413.")
    max_upload: Bytes = Field(
        64 * 2**20,
        ge=1,
        description="Largest upload in bytes: a picture, video or sound that a job takes. In a multipart request all "
        "files together may have as many, beside --max-body for the other parts.",
    )
    max_pixels: int = Field(
        2**26,
        ge=1,
        description="Most pixels of a picture or of a frame of a video in a request (8192 x 8192). All frames of a "
        "video together may have 8 times as many, and a sound may have as many samples.",
    )
    request_timeout: Duration = Field(
        30.0,
        gt=0,
        description="How long a client may take to send a complete request (else 408), or to read any part of the "
        "response. Slower connections are closed. Long polls (?wait=) are exempt.",
    )
    web_workers: int = Field(1, ge=1, description="Web worker processes.")
    web_connections: int = Field(1000, ge=1, description="Open connections per web worker; four fifths may wait.")

    log_level: Annotated[Literal["debug", "info", "warning", "error"], AnyCase] = Field(
        "info", description="Lowest level that is logged."
    )
    log_format: Annotated[Literal["console", "json"], AnyCase] = Field(
        "console", description="Plain lines, or one JSON object per line."
    )
    access_log: bool = Field(False, description="Log one line per HTTP request.")

    @field_validator("output_dir", "state_dir", "config")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator("store")
    @classmethod
    def _or_the_platforms(cls, value: str | None) -> str | None:
        url = os.environ.get(DATABASE_URL, "")  # named so by platforms and for many programs: only what is meant for us
        return url if not value and url.startswith(("postgresql://", "postgres://")) else value

    @field_validator("keep_outputs")
    @classmethod
    def _goes_with_its_job(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and value > info.data.get("keep", value):
            raise ValueError("must not be longer than keep: a job's file is removed with the job; raise keep as well")
        return value

    @field_validator("model_path")
    @classmethod
    def _at_home(cls, value: str | None) -> str | None:
        # An unknown user's home stays as it is, where Path.expanduser would raise: it is no folder then.
        return os.path.expanduser(value) if value else value  # noqa: PTH111

    @field_validator("root_path")
    @classmethod
    def _is_path(cls, value: str) -> str:
        if not PATH_PREFIX.fullmatch(value.removesuffix("/")):
            raise ValueError(
                "must be a path such as /pictures, of letters, digits and -._~ between the slashes, none . or .."
            )
        return value.removesuffix("/")

    @field_validator("trusted_proxy")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        return ",".join(str(ip_network(network, strict=False)) for network in listed(value))

    @field_validator("allowed_host")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        names = [name.lower().strip("[]") for name in listed(value)]
        if wrong := [name for name in names if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:]+", name)]:
            raise ValueError(f"{wrong[0]} is not a host name; give names such as pictures.example.com, without a port")
        return ",".join(names)

    @field_validator("cors_origin")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        origins = [origin.lower().rstrip("/") for origin in listed(value)]
        if wrong := [o for o in origins if not re.fullmatch(r"https?://([a-z0-9._-]+|\[[0-9a-f:]+\])(:\d+)?", o)]:
            raise ValueError(f"{wrong[0]} is not an origin; give scheme and host, such as https://app.example.com")
        return ",".join(origins)

    @property
    def job_store(self) -> str | Path:
        """The job store's URL, or the file of a SQLite one."""
        return self.store or self.state_dir / "jobs.sqlite3"

    @property
    def output_seconds(self) -> float:
        """How long output files are kept."""
        return self.keep if self.keep_outputs is None else self.keep_outputs

    def as_environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base` with exactly these settings in it: how the command hands them to the controller and to the web.

        Without PYTHONINSPECT, which keeps a Python process at a prompt when its work is done.
        """
        others = {name: value for name, value in base.items() if not name.startswith((ENV_PREFIX, "PYTHONINSPECT"))}
        values = self.model_dump(mode="json", exclude_none=True)
        return others | {ENV_PREFIX + name.upper(): _as_text(value) for name, value in values.items()}


def _as_text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def load_settings(**given: Any) -> Settings:
    """Settings from the arguments given, then the environment, then defaults; raises UsageError naming each field."""
    try:
        return Settings(**given)
    except ValidationError as error:
        raise UsageError("; ".join(map(_explained, error.errors()))) from None


def _explained(error: Any) -> str:
    name = ".".join(map(str, error["loc"]))
    reason = _unknown(name) if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, ")
    return f"{name}: {reason} (got {error['input']!r})"


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, Settings.model_fields, 1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(Settings.model_fields)}"
    return f"unknown setting; {hint}"
