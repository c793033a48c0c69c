"""Entry point of the controller: `python -m para_attn_server.controller`, settings in the environment."""

import sys

from para_attn_server.core.signals import StopSignals
from para_attn_server.core.streams import open_closed

if __name__ == "__main__":
    signals = StopSignals()  # before what takes long to import
    open_closed()

from para_attn_server.controller.controller import main

if __name__ == "__main__":
    sys.exit(main(signals))
