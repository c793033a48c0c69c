"""Which models a server serves: from the settings, from a TOML file (`--config`), or from Python's `models=`.

Each has a short name, by which jobs name it. Nothing is imported here; whether a model's file is there, `lookup.py`
checks.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from para_attn_server.core.errors import UsageError
from para_attn_server.core.lookup import check_model
from para_attn_server.core.settings import Settings
from para_attn_server.core.wire.launch import GroupWish, ModelSpec, ServedModel

SHORT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
"""What a model may be called."""
_OF_ONE_MODEL = ("model_path", "set", "num_devices", "num_groups")
"""Settings that say something of one model."""
_WORD_BEGINS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])")


def _gpu_name(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _not_empty(value: str) -> str:
    if not value:
        raise ValueError("must name a predictor")
    return value


Spec = Annotated[str, AfterValidator(_not_empty)]  # pydantic counts no characters of a file's name that is no text
"""What `--model` takes."""

Gpu = Annotated[str, BeforeValidator(_gpu_name), Field(min_length=1)]
"""A GPU by the name that CUDA_VISIBLE_DEVICES has for it: its number, or its UUID."""


class ModelSettings(BaseModel):
    """One model of a server: a table `[models.NAME]` of the TOML file.

    gpus: those of each worker group; without them there are num_groups groups of num_devices ranks. set: arguments of
    the predictor's constructor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    model: Spec
    model_path: str | None = None
    set: dict[str, JsonValue] = {}
    num_devices: int | None = Field(None, ge=1, strict=True)
    num_groups: int = Field(1, ge=1, strict=True)
    gpus: list[Annotated[list[Gpu], Field(min_length=1)]] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _say_it_once(self) -> ModelSettings:
        if self.gpus is not None and (twice := {"num_devices", "num_groups"} & self.model_fields_set):
            raise ValueError(f"gpus says how many groups and ranks there are; leave out {' and '.join(sorted(twice))}")
        return self

    @property
    def groups(self) -> list[GroupWish]:
        """What is wanted for each of its groups."""
        if self.gpus is not None:
            return [GroupWish(len(gpus), gpus) for gpus in self.gpus]
        return [GroupWish(self.num_devices)] * self.num_groups

    def served(self, search_path: list[str], pickled: bytes | None = None) -> ServedModel:
        """The model as ranks load it. search_path, pickled: as ModelSpec has them."""
        spec = ModelSpec(self.model, self.model_path, pickled, search_path, self.set, self.name)
        return ServedModel(spec, self.groups)

    def check(self, of_file: bool) -> None:
        """Raises UsageError for a model that cannot be found. of_file: name its keys and not the options."""
        try:
            check_model(self.model, self.model_path)
        except UsageError as error:
            if not of_file:
                raise
            option, _, rest = str(error).partition(": ")
            raise UsageError(f"models.{self.name}.{option.removeprefix('--').replace('-', '_')}: {rest}") from None


def models_of(settings: Settings) -> list[ModelSettings]:
    """The models that a server with these settings serves, the default one first; none where none is named.

    Raises UsageError.
    """
    if settings.config is not None:
        refuse_settings_of_one(settings, f"the models are in {settings.config}; say it there")
        return read_models(settings.config)
    names = [short_name(model) for model in settings.model]
    if len(names) < 2:
        values = {name: getattr(settings, name) for name in _OF_ONE_MODEL}
        return [ModelSettings(name=names[0], model=settings.model[0], **values)] if names else []
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"model: two models would be called {twice}; name them in a file: {_as_file(settings, names)}")
    _refuse(settings, _OF_ONE_MODEL, f"with several models, say it for each in a file: {_as_file(settings, names)}")
    return [ModelSettings(name=name, model=model) for name, model in zip(names, settings.model, strict=True)]


def found_models(settings: Settings) -> list[ModelSettings]:
    """The same; raises UsageError for one that cannot be found, too."""
    models = models_of(settings)
    for model in models:
        model.check(of_file=settings.config is not None)
    return models


