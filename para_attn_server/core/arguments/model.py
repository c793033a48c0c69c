"""The pydantic model of predict's arguments, and the check that a rank makes with it before its first collective.

At setup the model is held against the check of the web (request.py): what the one lets in the other must not refuse.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import SchemaError

from para_attn_server.core.arguments import SEED
from para_attn_server.core.arguments.annotations import spelled
from para_attn_server.core.arguments.inputs import NESTED, misplaced
from para_attn_server.core.arguments.judged import ANY_TYPE, ARGUMENTS, PATHS, Unfit, check_judged_alike
from para_attn_server.core.arguments.request import RequestValidator
from para_attn_server.core.arguments.rules import KEYWORD, Rules, split
from para_attn_server.core.arguments.schema import plain_schema
from para_attn_server.core.arguments.seeds import Seeds
from para_attn_server.core.arguments.signature import Argument, read_arguments, types_in
from para_attn_server.core.errors import FieldError, InvalidInput, SetupFailed
from para_attn_server.core.results import Audio, Video

_CONFIG = ConfigDict(
    extra="forbid",
    allow_inf_nan=False,
    protected_namespaces=(),
    val_json_bytes="base64",
    ser_json_bytes="base64",
)
_NUMBERS = "write list[float], or bytes (sent as base64)"
_INSTEAD = {
    "PIL.Image.Image": "write ImageInput, from para_attn_server: predict gets such a picture",
    "para_attn_server.core.results.Video": "write VideoInput, from para_attn_server: predict gets such a video",
    "para_attn_server.core.results.Audio": "write AudioInput, from para_attn_server: predict gets such a sound",
    "pathlib.PurePath": PATHS,
    "os.PathLike": PATHS,
    "torch.Tensor": _NUMBERS,
    "numpy.ndarray": _NUMBERS,
    "torch._C.Generator": "write seed: int and make the generator in predict: torch.Generator().manual_seed(seed)",
    "decimal.Decimal": "write float",
    "fractions.Fraction": "write float",
    "builtins.complex": "write tuple[float, float]",
    "builtins.bytearray": "write bytes",
    "numpy.floating": "write float",
    "numpy.integer": "write int",
    "numpy.bool": "write bool",
    "torch.dtype": "write Literal['float16', 'bfloat16'], say, and look it up in predict: getattr(torch, dtype)",
    "torch.device": "leave it out: a rank has its own, which rank_device() gives",
}


def arguments_model(
    predict: Callable[..., Any], limits: Mapping[str, Mapping[str, Any]] | None = None
) -> type[BaseModel]:
    """A strict pydantic model of predict's arguments, `output_path` left out.

    limits: further bounds by argument name or by expression, as JSON Schema keywords (see Predictor.limits).
    Raises SetupFailed where the signature breaks the contract, naming argument and rule: a type that the web cannot
    judge as the ranks do, a default that a request could not hold.
    """
    of_one, of_several = split(limits or {})
    arguments = read_arguments(predict, of_one)
    for argument in arguments:
        _check(argument)
    model = _model(arguments, of_several)
    _rules(model).check_defaults()
    return model


def parsed(model: type[BaseModel], arguments: Mapping[str, Any]) -> BaseModel:
    """The arguments, validated; raises InvalidInput naming each wrong one."""
    try:
        found = model.model_validate_json(json.dumps(arguments), strict=True)
    except ValidationError as error:
        raise InvalidInput([FieldError(_pointer(e["loc"]), str(e["msg"])) for e in error.errors()]) from None
    _rules(model).check(arguments)  # as they came: the web knows of no validators
    return found


def values(arguments: BaseModel) -> dict[str, Any]:
    """What predict gets: Python objects of the annotated types."""
    return {_name(field): value for field, value in arguments.__dict__.items()}


def validated(model: type[BaseModel], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as Python objects of their annotated types; raises InvalidInput naming each wrong one."""
    return values(parsed(model, arguments))


def dumped(model: BaseModel, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What ranks compare: each argument as predict gets it, in JSON; and the names of those that have no such form.

    arguments: as they came; one that cannot be dumped stands there as it came.
    """
    dump: dict[str, Any] = {}
    as_they_came = []
    for field in type(model).model_fields:
        try:
            dump |= model.model_dump(mode="json", include={field}, warnings=False)
            dump[field]  # not of one that is excluded from dumps
        except Exception:  # also what a serializer of the predictor's own raises
            dump[field] = arguments.get(_name(field))
            as_they_came.append(_name(field))
    return dump, as_they_came


def digest(arguments: Mapping[str, Any], output_path: str) -> int:
    """40 bits of the SHA-256 of a run's arguments: what ranks compare before the first collective."""
    canonical = json.dumps([arguments, output_path], sort_keys=True, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:5], "big")


