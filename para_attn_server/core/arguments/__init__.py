"""The arguments of predict: from its signature to a JSON Schema, and the two checks of a request against them.

The web checks with the JSON Schema (request.py), a rank once more with the pydantic model (model.py). Both are here, so
that a rank can hold one against the other at setup. This file has only names: jsonschema is imported by whoever checks.
"""

OUTPUT_PATH = "output_path"
"""The file to write; every predict takes it, and the server chooses or checks it."""
SEED = "seed"
"""An integer that the web draws where a request leaves it out."""
