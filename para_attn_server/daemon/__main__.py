"""Entry point of the daemon: `python -m para_attn_server.daemon`, settings in the environment."""

import sys

from para_attn_server.daemon.daemon import main

if __name__ == "__main__":
    sys.exit(main())
