"""The command `para-attn-server`, also as `python -m para_attn_server`: what comes before other imports."""

import os
import sys
from typing import NoReturn

if not sys.flags.safe_path and __name__ == "__main__":
    del sys.path[0]  # the working folder: a file queue.py that lies there is not the standard library's

from para_attn_server.core.signals import StopSignals
from para_attn_server.core.streams import lose_what_cannot_be_written, open_closed, write_any_text


def main() -> NoReturn:
    """Run the command and exit."""
    StopSignals()
    os.environ.pop("PYTHONINSPECT", None)  # or each Python process that is started stays at a prompt in the end
    open_closed()
    write_any_text()
    lose_what_cannot_be_written(("stderr",), timeout=5.0)  # a person may have paused the terminal
    from para_attn_server.core.process import WITH_DOCSTRINGS, docstrings_are_lost, python_command

    # python -OO: help pages are docstrings. The C locale without UTF-8 mode: an option may hold any character.
    if docstrings_are_lost() or sys.getfilesystemencoding() == "ascii":
        command = python_command("para_attn_server", *sys.argv[1:])
        os.execve(command[0], command, {**os.environ, **(WITH_DOCSTRINGS if docstrings_are_lost() else {})})
    from para_attn_server.cli.main import main

    main()


if __name__ == "__main__":
    main()
