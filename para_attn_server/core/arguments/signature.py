"""Reads predict's signature: the type and the default of each argument, as their author meant them.

What the whole field writes is taken as it is meant: `x: str = None` may be null, an argument without annotation has the
type of its default. Raises SetupFailed, which names the argument and the rule, for what no request could fill.
"""

from __future__ import annotations

import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any, Optional, Union

from annotated_types import Ge, Le, MultipleOf
from pydantic import AfterValidator, Field, PlainValidator, TypeAdapter, WrapValidator
from pydantic.fields import FieldInfo

from para_attn_server.core.arguments import OUTPUT_PATH, SEED
from para_attn_server.core.arguments.annotations import fault, options, spelled
from para_attn_server.core.arguments.judged import ANY_TYPE
from para_attn_server.core.errors import SetupFailed
from para_attn_server.core.hints import resolved

_BY_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_TEXTS = (str, Any, object)
_VALIDATORS = (AfterValidator, WrapValidator, PlainValidator)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of predict. default: `...` where there is none. limited: limits() bounds it."""

    name: str
    annotation: Any
    default: Any
    limited: bool = False


def read_arguments(
    predict: Callable[..., Any], limits: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Argument]:
    """The arguments of predict without output_path, with the bounds that limits() gives."""
    owner = _owner(predict)
    bounds = _checked_limits(limits or {})
    arguments = []
    parameters = _parameters(predict)
    output_path_type(predict)
    for name, parameter in parameters.items():
        annotation = _annotation(name, parameter, predict, owner)
        default = ... if parameter.default is parameter.empty else parameter.default
        if isinstance(default, FieldInfo):  # `steps: int = Field(20, ge=1)`
            annotation, default = Annotated[annotation, default], ...
        info = FieldInfo.from_annotation(annotation)
        if info.alias not in (None, name) or info.validation_alias not in (None, name):
            raise SetupFailed(f"predict's argument {name!r} has an alias: requests use its own name")
        if default is ... and not info.is_required() and info.default_factory is None:
            default = info.default
        limited = name in bounds
        if limited:
            annotation = _bounded(annotation, bounds.pop(name))
        if default is None and not _takes_null(annotation):
            annotation = _optional(annotation, info)
        arguments.append(Argument(name, annotation, default, limited))
    for name in bounds:
        raise SetupFailed(f"limits() names {name!r}, which is not an argument of predict")
    return arguments


def output_path_type(predict: Callable[..., Any]) -> type[str] | type[Path] | None:
    """How predict wants its output_path: as a Path where it is annotated so, else as text; None where it takes none.

    Raises SetupFailed where it may be neither.
    """
    parameter = inspect.signature(predict).parameters.get(OUTPUT_PATH)
    if parameter is None:
        return None
    if parameter.annotation is parameter.empty:
        return str
    try:
        annotation = resolved(OUTPUT_PATH, parameter.annotation, predict, _owner(predict))
    except Exception:  # its annotation is not needed
        return str
    kinds = list(options(annotation))
    if any(isinstance(kind, typing.TypeVar) or any(kind is text for text in _TEXTS) for kind in kinds):
        return str
    if any(isinstance(kind, type) and (issubclass(kind, PurePath) or kind is os.PathLike) for kind in kinds):
        return Path
    raise SetupFailed(
        f"predict's argument 'output_path' must be str or pathlib.Path, not {spelled(annotation)}: it is the path of "
        "the file to write"
    )


def types_in(annotation: Any) -> Iterator[type]:
    """Every class that an annotation names, at any depth."""
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        yield annotation
    for inner in typing.get_args(annotation):
        yield from types_in(inner)


def _owner(predict: Callable[..., Any]) -> type | None:
    owner = getattr(predict, "__self__", None)
    return owner if owner is None or isinstance(owner, type) else type(owner)


def _parameters(predict: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        parameters = dict(inspect.signature(predict).parameters)
    except (TypeError, ValueError) as error:
        raise SetupFailed(f"predict's signature cannot be read: {error}") from error
    kinds = {parameter.kind for parameter in parameters.values()}
    if kinds and kinds <= {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        raise SetupFailed(
            f"predict's signature is ({', '.join(map(str, parameters.values()))}), which names no arguments: write "
            "them, or, where a decorator hides them, give it functools.wraps"
        )
    for name, parameter in parameters.items():
        if parameter.kind not in _BY_KEYWORD:
            raise SetupFailed(
                f"predict must name each argument so that it can be passed by keyword: {parameter} cannot be"
            )
        if name.startswith("_"):
            raise SetupFailed(f"predict's argument {name!r} must not begin with an underscore")
    parameters.pop(OUTPUT_PATH, None)
    return parameters


def _annotation(name: str, parameter: inspect.Parameter, predict: Callable[..., Any], owner: type | None) -> Any:
    if parameter.annotation is parameter.empty:
        default = parameter.default
        if isinstance(default, FieldInfo):
            default = default.get_default()
        if name == SEED and (default is None or default is parameter.empty):
            return int if default is parameter.empty else Optional[int]  # noqa: UP045 - a value, not an annotation
        return Any if default is parameter.empty or default is None or default is ... else _type_of(default)
    said = f"the annotation of predict's argument {name!r}"
    try:
        annotation = resolved(name, parameter.annotation, predict, owner)
    except NameError as error:
        raise SetupFailed(
            f"{said} cannot be read: {error}. It must be a name of the module or of the class when the program runs, "
            "not one that is imported under TYPE_CHECKING alone, or made inside a function"
        ) from error
    except Exception as error:
        why = error.msg if isinstance(error, SyntaxError) else error
        raise SetupFailed(f"{said} cannot be read: {parameter.annotation!r} ({why}); {ANY_TYPE}") from error
    if (found := fault(annotation)) is not None:
        raise SetupFailed(f"{said} {found}")
    return annotation


def _type_of(default: Any) -> Any:
    if any(base.__module__ == "numpy" and base.__name__ == "generic" for base in type(default).__mro__):
        return type(default.item())
    if type(default) in (set, frozenset) and default:  # whose items need a type
        kinds = sorted({type(item) for item in default}, key=lambda kind: kind.__qualname__)
        return type(default)[Union[tuple(kinds)]]  # noqa: UP007 - a value, not an annotation
    return type(default)


def _takes_null(annotation: Any) -> bool:
    try:
        TypeAdapter(annotation).validate_json("null", strict=True)
    except Exception:  # it refuses null, or is a type that is refused later, by name
        return False
    return True


def _optional(annotation: Any, info: FieldInfo) -> Any:
    """`annotation | None`, with what describes the argument at the outside."""
    described = Field(
        title=info.title, description=info.description, examples=info.examples, json_schema_extra=info.json_schema_extra
    )
    return Annotated[Optional[annotation], described]  # noqa: UP045 - a value, not an annotation


# --- limits() ---


def _checked_limits(limits: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(limits, Mapping) or any(not isinstance(of_one, Mapping) for of_one in limits.values()):
        raise SetupFailed('limits() must return a dict of dicts, such as {"width": {"multipleOf": 32}}')
    return {
        name: {keyword: _number(name, keyword, value) for keyword, value in keywords.items()}
        for name, keywords in limits.items()
    }


def _number(name: str, keyword: str, value: Any) -> int | float:
    if keyword not in _LIMITS:
        raise SetupFailed(f"limits()[{name!r}] has an unknown keyword {[keyword]}; known: {sorted(_LIMITS)}")
    if hasattr(value, "item") and not isinstance(value, numbers.Number):
        value = value.item()  # of a tensor
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise SetupFailed(f"limits()[{name!r}][{keyword!r}] must be a finite number, not {value!r}")


def _tighter_multiple(own: Any, limit: Any) -> Any:
    return math.lcm(own, limit) if isinstance(own, int) and isinstance(limit, int) else limit


_LIMITS: dict[str, tuple[Any, str, Callable[[Any, Any], Any]]] = {
    "minimum": (Ge, "ge", max),
    "maximum": (Le, "le", min),
    "multipleOf": (MultipleOf, "multiple_of", _tighter_multiple),
}


def _bounded(annotation: Any, limits: Mapping[str, Any]) -> Any:
    """The annotation with further bounds, before validators of its own; the tighter one holds of two of a kind."""
    arguments = typing.get_args(annotation)
    options = [option for option in arguments if option is not types.NoneType]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType) and len(options) == 1:
        return Optional[_bounded(options[0], limits)]  # noqa: UP045 - a value, not an annotation
    metadata: tuple[Any, ...] = getattr(annotation, "__metadata__", ())
    own = FieldInfo.from_annotation(annotation).metadata
    if metadata and not own and typing.get_origin(arguments[0]) in (typing.Union, types.UnionType):
        return Annotated[(_bounded(arguments[0], limits), *metadata)]
    bounds: dict[str, Any] = {}
    for keyword, value in limits.items():
        kind, attribute, tighter = _LIMITS[keyword]
        owns = [getattr(rule, attribute) for rule in own if isinstance(rule, kind)]
        bounds[attribute] = tighter(owns[-1], value) if owns else value
    first = next((i for i, rule in enumerate(metadata) if isinstance(rule, _VALIDATORS)), len(metadata))
    inner = arguments[0] if metadata else annotation
    return Annotated[(inner, *metadata[:first], Field(**bounds), *metadata[first:])]
