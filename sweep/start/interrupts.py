"""Ctrl-C, SIGTERM and SIGHUP: the end of a verb, or a wish that is looked at between two steps of a sweep."""

import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, Self

GRACE_SECONDS: Final = 25.0
"""How long SIGTERM lets running batches go on. Kubernetes and Slurm send SIGKILL after 30 s unless told otherwise
(terminationGracePeriodSeconds, KillWait); the rest is for the last commits."""

_Handler = Callable[[int, FrameType | None], None]


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the block as KeyboardInterrupt, whatever compiled code makes of it on the way."""
    asked = False

    def ask(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # Ctrl-C is, in the background of a script.
            signal.signal(number, ask)
    try:
        yield
    except BaseException as error:
        if asked and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopRequest:
    """While it is open: the first Ctrl-C drains, the second stops; SIGTERM and SIGHUP drain, then stop.

    So no batch is lost in its commit.
    Must be opened after Ray is started, which installs handlers of its own.
    """

    def __init__(self, grace_seconds: float = GRACE_SECONDS) -> None:
        self.draining = False
        """Nothing new is to be started."""
        self.reason = ""
        self._grace = grace_seconds
        self._count = 0
        self._deadline = float("inf")
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def at_once(self) -> bool:
        """Whether what still runs is to be given up."""
        return self._count > 1 or time.monotonic() >= self._deadline

    def __enter__(self) -> Self:
        handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {
            signal.SIGINT: self._interrupt,
            signal.SIGTERM: self._terminate,
        }
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # It is ignored under nohup.
            handlers[signal.SIGHUP] = self._hang_up
        self._previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        self._count += 1
        if self._count > 2:
            # Not even the loop that looks at this object goes on, say because a file system hangs.
            raise KeyboardInterrupt
        self.draining = True
        self.reason = "Ctrl-C: what runs is finished; Ctrl-C once more gives it up"

    def _terminate(self, number: int, _frame: FrameType | None) -> None:
        if self._deadline == float("inf"):
            self._deadline = time.monotonic() + self._grace
        self.draining = True
        self.reason = f"{signal.Signals(number).name}: what runs has {self._grace:g} s to finish"

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        # The terminal is gone: to print there is an error, and would end what is to be finished.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            if stat.S_ISCHR(os.fstat(stream).st_mode):  # It is no terminal any more, but was one.
                os.dup2(nowhere, stream)
        os.close(nowhere)
        self._terminate(number, frame)