def groups_of(settings: Settings) -> list[GroupWish]:
    """What is wanted for each group of a server with these settings, whichever its models are. Raises UsageError."""
    of_models = [wish for model in models_of(settings) for wish in model.groups]
    return of_models or [GroupWish(settings.num_devices)] * settings.num_groups


def short_name(model: str) -> str:
    """What a model is called that is given no name: `demo`; `wan-video` for `my.py:WanVideoPredictor`."""
    _, _, attribute = model.rpartition(":")
    words = _WORD_BEGINS.sub("-", attribute.rpartition(".")[2].removesuffix("Predictor") or attribute)
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:64].strip("-") or "model"


def read_models(file: Path) -> list[ModelSettings]:
    """The models of a TOML file. Raises UsageError, which names the key."""
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"config: {file} cannot be read ({error.strerror})") from None
    except ValueError as error:  # not UTF-8, or not TOML
        raise UsageError(f"config: {file} is not TOML: {error}") from None
    if other := sorted(found.keys() - {"models"}):
        raise UsageError(
            f"config: {file}: {other[0]} is unknown; the file has tables [models.NAME] only, and what else a server is "
            "set to are options and environment variables"
        )
    models = found.get("models")
    if not isinstance(models, dict) or not models:
        raise UsageError(f"config: {file} names no model; it needs a table such as [models.demo]")
    return parse_models(models)


def parse_models(models: Mapping[str, Any]) -> list[ModelSettings]:
    """The models of tables by name. Raises UsageError, which names the key."""
    return [_parsed(name, table) for name, table in models.items()]


def _parsed(name: str, table: Any) -> ModelSettings:
    if not SHORT_NAME.fullmatch(name):
        raise UsageError(f"models: {name!r} is not a model's name; use a-z, 0-9 and -, such as wan-2-2")
    if not isinstance(table, dict):
        raise UsageError(f"models.{name}: must be a table, [models.{name}], not {table!r:.100}")
    if "name" in table:
        raise UsageError(f"models.{name}.name: is unknown; the model's name is that of its table")
    try:
        return ModelSettings(**{"model": name, **table, "name": name})
    except ValidationError as error:
        raise UsageError("; ".join(_explained(name, each) for each in error.errors())) from None


def _explained(name: str, error: Any) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = ", ".join(field for field in ModelSettings.model_fields if field != "name")
        return f"models.{name}{where}: is unknown; a model has {known}"
    reason = error["msg"].removeprefix("Value error, ")
    return f"models.{name}{where}: {reason}" + (f" (got {error['input']!r:.100})" if error["loc"] else "")


def refuse_settings_of_one(settings: Settings, why: str) -> None:
    """Raises UsageError where the settings say something of a model that is configured elsewhere."""
    _refuse(settings, ("model", *_OF_ONE_MODEL), why)


def _refuse(settings: Settings, names: Iterable[str], why: str) -> None:
    if given := next((name for name in names if name in _given(settings)), None):
        raise UsageError(f"{given}: {why}")


def _given(settings: Settings) -> dict[str, Any]:
    """What says something of models and is not its default: the controller gets every setting, whoever chose it."""
    names = ("model", *_OF_ONE_MODEL)
    values = {name: getattr(settings, name) for name in names}
    return {name: value for name, value in values.items() if value != Settings.model_fields[name].default}


def _as_file(settings: Settings, names: list[str]) -> str:
    """The same models as a file, and how to give it."""
    of_each = {name: value for name, value in _given(settings).items() if name != "model"}
    lines = ["--config models.toml with"]
    for number, (name, model) in enumerate(zip(names, settings.model, strict=True)):
        called = f"{name}-{number + 1}" if names.count(name) > 1 else name
        values = {"model": model, **of_each}
        lines += ["", f"[models.{called}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
