"""The request schema: from predict's signature to JSON Schema, and the same check on the rank.

The web validates a request against the JSON Schema (service/validation.py); a rank validates the same arguments
again with the pydantic model before its first collective. This module runs in ranks only, but imports no torch.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema

from para_attn_server.core.errors import FieldError, InvalidInput, SetupFailed

OUTPUT_PATH = "output_path"
SEED = "seed"
_LIMIT_KEYWORDS = {"minimum": "ge", "maximum": "le", "multipleOf": "multiple_of"}


def arguments_model(
    predict: Callable[..., Any], limits: Mapping[str, Mapping[str, Any]] | None = None
) -> type[BaseModel]:
    """A strict pydantic model of predict's arguments, `output_path` left out.

    limits: further bounds by argument name, as JSON Schema keywords (see Predictor.limits).
    Raises SetupFailed where the signature breaks the contract.
    """
    parameters = _parameters(predict)
    try:
        hints = typing.get_type_hints(predict, include_extras=True)
    except Exception as error:
        raise SetupFailed(f"predict's annotations cannot be read: {error}") from error
    fields: dict[str, Any] = {}
    for name, parameter in parameters.items():
        annotation = hints.get(name, _annotation_of_default(parameter))
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (annotation, default)
    for name, keywords in (limits or {}).items():
        if name not in fields:
            raise SetupFailed(f"limits() names {name!r}, which is no argument of predict")
        annotation, default = fields[name]
        fields[name] = (Annotated[annotation, _limit(name, keywords)], default)
    try:
        config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False, protected_namespaces=())
        return create_model("Arguments", __config__=config, **fields)
    except Exception as error:
        raise SetupFailed(f"predict's signature cannot be turned into a schema: {error}") from error


def request_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a request body; `output_path` is added as an optional string.

    An integer `seed` loses its default and may be left out or null: over HTTP it is drawn then, so that no jobs are
    alike by accident.
    Raises SetupFailed where an argument's type has no JSON form.
    """
    try:
        schema = model.model_json_schema()
    except PydanticInvalidForJsonSchema as error:
        raise SetupFailed(f"predict's signature cannot be turned into a schema: {error.message}") from error
    schema.setdefault("properties", {})[OUTPUT_PATH] = {
        "type": "string",
        "minLength": 1,
        "title": "Output Path",
        "description": "File to write, relative to the server's output root; the server names it when left out.",
    }
    _free_seed(schema)
    schema["title"] = "GenerateRequest"
    schema["additionalProperties"] = False
    return schema


def _free_seed(schema: dict[str, Any]) -> None:
    seed = schema["properties"].get(SEED, {})
    options = seed.get("anyOf", [seed])
    if "integer" not in {option.get("type") for option in options}:
        return
    if "anyOf" not in seed:
        words = {key: seed.pop(key) for key in ("title", "description") if key in seed}
        seed.pop("default", None)
        options = [dict(seed)]
        seed.clear()
        seed.update(words, anyOf=options)
    if {"type": "null"} not in options:
        options.append({"type": "null"})
    seed.pop("default", None)
    seed.setdefault("description", "Drawn at random when left out.")
    if SEED in schema.get("required", ()):
        schema["required"].remove(SEED)


def validated(model: type[BaseModel], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as Python objects of their annotated types; raises InvalidInput naming each wrong one."""
    try:
        arguments = model.model_validate_json(json.dumps(kwargs), strict=True)
    except ValidationError as error:
        raise InvalidInput([FieldError(_pointer(e["loc"]), str(e["msg"])) for e in error.errors()]) from None
    return {name: getattr(arguments, name) for name in type(arguments).model_fields}


def digest(kwargs: Mapping[str, Any], output_path: str) -> int:
    """40 bits of the SHA-256 of a run's arguments: what ranks compare before the first collective."""
    canonical = json.dumps([kwargs, output_path], sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:5], "big")


def _parameters(predict: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = dict(inspect.signature(predict).parameters)
    if OUTPUT_PATH not in parameters:
        raise SetupFailed("predict must take an argument named output_path: the file that rank zero writes")
    del parameters[OUTPUT_PATH]
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    for name, parameter in parameters.items():
        if parameter.kind not in by_keyword:
            raise SetupFailed(
                f"predict must name each argument so that it can be passed by keyword: {parameter} cannot be"
            )
        if name.startswith("_"):
            raise SetupFailed(f"predict's argument {name!r} must not begin with an underscore")
    return parameters


def _pointer(location: tuple[int | str, ...]) -> str:
    """A JSON pointer fragment (RFC 6901) to that place in the request."""
    return "#/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in location)


def _annotation_of_default(parameter: inspect.Parameter) -> Any:
    default = parameter.default
    return Any if default is parameter.empty or default is None else type(default)


def _limit(name: str, keywords: Mapping[str, Any]) -> Any:
    unknown = set(keywords) - set(_LIMIT_KEYWORDS)
    if unknown:
        raise SetupFailed(
            f"limits()[{name!r}] has unknown keywords {sorted(unknown)}; known: {sorted(_LIMIT_KEYWORDS)}"
        )
    bounds: dict[str, Any] = {_LIMIT_KEYWORDS[keyword]: value for keyword, value in keywords.items()}
    return Field(**bounds)
