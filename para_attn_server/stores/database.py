"""`para-attn-server db` in a process of its own, which may import SQLAlchemy: python -m ... current|check|upgrade

The store is that of the settings in the environment. Prints JSON: the store's revision and the one that this version
needs, or what is wrong with its exit code.
"""

from __future__ import annotations

import json
import sys

from para_attn_server.core.errors import ServerError
from para_attn_server.core.settings import load_settings
from para_attn_server.stores.migrate import HEAD
from para_attn_server.stores.open import prepare_store, store_revision


def main(action: str) -> None:
    """Do it, and print what there is then."""
    try:
        store = load_settings().job_store
        before = store_revision(store)
        if action == "upgrade":
            prepare_store(store)
        print(json.dumps({"before": before, "revision": store_revision(store), "head": HEAD}))
    except ServerError as error:
        print(json.dumps({"error": str(error), "exit_code": int(error.exit_code)}))


if __name__ == "__main__":
    main(sys.argv[1])
