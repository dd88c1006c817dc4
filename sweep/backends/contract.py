"""What a backend is: it takes tasks and gives back their outcomes, in any order.

* A backend may run at most `window` tasks that were submitted and have not come back; the caller keeps to it.
* It must give exactly one outcome for each task; a process that dies is an outcome, not an exception.
* It gives None at least once a second while nothing comes back, so that the caller can look around.
* It must not retry, write results or know what a task means.
* After `close` none of its processes is left.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from sweep.exit_codes import SweepError
from sweep.worker import Outcome, Task

Work = Callable[[Task], Outcome]


class BackendError(SweepError):
    """A backend can't start here."""


class Backend(Protocol):
    """The fan-out of a sweep."""

    name: str
    workers: int
    """Tasks that run at the same time."""
    window: int
    """Tasks that may be submitted and not have come back."""

    def submit(self, task: Task) -> None:
        """Take a task."""
        ...

    def as_completed(self) -> Iterator[Outcome | None]:
        """Yield outcomes until none is outstanding; more tasks may be submitted between two of them."""
        ...

    def close(self) -> None:
        """End all processes at once, whatever they are doing."""
        ...
