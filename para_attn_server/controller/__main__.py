"""Entry point of the controller: `python -m para_attn_server.controller`, settings in the environment."""

# ruff: noqa: E402
import sys

from para_attn_server.core.signals import StopSignals
from para_attn_server.core.streams import open_closed

if __name__ == "__main__":
    signals = StopSignals()  # before what takes long to import
    open_closed()

# structlog imports rich where it is installed, for tracebacks that this process never draws: 4 MB.
sys.modules["rich"] = None  # type: ignore[assignment]

from para_attn_server.controller.controller import main

if __name__ == "__main__":
    sys.exit(main(signals))
