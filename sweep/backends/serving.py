"""What a worker process of `sweep.backends.local` does from its first moment; it loads no more than that needs.

Between the start of a process and the loading of what its tasks need lies a second or more, in which its driver may
die. So this module is loaded first, and alone.
"""

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
"""Linux include/uapi/linux/prctl.h."""


def serve(connection: Connection, stderr: Connection) -> None:
    """Receive what tasks are carried out by, then tasks, until the driver's end of the pipe is closed."""
    _die_with_the_driver()
    os.dup2(stderr.fileno(), 2)
    faulthandler.enable()
    with contextlib.suppress(EOFError, OSError):
        work = connection.recv()
        while True:
            task = connection.recv()
            os.lseek(2, 0, os.SEEK_SET)  # The driver has emptied the file.
            connection.send(work(task))


def _die_with_the_driver() -> None:
    """Ask Linux to end this process with its parent, even in the middle of a batch; elsewhere it ends after it."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    driver = multiprocessing.parent_process()
    # Asked for too late, it would never come: who has died before has another process take its children.
    if driver is not None and os.getppid() != driver.pid:
        os._exit(1)
