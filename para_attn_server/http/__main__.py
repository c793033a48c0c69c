"""`python -m para_attn_server.http FD PARENT [BEATS]`: the gunicorn master, started by the controller.

FD: the inherited listening socket. PARENT: the controller's process id; the master does not outlive it. BEATS: a
pipe into which the master writes a byte each time its loop goes round. Settings come from the environment.
"""

# ruff: noqa: E402
from gevent import monkey

monkey.patch_all()

import os
import sys

os.environ.pop("SCRIPT_NAME", None)  # of a CGI program that has started this server: gunicorn takes it for its own

from para_attn_server.core.process import die_with_parent, raise_descriptor_limit

if __name__ == "__main__":
    die_with_parent(int(sys.argv[2]) if len(sys.argv) > 2 else os.getppid())

    from para_attn_server.core.logs import configure_logging
    from para_attn_server.core.settings import load_settings
    from para_attn_server.core.signals import LOG_FD_VARIABLE
    from para_attn_server.http.server.gunicorn_app import serve

    settings = load_settings()
    log_fd = os.environ.get(LOG_FD_VARIABLE)
    configure_logging(settings.log_level, settings.log_format, "web", int(log_fd) if log_fd else None)
    raise_descriptor_limit(2 * settings.web_connections + 256)  # each connection may have a file open
    serve(settings, int(sys.argv[1]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