def compared_by_input(model: type[BaseModel]) -> list[str]:
    """The arguments whose default, as predict gets it, cannot be dumped: ranks compare what came instead."""
    found = []
    for name, schema in plain_schema(model).get("properties", {}).items():
        if "default" in schema:
            info = model.model_fields[_field(name)]
            fields: dict[str, Any] = {_field(name): (info.annotation, info)}
            one = create_model("One", __config__=_CONFIG, **fields)
            found += dumped(parsed(one, {name: schema["default"]}), {})[1]
    return found


def _model(arguments: list[Argument], rules: Mapping[str, Any] | None = None) -> type[BaseModel]:
    fields: dict[str, Any] = {
        _field(one.name): (Annotated[one.annotation, Field(validation_alias=one.name)], one.default)
        for one in arguments
    }
    config = ConfigDict(**_CONFIG, json_schema_extra={KEYWORD: dict(rules)}) if rules else _CONFIG
    return create_model(ARGUMENTS, __config__=config, **fields)


@functools.lru_cache(maxsize=8)
def _rules(model: type[BaseModel]) -> Rules:
    if not model.model_config.get("json_schema_extra"):
        return Rules({}, {})
    schema = plain_schema(model)
    return Rules(schema[KEYWORD], schema["properties"])


def _field(name: str) -> str:
    """The field's name: pydantic keeps many names for itself (schema, copy, model_...), none of which ends so."""
    return name + "_"


def _name(field: str) -> str:
    return field[:-1]


def _pointer(location: tuple[int | str, ...]) -> str:
    """A JSON pointer fragment (RFC 6901) to that place in the request."""
    return "#/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in location)


# --- the check at setup ---


def _check(argument: Argument) -> None:
    """Raises SetupFailed unless web and ranks judge this argument alike, and its default is one that both accept."""
    name = argument.name
    try:
        model = _model([argument])
        check_judged_alike(model.__pydantic_core_schema__)
        schema = plain_schema(model)
        if misplaced(schema) or {Video, Audio} & set(types_in(argument.annotation)):  # whose fields JSON could have
            raise Unfit(NESTED)
        validator = RequestValidator(schema)
    except Exception as error:
        said = f"predict's argument {name!r} cannot come from a request"
        if argument.limited:  # without its limits it was looked at before setup()
            said = f"the bound that limits() gives predict's argument {name!r} does not fit"
        raise SetupFailed(f"{said}: {_advice(argument, error)}") from error
    if name == SEED and Seeds(schema["properties"][SEED], schema.get("$defs", {})).empty():
        raise SetupFailed("predict's argument 'seed' allows no integer: its bounds (limits() included) exclude all")
    if argument.default is not ...:
        _check_default(name, argument.default, schema, validator, model)


def _check_default(
    name: str, default: Any, schema: dict[str, Any], validator: RequestValidator, model: type[BaseModel]
) -> None:
    said = f"the default of predict's argument {name!r} is refused"
    if "default" not in schema["properties"][name]:
        raise SetupFailed(f"{said}: {type(default).__name__} is not representable in JSON, as requests must be")
    body = {name: schema["properties"][name]["default"]}
    try:
        validator.check(body)
        parsed(model, body)
    except InvalidInput as error:
        raise SetupFailed(f"{said} (limits() included): {error.fields[0].detail}") from None
    except Exception as error:  # a validator of the predictor's own may raise anything
        raise SetupFailed(f"{said}: {type(error).__name__}: {error}") from error


def _advice(argument: Argument, error: Exception) -> str:
    unknown = list(_unknown(argument.annotation, set())) if isinstance(error, PydanticSchemaGenerationError) else []
    for kind in [*types_in(argument.annotation), *unknown]:
        for base in kind.__mro__:
            if instead := _INSTEAD.get(f"{base.__module__}.{base.__qualname__}"):
                return f"{kind.__module__}.{kind.__qualname__} is not representable in JSON: {instead}"
    if isinstance(error, Unfit):
        return str(error)
    if isinstance(error, PydanticUserError) and error.code == "typed-dict-version":
        return (
            "below Python 3.12 a TypedDict must be that of typing_extensions: from typing_extensions import TypedDict"
        )
    if isinstance(error, PydanticSchemaGenerationError):
        return f"{spelled(unknown[0]) if unknown else 'its type'} is not representable in JSON: {ANY_TYPE}"
    lines = str(error).strip().splitlines()
    if isinstance(error, SchemaError):  # "Error building ...", and then the cause
        return lines[-1].strip()
    return f"{lines[0]}; {ANY_TYPE}" if lines else type(error).__name__


def _unknown(annotation: Any, seen: set[type]) -> Iterator[type]:
    """The classes that pydantic does not know, those in fields of dataclasses first."""
    for kind in set(types_in(annotation)) - seen:
        seen.add(kind)
        try:
            TypeAdapter(kind)
        except PydanticSchemaGenerationError:
            if dataclasses.is_dataclass(kind):
                for field in dataclasses.fields(kind):
                    yield from _unknown(field.type, seen)
            yield kind
        except Exception:  # it is not this one that is unknown
            continue
