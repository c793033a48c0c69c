"""`python -m para_attn_server` is the command `para-attn-server`."""

from para_attn_server.cli.main import main

if __name__ == "__main__":
    main()
