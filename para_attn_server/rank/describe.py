"""`python -m para_attn_server.rank.describe [NAME...]`: predictors and their parameters, as JSON on stdout.

Imports each predictor's module, so it runs in a short-lived process of its own; it runs no setup, so bounds that a
predictor knows only afterwards (`limits()`) are not in it.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any

from para_attn_server.core.arguments.model import arguments_model
from para_attn_server.core.arguments.schema import request_schema
from para_attn_server.core.errors import UsageError
from para_attn_server.core.lookup import installed
from para_attn_server.rank.loader import load_class
from para_attn_server.rank.options import described_options
from para_attn_server.rank.predictor_checks import check_plain
from para_attn_server.rank.search_path import add_folders


def describe(name: str) -> dict[str, Any]:
    """One predictor: name, class, doc (its first line), schema, options (what --set takes) and model_path (its
    default); or name and error where it cannot be used.

    name: as --model takes it. `usage` is there, and true, beside an `error` that the name itself is to blame for.
    """
    try:
        found = load_class(name)
        # No constructor runs: it may load weights, and the signature of predict needs a bound method only.
        predict = object.__new__(found).predict
        check_plain(found.__name__, "predict", predict)
        schema = request_schema(arguments_model(predict))
    except UsageError as error:
        return {"name": name, "error": str(error), "usage": True}
    except SystemExit as error:
        return {"name": name, "error": f"its file ends the program when it is imported (SystemExit: {error})"}
    except Exception as error:
        return {"name": name, "error": f"{type(error).__name__}: {error}"}
    doc = inspect.cleandoc(found.__doc__ or "").partition("\n")[0]  # its own: getdoc would tell its base class's
    path = inspect.signature(found).parameters.get("model_path")
    return {
        "name": name,
        "class": f"{found.__module__}:{found.__qualname__}",
        "doc": doc,
        "schema": schema,
        "options": described_options(found),
        "model_path": path.default if path is not None and isinstance(path.default, str) else None,
    }


def describe_all(names: list[str]) -> list[dict[str, Any]]:
    """Those predictors; all that are installed under a short name if none is given."""
    return [describe(name) for name in names or installed()]


def main() -> None:
    """Print the description; whatever an import prints goes to stderr."""
    answer = os.dup(1)
    os.dup2(2, 1)
    add_folders([str(Path.cwd())])
    described = describe_all(sys.argv[1:])
    with os.fdopen(answer, "w", encoding="utf-8") as stdout:
        json.dump(described, stdout)


if __name__ == "__main__":
    main()
