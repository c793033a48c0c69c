"""`python -m para_attn_server` is the command `para-attn-server`."""

import sys

if not sys.flags.safe_path and __name__ == "__main__":
    del sys.path[0]  # the working folder: a file queue.py that lies there is not the standard library's

from para_attn_server.cli.main import main

if __name__ == "__main__":
    main()
