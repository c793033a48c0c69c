"""Imported once by the forkserver, so that every rank forked from it has the heavy imports behind it.

Importing this module is also the forkserver's guard: it dies with the controller, and its ranks with it. Nothing here
may start a thread or touch a GPU: neither survives a fork. Many packages ask torch.cuda.is_available() when they are
imported, and that starts CUDA's runtime; torch asks NVML instead while NVML_CHECK is set
(https://docs.pytorch.org/docs/stable/cuda_environment_variables.html).
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import traceback
from collections.abc import Iterable

from para_attn_server.core.process import die_with_parent
from para_attn_server.core.streams import lose_what_cannot_be_written
from para_attn_server.core.wire.launch import CONTROLLER_VARIABLE, PRELOAD_VARIABLE

NVML_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"

forkserver_pid: int | None = None


def import_without_gpu(names: Iterable[str]) -> None:
    """Import these modules; what cannot be imported is left to the ranks."""
    before = os.environ.get(NVML_CHECK)
    os.environ[NVML_CHECK] = "1"
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError:
            pass  # another version of diffusers may lay its modules out otherwise; the rank imports what it needs
        except Exception:
            traceback.print_exc()  # the rank will meet it again, and say so to the controller
    if before is None:
        del os.environ[NVML_CHECK]
    else:
        os.environ[NVML_CHECK] = before


if CONTROLLER_VARIABLE in os.environ:
    forkserver_pid = os.getpid()
    os.setpgid(0, 0)  # out of the terminal's group: its Ctrl-C is for the controller alone, which drains
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # drops the one that the controller has held back from this process
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    die_with_parent(int(os.environ[CONTROLLER_VARIABLE]))
    lose_what_cannot_be_written()  # an import that warns must not wait for who reads the log
    # Without torchvision it says of each image processor, at every start, that another one takes its place: no news.
    logging.getLogger("transformers.utils.import_utils").setLevel(logging.ERROR)
    import_without_gpu(["para_attn_server.rank.main", *filter(None, os.environ.get(PRELOAD_VARIABLE, "").split(","))])
    gc.collect()
    gc.freeze()  # a full collection would take each rank 0.2 s, several times in a setup, and unshare 110 MB
