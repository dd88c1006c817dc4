"""What a backend is: it takes tasks and gives back their outcomes, in any order.

* A backend may run at most `window` tasks that were submitted and have not come back; the caller keeps to it.
* It must give exactly one outcome for each task; a process or a machine that goes away is an outcome, not an exception,
  and so is that nobody has begun a task that was withdrawn.
* It gives None at least once a second while nothing comes back, so that the caller can look around.
* It must not retry, commit results or know what a task means.
* After `close` none of its processes is left, and no file of its own.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from sweep.exit_codes import ExitCode, SweepError

if TYPE_CHECKING:
    from sweep.tasks.task import Outcome, Task

    Work = Callable[[Task], Outcome]


class BackendError(SweepError):
    """A backend can't start here, or can't run what it would be given."""


class ClusterLostError(SweepError):
    """The cluster went away while a sweep ran on it."""

    exit_code = ExitCode.CLUSTER_LOST


class Backend(Protocol):
    """The fan-out of a sweep."""

    name: str

    @property
    def workers(self) -> int:
        """Tasks that run at the same time; a cluster may grow and shrink."""
        ...

    @property
    def window(self) -> int:
        """Tasks that may be submitted and not have come back."""
        ...

    def describe(self) -> str:
        """Return what it runs on, in one line or more."""
        ...

    def prepare(self, run: str, memory_bytes: int, engine: str | None) -> None:
        """Check, before the first task, that tasks of this size fit and that every machine sees the run.

        `engine` is the fingerprint that the engine must have everywhere; None if it is not the engine that simulates.

        Raises:
            BackendError: what is missing, and where.
        """
        ...

    def submit(self, task: "Task") -> None:
        """Take a task."""
        ...

    def withdraw(self) -> None:
        """Take back all tasks that have not begun; no task is submitted after this."""
        ...

    def avoid(self, node: str) -> bool:
        """Give no more tasks to a machine; return whether there is another one."""
        ...

    def as_completed(self) -> "Iterator[Outcome | None]":
        """Yield outcomes until none is outstanding; more tasks may be submitted between two of them.

        Raises:
            ClusterLostError: no more outcomes will come.
        """
        ...

    def close(self) -> None:
        """End all processes at once, whatever they are doing."""
        ...
