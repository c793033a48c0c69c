"""The JSON Schema of a request, from the pydantic model of predict's arguments: all that the web knows of them.

Where pydantic's own JSON Schema says less than its model checks, more is said here; what cannot be said is refused
before (judged.py).
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, to_jsonable_python

from para_attn_server.core.arguments import OUTPUT_PATH, SEED
from para_attn_server.core.arguments.judged import STATIC_FACTORIES
from para_attn_server.core.errors import SetupFailed

Schema = dict[str, Any]

_WHOLE_KEY = "^(0|-?[1-9][0-9]*)$"


class _RequestSchema(GenerateJsonSchema):
    """Pydantic's generator, made to say all that the model checks in strict JSON mode."""

    def get_default_value(self, schema: Any) -> Any:
        factory = schema.get("default_factory")
        return factory() if factory in STATIC_FACTORIES else super().get_default_value(schema)

    def encode_default(self, dft: Any) -> Any:
        # "constants": infinity is not null
        return to_jsonable_python(dft, inf_nan_mode="constants", bytes_mode="base64", fallback=_plain)

    def str_schema(self, schema: Any) -> Schema:
        made = super().str_schema(schema)
        least = schema.get("min_length") or 0
        if schema.get("strip_whitespace") and least:  # counted without the space around it
            made["pattern"] = r"\S" if least == 1 else rf"\S[\s\S]{{{least - 2},}}\S"
        return made

    def bytes_schema(self, schema: Any) -> Schema:
        return {"type": "string", "format": "base64", "contentEncoding": "base64"}

    def url_schema(self, schema: Any) -> Schema:
        made = super().url_schema(schema)
        if schemes := schema.get("allowed_schemes"):
            made["pattern"] = f"^(?i:{'|'.join(map(re.escape, schemes))}):"
        return made

    def dict_schema(self, schema: Any) -> Schema:
        made: Schema = {"type": "object"}
        keys = schema.get("keys_schema", {"type": "any"})
        named = {"pattern": _WHOLE_KEY} if keys["type"] == "int" else dict(self.generate_inner(keys))
        named.pop("title", None)
        if named not in ({}, {"type": "string"}):
            made["propertyNames"] = named
        values = self.generate_inner(schema["values_schema"]) if "values_schema" in schema else {}
        made["additionalProperties"] = values or True
        self.update_with_validations(made, schema, self.ValidationsMapping.object)
        return made

    def tagged_union_schema(self, schema: Any) -> Schema:
        made = super().tagged_union_schema(schema)
        return {**made, "type": "object", "required": [schema["discriminator"]]}  # also where the field has a default


def plain_schema(model: type[BaseModel]) -> Schema:
    """The JSON Schema of the model as it is; raises SetupFailed where a type has no JSON form."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a default that cannot be said is found by its absence
            made = model.model_json_schema(schema_generator=_RequestSchema)
    except PydanticInvalidForJsonSchema as error:
        raise SetupFailed(f"predict's signature cannot be turned into a schema: {error.message}") from error
    plain: Schema = json.loads(json.dumps(made, default=_plain))
    return plain


def _plain(value: Any) -> Any:
    """A number of another library, as Python's own."""
    if hasattr(value, "item"):
        return value.item()
    raise PydanticSerializationError(f"{type(value).__name__} is not representable in JSON")


def request_schema(model: type[BaseModel]) -> Schema:
    """The JSON Schema (draft 2020-12) of a request body; `output_path` is added as an optional string.

    A `seed` that may be an integer loses its default and may be left out or null: over HTTP it is drawn then, so that
    no jobs are alike by accident.
    Raises SetupFailed where an argument's type has no JSON form.
    """
    schema = plain_schema(model)
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


def options_of(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The schema itself, or each of those that it is a choice of, references followed."""
    if "$ref" in schema:
        yield from options_of(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions)
        return
    choices = schema.get("anyOf") or schema.get("oneOf")
    if not choices:
        yield schema
    for choice in choices or ():
        yield from options_of(choice, definitions)


def has_integers(option: Mapping[str, Any]) -> bool:
    """Whether this schema without choices lets an integer in by its own type or values."""
    values = option.get("enum", [option["const"]] if "const" in option else [])
    return option.get("type") == "integer" or any(type(value) is int for value in values)


def _free_seed(schema: Schema) -> None:
    seed = schema["properties"].get(SEED, {})
    options = list(options_of(seed, schema.get("$defs", {})))
    if not any(map(has_integers, options)):
        return
    if "anyOf" not in seed:
        words = {key: seed.pop(key) for key in ("title", "description") if key in seed}
        seed.pop("default", None)
        inner = dict(seed)
        seed.clear()
        seed.update(words, anyOf=[inner])
    if not any(option.get("type") == "null" for option in options):
        seed["anyOf"].append({"type": "null"})
    seed.pop("default", None)
    seed.setdefault("title", "Seed")
    seed.setdefault("description", "Drawn at random when left out.")
    if SEED in schema.get("required", ()):
        schema["required"].remove(SEED)
