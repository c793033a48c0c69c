"""Entry point of an agent: `python -m para_attn_server.executors.agent`, its options as one argument in JSON."""

import json
import sys

from para_attn_server.core.signals import StopSignals
from para_attn_server.core.streams import open_closed

if __name__ == "__main__":
    signals = StopSignals()  # before what takes long to import
    open_closed()

from para_attn_server.core.errors import ServerError
from para_attn_server.core.logs import configure_logging
from para_attn_server.executors.agent.agent import AgentOptions, serve
from para_attn_server.executors.agent.link import read_secret


def main(signals: StopSignals) -> int:
    """Run the agent; returns the exit code."""
    options = AgentOptions(**json.loads(sys.argv[1]))
    configure_logging(options.log_level, options.log_format, "agent")
    try:
        serve(options, read_secret(), signals)
    except ServerError as error:
        print(f"para-attn-server: {error}", file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main(signals))
