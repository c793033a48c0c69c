"""Entry point of the daemon: `python -m para_attn_server.daemon`, settings in the environment.

A pickled predictor, if there is one, is read from the descriptor that PARA_ATTN_PREDICTOR_FD names.
"""

import sys

from para_attn_server.daemon.daemon import main

if __name__ == "__main__":
    sys.exit(main())
