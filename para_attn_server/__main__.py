"""The command `para-attn-server`, also as `python -m para_attn_server`: what comes before other imports."""

import sys
from typing import NoReturn

if not sys.flags.safe_path and __name__ == "__main__":
    del sys.path[0]  # the working folder: a file queue.py that lies there is not the standard library's

from para_attn_server.core.signals import StopSignals


def main() -> NoReturn:
    """Run the command and exit."""
    StopSignals()
    from para_attn_server.cli.main import main

    main()


if __name__ == "__main__":
    main()
